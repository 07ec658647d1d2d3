"""What Keras 2 reads a ``fit``'s data with, by the names and attributes that it has in Keras 3."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf
from tf_keras.src.engine.data_adapter import _make_class_weight_map_fn

_OTHER_DATA = (
    "holdfast.Resume serves arrays, tf.data, Python generators and keras.utils.Sequence in Keras 2, and this fit reads "
    "its data by a {}: give one of these, or use Keras 3"
)
_WORKERS = (
    "holdfast.Resume serves fit(workers=1) in Keras 2, and not several workers or processes, whose place in the data "
    "it cannot keep: leave out workers and use_multiprocessing, or use Keras 3"
)


class OtherAdapter:
    num_batches = None

    def __init__(self, adapter: Any) -> None:
        self.of_keras = adapter

    def on_epoch_end(self) -> None:
        """An epoch's batches are done; validation is next. What Keras 2 calls later is not called from here."""


class ArrayDataAdapter(OtherAdapter):
    def without(self, batches: int, class_weight: Any) -> Any:
        """The same dataset without so many at its beginning: their places are drawn, and nothing of the arrays is read.

        None where Keras 2 makes it in another way. It has a dataset of places, and one of the arrays as they are.
        """
        part = self.of_keras.get_dataset()
        while _kind(part) in ("PrefetchDataset", "OptionsDataset", "ParallelMapDataset"):
            part = part._inputs()[0]
        if _kind(part) != "ZipDataset" or not hasattr(self.of_keras, "slice_inputs"):
            return None
        places, repeated = part._inputs()
        arrays = repeated._inputs()[0]
        inputs = tf.nest.pack_sequence_as(arrays.element_spec, arrays._tensors)
        made = self.of_keras.slice_inputs(places.skip(batches), inputs)
        made = made.with_options(self.of_keras.get_dataset().options())
        return _weighted(made.prefetch(tf.data.AUTOTUNE), class_weight)


class TFDatasetAdapter(OtherAdapter):
    pass


class PythonAdapter(OtherAdapter):
    """Keras 2 has made a dataset that nothing can be put into."""

    def batches(self) -> Iterator[Any]:
        raise NotImplementedError

    def fed_again(self, class_weight: Any) -> Any:
        """As Keras 2 makes it, with ``batches`` to feed it."""
        spec = self.of_keras.get_dataset().element_spec
        made = tf.data.Dataset.from_generator(self._standard_batches, output_signature=spec)
        return _weighted(made.prefetch(1).prefetch(tf.data.AUTOTUNE), class_weight)

    def _standard_batches(self) -> Iterator[Any]:
        for batch in self.batches():
            yield self.of_keras._standardize_batch(batch)


class GeneratorDataAdapter(PythonAdapter):
    """Keras has drawn the first batch, and gives it again."""

    def __init__(self, adapter: Any) -> None:
        super().__init__(adapter)
        self.generator: Callable[[], Iterator[Any]] = lambda: iter(())  # the position has its own

    @functools.cached_property
    def _first_batches(self) -> list[Any]:
        return [_first_element(self.of_keras.get_dataset())]

    def batches(self) -> Iterator[Any]:
        return self.generator()


class PyDatasetAdapter(PythonAdapter):
    """Of a ``Sequence``."""

    enqueuer = None

    def __init__(self, adapter: Any) -> None:
        super().__init__(adapter)
        self.py_dataset: Any = SeenAsPyDataset(adapter._keras_sequence)
        self.shuffle = bool(adapter._shuffle_sequence)

    def batches(self) -> Iterator[Any]:
        return self._finite_generator()

    def _finite_generator(self) -> Iterator[Any]:
        order = list(range(self.py_dataset.num_batches))
        if self.shuffle:
            random.shuffle(order)
        for number in order:
            yield self.py_dataset[number]

    _infinite_generator = _finite_generator

    def on_epoch_begin(self) -> None:
        """A Sequence has no such method."""


class SeenAsPyDataset:
    def __init__(self, sequence: Any) -> None:
        self.sequence = sequence

    @property
    def num_batches(self) -> int:
        return len(self.sequence)

    def __getitem__(self, number: int) -> Any:
        return self.sequence[number]

    def __getattr__(self, name: str) -> Any:
        if name in ("get_state", "set_state"):
            return getattr(self.sequence, name)
        raise AttributeError(name)


_KINDS: dict[str, type[OtherAdapter]] = {
    "TensorLikeDataAdapter": ArrayDataAdapter,
    "GenericArrayLikeDataAdapter": ArrayDataAdapter,
    "ListsOfScalarsDataAdapter": ArrayDataAdapter,
    "CompositeTensorDataAdapter": ArrayDataAdapter,
    "DatasetAdapter": TFDatasetAdapter,
    "GeneratorDataAdapter": GeneratorDataAdapter,
    "KerasSequenceAdapter": PyDatasetAdapter,
}


def adapter_for(adapter: Any) -> OtherAdapter:
    return _KINDS.get(type(adapter).__name__, OtherAdapter)(adapter)


def _weighted(made: Any, class_weight: Any) -> Any:
    return made.map(_make_class_weight_map_fn(class_weight)) if class_weight else made


def _kind(dataset: Any) -> str:
    return type(dataset).__name__.lstrip("_")


def _first_element(made: Any) -> Any:
    """Of the dataset that reads the generator itself, and not ahead."""
    while _kind(made) == "PrefetchDataset":
        made = made._inputs()[0]
    return tf.nest.map_structure(lambda part: part.numpy() if isinstance(part, tf.Tensor) else part, next(iter(made)))


def refusal(adapter: OtherAdapter, has_workers: bool) -> str | None:
    if type(adapter) is OtherAdapter:
        return _OTHER_DATA.format(type(adapter.of_keras).__name__)
    return _WORKERS if has_workers and isinstance(adapter, PythonAdapter) else None
