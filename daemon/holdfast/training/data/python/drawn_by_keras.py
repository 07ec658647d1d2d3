"""The position in data from which Keras itself draws, a batch before each step, as it does on PyTorch.

A callback that sees a batch begin comes after its draw: what counts there is the state from before. Keras opens each
pass as a PyTorch ``DataLoader``, which draws a seed from PyTorch's global generator at once, and opens the next one as
an epoch's last batch is done. What a pair notes as opened is opened again without a change of these states. In the
place of batches that are done Keras gets nothing, and hands that to the train function's stand-in.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ....core.errors import InvalidPair
from ...session import random_state
from ..position import DataPosition, ignore_earlier
from .generator import GeneratorPosition
from .iterable import IterablePosition, Opening
from .py_dataset import PyDatasetPosition
from .python_position import PythonPosition
from .rng_snapshots import DrawNotes
from .torch_loader import LoaderState

if TYPE_CHECKING:
    _Position = PythonPosition
else:
    _Position = object  # the class beside it in a kind of data says what it is
Say = Callable[[str], None]
_OPENED = "opened"


def position_of(epoch_iterator: Any) -> Callable[[Any, Any, Say], DataPosition] | None:
    """What makes the position for ``fit``'s data, the iterator over it and ``say``; None where there is none."""
    adapter = epoch_iterator.data_adapter
    if type(adapter).__name__ == "ArrayDataAdapter":
        return ArraysDrawnByKeras
    if type(adapter).__name__ == "TorchDataLoaderAdapter":
        return LoaderDrawnByKeras
    if GeneratorPosition.serves(adapter):
        return GeneratorDrawnByKeras
    return PyDatasetDrawnByKeras if PyDatasetPosition.serves(epoch_iterator) else None


class DrawnByKeras(_Position):
    """Opens the passes: Keras goes through this object, instead of the loader that it would make."""

    def __init__(self, data: Any, epoch_iterator: Any, say: Say, *more: Any) -> None:
        super().__init__(data, epoch_iterator, say, *more)  # type: ignore[call-arg]  # of the class beside this one
        self._take_over(epoch_iterator)

    def _take_over(self, epoch_iterator: Any) -> None:
        self._make_loader = epoch_iterator._get_iterator
        epoch_iterator._get_iterator = lambda: self
        self._runs = False  # an epoch has begun, and has not ended
        self._again = False  # the pass that is opened next was opened by the earlier process
        self._opened_before = False  # this epoch's pass was opened before the epoch began
        self._placeholders = 0
        self._before_first: dict[str, Any] | None = None  # the states before all that this epoch drew
        self._before_next: dict[str, Any] | None = None  # the states before the next pass was opened in this epoch

    def facts(self, within_epoch: bool, done: int) -> dict[str, Any]:
        return {**super().facts(within_epoch, done), _OPENED: self._is_opened(within_epoch, done)}

    def _is_opened(self, within_epoch: bool, done: int) -> bool:
        """In the state that ``random_state`` gives."""
        if within_epoch:
            return done > 0 or self._opened_before
        return self._one_iterator and self._keras._current_iterator is not None

    def random_state(self, within_epoch: bool, done: int) -> dict[str, Any]:
        if not within_epoch:  # nothing is drawn ahead
            return {}
        if self._before_next is not None:
            return self._before_next
        if not done and self._before_first is not None:
            return self._before_first
        return super().random_state(within_epoch, done)

    def check(self, facts: Mapping[str, Any]) -> None:
        super().check(facts)
        if not isinstance(facts.get(_OPENED, False), bool):
            raise InvalidPair("the .pkl's place in the data is malformed")

    def begin_epoch(self, done: int, within: bool, facts: Mapping[str, Any] | None) -> None:
        self._opened_before = self._is_opened(False, 0) if facts is None else bool(facts.get(_OPENED)) and not done
        super().begin_epoch(done, within, facts)
        if facts is not None:
            self._again = bool(facts.get(_OPENED))
            self._placeholders = 0 if self._of_older_version else done  # else Keras draws what is done
        self._runs, self._before_first, self._before_next = True, None, None

    def catch_up(self, iterator: Any, look: Callable[[int, Any], None] = ignore_earlier) -> None:
        """What earlier epochs drew was drawn as the pass was opened; of another backend's pair it is left out."""
        if self._of_older_version:
            self.behind = False
            self._keras._steps_seen += self._drawn
        else:
            super().catch_up(iterator, look)

    def end_epoch(self) -> None:
        super().end_epoch()
        self._runs = False

    def release(self) -> None:
        super().release()
        vars(self._keras).pop("_get_iterator", None)

    def __iter__(self) -> Iterator[Any]:
        """Keras opens a pass."""
        again, self._again = self._again, False
        placeholders, self._placeholders = self._placeholders, 0
        before = random_state.get_state()
        batches = self._open_pass()
        if again:
            random_state.set_state(before)
        elif self._runs and self._before_first is None:
            self._before_first = before
        elif self._runs:
            self._before_next = before
        return self._pass(placeholders, batches)

    def _pass(self, placeholders: int, batches: Iterator[Any]) -> Iterator[Any]:
        yield from itertools.repeat(None, placeholders)
        while True:
            if self._before_first is None:
                self._before_first = random_state.get_state()
            try:
                batch = next(batches)
            except StopIteration:
                return
            yield batch

    def _open_pass(self) -> Iterator[Any]:
        return iter(self._make_loader())


