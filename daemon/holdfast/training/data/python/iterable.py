"""The position in what Python iterates over anew for each pass: Grain's datasets, PyTorch's ``DataLoader``.

An iterator that tells its state (Grain's do) is set to it, and nothing is drawn again. Another one is drawn from once
more, with the global random states as they were as the pass began.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ....core.errors import InvalidPair
from ...session import random_state
from ..position import ignore
from .draws import DrawNotes, Recent
from .position import PythonPosition
from .told_state import NotTold, put_told, told

_AGAIN = "Batches that are done are drawn again"
_OTHER = (
    "resuming at the right batch, but the data gives other batches than it gave before, so some samples of this epoch "
    "are seen twice and others not at all: seed what it draws from"
)
_SAMPLER = (
    "the DataLoader has a sampler of the script's own ({}): what it keeps in itself from one epoch to the next is not "
    "kept, so a resumed training may see another order. Let it draw from PyTorch's global generator"
)


class IterablePosition(PythonPosition):
    """``open`` gives a pass, in a thread of TensorFlow's. ``say`` receives a line where a state is not to be had.

    ``own`` are generators, of PyTorch's, that a pass draws from beside the global ones.
    """

    key = "iterable"

    def __init__(self, iterable: Any, epoch_iterator: Any, say: Callable[[str], None], own: Sequence[Any] = ()) -> None:
        super().__init__(epoch_iterator)
        self._iterable = iterable
        self._say = say
        self._notes = DrawNotes(self._surely_done, say)
        self._states: Recent[dict[str, Any]] = Recent(self._surely_done)
        self._random_began: dict[str, Any] = {}
        self._own = own
        self._own_began: list[bytes] = []
        self._ready: Iterator[Any] | None = None  # what the next pass continues
        self._number = 0  # of its batches that are done
        self._there = self._dropped = 0

    @property
    def verdict(self) -> str | None:  # type: ignore[override]
        return _OTHER if self._notes.differs else None

    def facts(self, within_epoch: bool, done: int) -> dict[str, Any]:
        batch = self._batch(within_epoch, done)
        now = self._own_states()  # first: a pass may begin meanwhile, and is noted
        if batch is None and not self._own:
            return super().facts(within_epoch, done)
        own = now if batch is None or (not batch and not self._notes.states_before(0)) else self._own_began
        number = batch or 0
        mine = {"state": self._states.get(number) or {}, "random": self._random_began, **self._notes.facts(number)}
        return {**super().facts(within_epoch, done), self.key: {**mine, "own": own}}

    def random_state(self, within_epoch: bool, done: int) -> dict[str, Any]:
        batch = self._batch(within_epoch, done)
        noted = {} if batch is None else self._notes.states_before(batch)
        return noted if batch or not noted else self._random_began  # beginning a pass draws too

    def _own_states(self) -> list[bytes]:
        return [generator.get_state().numpy().tobytes() for generator in self._own]

    def _put_own(self, saved: Any) -> None:
        torch: Any = sys.modules.get("torch")
        try:
            states = list(saved.get("own", ()))
            for generator, state in zip(self._own, states, strict=False):
                generator.set_state(torch.frombuffer(bytearray(state), dtype=torch.uint8))
            self._own_began = states
        except (AttributeError, RuntimeError, TypeError, ValueError) as error:
            raise InvalidPair(f"the .pkl's state of the data is malformed: {error}") from None

    def begin_epoch(self, done: int, within: bool, facts: Mapping[str, Any] | None) -> None:
        super().begin_epoch(done, within, facts)
        saved = None if facts is None else facts.get(self.key)
        if not self._drawn:
            self._ready, self._number = None, 0
            self._notes.begin_pass()
            self._states.clear()
        if saved is not None:
            self._put_own(saved)
        if saved is not None and self._drawn + done:
            before = random_state.get_state()
            self._begin_at(saved, self._drawn + done)
            random_state.set_state(before)
        self._there, self._dropped = self._number, 0

    def _begin_at(self, saved: Any, batch: int) -> None:
        """Before Keras opens an iterator, which may draw at once."""
        try:
            state, self._random_began = dict(saved["state"]), dict(saved["random"])
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidPair(f"the .pkl's state of the data is malformed: {error}") from None
        self._notes.restore(saved)
        if state:
            self._ready = iter(self._iterable)
            try:
                put_told(self._ready, state)
            except NotTold as error:
                self._say(f"{error}. {_AGAIN}")
            else:
                self._number = batch
                return
        random_state.set_state(self._random_began)
        self._ready = iter(self._iterable)
        for number in range(batch):
            self._notes.before_again(number)
            try:
                again = next(self._ready)
            except StopIteration:
                break
            self._notes.after_again(number, again)
            self._number = number + 1
        self.exact = not self._notes.differs

    def drop_batch(self, iterator: Any, look: Callable[[Any], None] = ignore) -> bool:
        """Nothing is drawn: the pass begins where the training is."""
        if self._of_older_version:
            return super().drop_batch(iterator, look)
        self._dropped += 1
        return self._dropped <= self._there

    def open(self) -> Iterator[Any]:
        if self._ready is None:
            self._random_began, self._own_began = random_state.get_state(), self._own_states()
            self._ready, self._number = iter(self._iterable), 0
        iterator, self._ready, number = self._ready, None, self._number
        tells = self._note_state(number, iterator)
        while True:
            self._notes.before(number)
            try:
                batch = next(iterator)
            except StopIteration:
                return
            self._notes.after(number, batch)
            number += 1
            tells = tells and self._note_state(number, iterator)
            yield batch

    def _note_state(self, number: int, iterator: Any) -> bool:
        try:
            state = told(iterator)
        except NotTold as error:
            self._say(f"{error}. {_AGAIN}")
            return False
        if state is not None:
            self._states.put(number, state)
        return state is not None


def of_grain(dataset: Any, epoch_iterator: Any, say: Callable[[str], None]) -> IterablePosition:
    """Keras makes a ``tf.data.Dataset`` of it that nothing can be put into: it makes another one."""
    import grain  # the script's own: it is loaded already

    position = IterablePosition(dataset, epoch_iterator, say)

    class Pass(grain.DatasetIterator):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self._batches = position.open()

        def __next__(self) -> Any:
            return next(self._batches)

        def get_state(self) -> dict[str, Any]:
            raise NotImplementedError

        def set_state(self, state: dict[str, Any]) -> None:
            raise NotImplementedError

    class Passes(grain.IterDataset):  # type: ignore[misc]
        def __iter__(self) -> Pass:
            return Pass()

    adapter = epoch_iterator.data_adapter
    adapter._dataset = Passes()
    made = adapter.get_tf_dataset()
    epoch_iterator._distributed_dataset = epoch_iterator._distribute_strategy.experimental_distribute_dataset(made)
    return position


def of_torch(loader: Any, epoch_iterator: Any, say: Callable[[str], None]) -> IterablePosition:
    position = IterablePosition(loader, epoch_iterator, say, generators_of(loader))
    if type(loader.sampler).__module__.split(".")[0] != "torch":
        say(_SAMPLER.format(type(loader.sampler).__name__))

    class Passes:
        def __iter__(self) -> Iterator[Any]:
            return position.open()

    epoch_iterator.data_adapter._dataloader = Passes()
    return position


def generators_of(loader: Any) -> list[Any]:
    """What a ``DataLoader`` was given as ``generator``, and its sampler, each once."""
    found = [getattr(part, "generator", None) for part in (loader, getattr(loader, "sampler", None))]
    return list({id(generator): generator for generator in found if generator is not None}.values())
