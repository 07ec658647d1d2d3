"""What is the same on JAX and PyTorch: Keras draws each batch in Python. TensorFlow is loaded only for ``tf.data``."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...data.python.validation import PythonValidation
from .protocol import HeldOut, Say


class BatchHandover:
    """An iterator for a train function: it gives what it is given, and is at its end where that is nothing."""

    def __init__(self) -> None:
        self._batches: deque[Any] = deque()
        self.iterator = self

    def give(self, batch: Any) -> None:
        self._batches.append(batch)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if not self._batches:
            raise StopIteration
        return self._batches.popleft()


class _HeldOut(PythonValidation):
    """Arrays have no state; of ``tf.data`` it is in ``_iterated``."""

    variables: Mapping[str, Any] = {}

    def __init__(self, given: Any, x: Any, epoch_iterator: Any, say: Say) -> None:
        super().__init__(given, epoch_iterator, say, x)
        self._read_on = False  # batches are drawn as they are asked for
        self._iterated: Any = None
        if _is_tf_data(given):
            from .iterated_tf_data import IteratedValidation

            self._iterated = IteratedValidation(given, x)

    def unkept(self) -> Iterator[str]:
        if self._iterated is not None:
            yield from self._iterated.unkept()

    def facts(self) -> dict[str, Any]:
        return {**super().facts(), **({} if self._iterated is None else self._iterated.facts())}

    def check(self, facts: Mapping[str, Any]) -> None:
        super().check(facts)
        if self._iterated is not None:
            self._iterated.check(facts)

    def restore_seeds(self, facts: Mapping[str, Any]) -> None:
        if self._iterated is not None:
            self._iterated.restore_seeds(facts)

    def begin(self, epoch_iterator: Any) -> None:
        super().begin(epoch_iterator)
        if self._iterated is not None:
            self._iterated.begin(epoch_iterator)


def validation_data(given: Any, x: Any, epoch_iterator: Any, say: Say) -> HeldOut:
    return _HeldOut(given, x, epoch_iterator, say)


def draws_in_data(x: Any) -> Sequence[str]:
    if not _is_tf_data(x):
        return ()
    from . import iterated_tf_data

    return iterated_tf_data.draws_in_data(x)


def _is_tf_data(data: Any) -> bool:
    return any(cls.__module__.startswith("tensorflow.python.data.") for cls in type(data).__mro__)
