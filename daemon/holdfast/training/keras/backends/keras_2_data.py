"""The data of a ``fit`` of Keras 2, seen as Keras 3 has it: an iteration over epochs, and an adapter for each kind.

Keras 2 opens an epoch's iterator before any callback sees the epoch, and for some data one more that nobody draws from.
Here an iterator is opened with its first batch, for a checkpoint may say where it begins.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ...data.kinds import position_in
from ...data.position import DataPosition
from ...data.python.py_dataset import PyDatasetPosition
from ...data.tf.iterator_position import IteratorPosition
from ...data.validation import ValidationData
from .keras_2_adapters import ArrayDataAdapter, PyDatasetAdapter, PythonAdapter, adapter_for
from .protocol import Say


class Epochs:
    """Of one ``fit`` of ``model``, by its ``DataHandler``. ``given`` are the variables of the ``fit``."""

    def __init__(self, handler: Any, model: Any, given: Mapping[str, Any]) -> None:
        self._handler = handler
        self._model = model
        self._again = bool(handler._adapter.should_recreate_iterator())
        self._first = True
        self._resumed = False
        self._distribute_strategy = model.distribute_strategy
        self._num_batches = None  # one iterator gives those of all epochs
        self._current_iterator: Any = None
        self._steps_seen = 0
        self.data_adapter = adapter_for(handler._adapter)
        self.num_batches: int | None = handler.inferred_steps
        self.steps_per_epoch = None if self._again else handler.inferred_steps or -1
        self._class_weight = given.get("class_weight")
        self.has_workers = int(given.get("workers") or 0) > 1 or bool(given.get("use_multiprocessing"))
        self._distributed_dataset = handler._dataset

    @property
    def steps_per_execution(self) -> int:
        return int(self._handler._steps_per_execution.numpy())

    @property
    def length(self) -> int | None:
        """Batches of an epoch, once Keras knows it: of some data after the first one."""
        return self._handler.inferred_steps  # type: ignore[no-any-return]

    @length.setter
    def length(self, batches: int | None) -> None:
        self._handler._inferred_steps = batches

    def install(self) -> None:
        """Takes the place of what Keras goes through."""
        handler, model = self._handler, self._model
        if isinstance(self.data_adapter, PythonAdapter):
            self._distributed_dataset = self.data_adapter.fed_again(self._class_weight)
        handler._dataset = _Opens(self._open)
        ends = handler.catch_stop_iteration

        @contextlib.contextmanager
        def catch_stop_iteration() -> Iterator[None]:
            with ends():
                yield
            self.data_adapter.on_epoch_end()

        handler.catch_stop_iteration = catch_stop_iteration
        begins = model._maybe_load_initial_counters_from_ckpt

        def initial_counters(steps: Any, initial_epoch: int) -> tuple[int, int]:
            if model._initial_epoch is None:
                return begins(steps, initial_epoch)  # type: ignore[no-any-return]
            self._resumed = True
            return model._initial_epoch, 0

        model._initial_epoch = None
        model._maybe_load_initial_counters_from_ckpt = initial_counters

    def release(self) -> None:
        for name in ("_maybe_load_initial_counters_from_ckpt", "_initial_epoch"):
            vars(self._model).pop(name, None)

    def skip(self, batches: int) -> bool:
        """Begins with the next one; False where that is left to who draws."""
        adapter = self.data_adapter
        if not batches or not isinstance(adapter, ArrayDataAdapter) or self._again:
            return False
        if (made := adapter.without(batches, self._class_weight)) is None:
            return False
        self._distributed_dataset = made
        return True

    def _open(self) -> Any:
        first, self._first = self._first, False
        if first and self._again:  # nobody draws from it. An earlier process's one is among those that it has opened
            if not self._resumed:
                iter(self._get_iterator())
            return iter(())
        self._steps_seen = 0
        self._current_iterator = late = LateIterator(lambda: iter(self._get_iterator()), self._stepped)
        return late

    def _stepped(self) -> None:
        self._steps_seen += int(self._handler.step_increment) + 1

    def _get_iterator(self) -> Any:
        return self._distributed_dataset


class LateIterator:
    """Opened with the first batch. ``stepped`` is called once its batches were trained on."""

    def __init__(self, make: Callable[[], Any], stepped: Callable[[], None]) -> None:
        self._make = make
        self._made: Any = None
        self.stepped = stepped

    def opened(self) -> Any:
        if self._made is None:
            self._made = self._make()
        return self._made

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        return next(self.opened())


class _Opens:
    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function

    def __iter__(self) -> Any:
        return self._function()


# --- positions


def position(x: Any, epochs: Epochs, say: Say, is_stopping: Callable[[], bool]) -> DataPosition:
    epochs.install()
    if isinstance(epochs.data_adapter, PyDatasetAdapter):
        x = epochs.data_adapter.py_dataset
    found: DataPosition = PositionOfKeras2(position_in(x, epochs, say, is_stopping), epochs)
    return found


class PositionOfKeras2:
    """A position as in Keras 3, and what Keras 2 has learned of the data's length."""

    def __init__(self, inner: DataPosition, epochs: Epochs) -> None:
        self._inner = inner
        self._epochs = epochs

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def facts(self, within_epoch: bool, done: int) -> dict[str, Any]:
        return {**self._inner.facts(within_epoch, done), "length": self._epochs.length}

    def restore(self, facts: Mapping[str, Any]) -> None:
        self._inner.restore(facts)
        if not (facts["begun"] or facts["ended"]):  # else Keras 2 called it before the pair, or does so later
            self._epochs.data_adapter.of_keras.on_epoch_end()
        if self._epochs.length is None and isinstance(length := facts.get("length"), int):
            self._epochs.length = length

    def begin_epoch(self, done: int, within: bool, facts: Mapping[str, Any] | None) -> None:
        if facts is not None and not facts["begun"] and isinstance(self._inner, PyDatasetPosition):
            facts = self._inner.as_it_is(facts)
        self._inner.begin_epoch(done, within, facts)
        drawn = int(facts["drawn"]) if facts is not None else 0
        if isinstance(self._inner, IteratorPosition) and self._inner.is_repeatable and self._epochs.skip(drawn + done):
            self._inner.begins_there()

    def release(self) -> None:
        self._inner.release()
        self._epochs.release()


class ValidationOfKeras2(ValidationData):
    def __init__(self, given: Any, x: Any, epochs: Any, say: Say) -> None:
        super().__init__(given, x, epochs, say)
        self._model = epochs._model

    def begin(self, epoch_iterator: Any) -> None:
        """The model has Keras 2's handler of the data."""
        handler = getattr(self._model, "_eval_data_handler", None)
        super().begin(None if handler is None else _seen(handler, self._model))


def _seen(handler: Any, model: Any) -> Epochs:
    """The same one for each validation of a fit, as the handler is."""
    if not isinstance(handler._dataset, _Evaluated):
        handler._dataset = _Evaluated(handler, model, {})
    return handler._dataset


class _Evaluated(Epochs):
    """Keras 2 begins each validation here."""

    def __iter__(self) -> Any:
        return iter(self._get_iterator())

    def reset(self) -> None:
        """Nothing is opened yet."""