class GeneratorDrawnByKeras(DrawnByKeras, GeneratorPosition):
    pass


class PyDatasetDrawnByKeras(DrawnByKeras, PyDatasetPosition):
    def begin_epoch(self, done: int, within: bool, facts: Mapping[str, Any] | None) -> None:
        super().begin_epoch(done, within, facts)
        if not done:  # Keras draws the first batch before it calls the train function
            self.caught_up()
            self._saved = {}

    def random_state(self, within_epoch: bool, done: int) -> dict[str, Any]:
        """Before an epoch's first batch the object may draw, too, as Keras tells it that the epoch begins."""
        if within_epoch and not done:
            return PyDatasetPosition.random_state(self, within_epoch, done)
        return super().random_state(within_epoch, done)


class LoaderDrawnByKeras(DrawnByKeras, IterablePosition):
    """A ``DataLoader`` of the script's."""

    def __init__(self, loader: Any, epoch_iterator: Any, say: Say) -> None:
        super().__init__(loader, epoch_iterator, say, LoaderState(loader, say))
        self._ending: Opening | None = None  # of this epoch's pass, once the next one is opened

    def begin_epoch(self, done: int, within: bool, facts: Mapping[str, Any] | None) -> None:
        super().begin_epoch(done, within, facts)
        self._ending = None
        if self._opened_before:
            self._notes.expect(self._opening.after)

    def _opening_of(self, within_epoch: bool) -> Opening:
        return self._ending if within_epoch and self._ending is not None else self._opening

    def _has_begun(self, batch: int) -> bool:
        return True

    def _batch(self, within_epoch: bool, done: int) -> int | None:
        batch = super()._batch(within_epoch, done)
        return 0 if batch is None and self._is_opened(within_epoch, done) else batch

    def _open_pass(self) -> Iterator[Any]:
        if self._runs and self._before_first is not None:
            self._ending = self._opening
        return self.open()


class ArraysDrawnByKeras(LoaderDrawnByKeras):
    """Keras makes a loader of them for each pass. That draws from PyTorch's global generator alone."""

    way = "a number of batches, which are sliced again from PyTorch's random state of before"

    def __init__(self, arrays: Any, epoch_iterator: Any, say: Say) -> None:
        DrawnByKeras.__init__(self, _Loaders(epoch_iterator._get_iterator), epoch_iterator, say)
        self._ending = None
        self._notes = DrawNotes(self._surely_done, say, random_state.of_torch)


class _Loaders(Iterable[Any]):
    def __init__(self, make: Callable[[], Iterable[Any]]) -> None:
        self._make = make

    def __iter__(self) -> Iterator[Any]:
        return iter(self._make())
