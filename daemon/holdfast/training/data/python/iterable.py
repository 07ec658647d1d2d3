"""The position in what Python iterates over anew for each pass: Grain's datasets, PyTorch's ``DataLoader``
(torch_loader.py).

An iterator that tells its state (Grain's do) is set to it, and nothing is drawn again. Another one is drawn from once
more, with the global random states as they were as the pass began.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from ....core.errors import InvalidPair
from ...session import random_state
from ..position import ignore
from .get_set_state import NotTold, put_told, told
from .python_position import PythonPosition
from .rng_snapshots import DrawNotes, Recent, check_notes

_AGAIN = "Batches that are done are drawn again"
_OTHER = (
    "resuming at the right batch, but the data gives other batches than it gave before, so some samples of this epoch "
    "are seen twice and others not at all: seed what it draws from"
)


class StateOfPasses(Protocol):
    """What a pass changes beside the global random states, as plain values."""

    def read(self) -> dict[str, Any]: ...

    def check(self, saved: Mapping[str, Any]) -> None:
        """Raises InvalidPair for what ``put`` would refuse."""

    def put(self, saved: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True)
class Opening:
    """The states before a pass was opened: the global ones, and its ``own``; and the global ones ``after``."""

    random: dict[str, Any] = field(default_factory=dict)
    own: Mapping[str, Any] = field(default_factory=dict)
    after: dict[str, Any] | None = None


class IterablePosition(PythonPosition):
    """``open`` gives a pass, in a thread of TensorFlow's. ``say`` receives a line where a state is not to be had."""

    key = "iterable"

    def __init__(
        self, iterable: Any, epoch_iterator: Any, say: Callable[[str], None], own: StateOfPasses | None = None
    ) -> None:
        super().__init__(epoch_iterator)
        self._iterable = iterable
        self._say = say
        self._notes = DrawNotes(self._surely_done, say)
        self._states: Recent[dict[str, Any]] = Recent(self._surely_done)
        self._own = own
        self._opening = Opening()
        self._ready: Iterator[Any] | None = None  # what the next pass continues
        self._number = 0  # of its batches that are done
        self._there = self._dropped = 0
        self._put_aside: list[tuple[Any, str, Any]] = []

    def stand_in(self, holder: Any, name: str, value: Any) -> None:
        """In the place of what Keras has there, until the end of the ``fit``."""
        self._put_aside.append((holder, name, getattr(holder, name)))
        setattr(holder, name, value)

    def release(self) -> None:
        while self._put_aside:
            setattr(*self._put_aside.pop())

    @property
    def verdict(self) -> str | None:  # type: ignore[override]
        return _OTHER if self._notes.differs else None

    def facts(self, within_epoch: bool, done: int) -> dict[str, Any]:
        batch = self._batch(within_epoch, done)
        now = self._own_now()  # first: a pass may begin meanwhile, and is noted
        if batch is None and self._own is None:
            return super().facts(within_epoch, done)
        opening, number = self._opening_of(within_epoch), batch or 0
        own = opening.own if batch is not None and self._has_begun(batch) else now
        mine = {"state": self._states.get(number) or {}, "random": opening.random, **self._notes.facts(number)}
        return {**super().facts(within_epoch, done), self.key: {**mine, **_renamed(own, _IN_PAIRS)}}

    def _opening_of(self, within_epoch: bool) -> Opening:
        """That of the pass of which the batches are counted."""
        return self._opening

    def _has_begun(self, batch: int) -> bool:
        """Was it opened, and drawn from?"""
        return bool(batch or self._notes.states_before(0))

    def random_state(self, within_epoch: bool, done: int) -> dict[str, Any]:
        batch = self._batch(within_epoch, done)
        noted = {} if batch is None else self._notes.states_before(batch)
        return noted if batch or not noted else self._opening.random  # beginning a pass draws too

    def _own_now(self) -> Mapping[str, Any]:
        return {} if self._own is None else self._own.read()

    def _put_own(self, saved: Mapping[str, Any]) -> None:
        if self._own is not None:
            self._own.put(_own_in(saved))

    def check(self, facts: Mapping[str, Any]) -> None:
        if self.key not in facts:
            return
        saved: Any = facts[self.key]
        if not (isinstance(saved, dict) and all(isinstance(saved.get(key), dict) for key in ("state", "random"))):
            raise InvalidPair("the .pkl's state of the data is malformed")
        began = saved["random"]
        check_notes(saved)
        if self._own is not None:
            self._own.check(_own_in(saved))
        if began:
            random_state.check_state(began)

    def restore(self, facts: Mapping[str, Any]) -> None:
        """Also of a ``fit`` that is over: a later one may be given the same loader."""
        super().restore(facts)
        self._put_own(facts.get(self.key, {}))

    def begin_epoch(self, done: int, within: bool, facts: Mapping[str, Any] | None) -> None:
        super().begin_epoch(done, within, facts)
        saved = None if facts is None else facts.get(self.key)
        if not self._drawn:
            self._ready, self._number = None, 0
            self._notes.begin_pass()
            self._states.clear()
        if saved is not None:
            self._put_own(saved)
        if saved is not None and facts is not None and (self._drawn + done or facts.get("opened")):
            before = random_state.get_state()
            self._begin_at(saved, self._drawn + done)
            random_state.set_state(before)
        self._there, self._dropped = self._number, 0

    def _begin_at(self, saved: Any, batch: int) -> None:
        """Before Keras opens an iterator, which may draw at once."""
        state = saved["state"]
        self._opening = Opening(saved["random"], _own_in(saved))
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
        random_state.set_state(self._opening.random)
        self._ready = iter(self._iterable)
        self._opening = replace(self._opening, after=self._notes.opened())
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
            random, own = random_state.get_state(), self._own_now()
            self._ready, self._number = iter(self._iterable), 0
            self._opening = Opening(random, own, self._notes.opened())
        iterator, self._ready = self._ready, None
        return self._batches(iterator, self._number)

    def _batches(self, iterator: Iterator[Any], number: int) -> Iterator[Any]:
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


_IN_PAIRS = {"generators": "own", "dataset": "dataset"}


def _own_in(saved: Mapping[str, Any]) -> dict[str, Any]:
    return _renamed(saved, {theirs: mine for mine, theirs in _IN_PAIRS.items()})


def _renamed(values: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names[name]: value for name, value in values.items() if name in names}


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
    position.stand_in(adapter, "_dataset", Passes())
    made = adapter.get_tf_dataset()
    distributed = epoch_iterator._distribute_strategy.experimental_distribute_dataset(made)
    position.stand_in(epoch_iterator, "_distributed_dataset", distributed)
    return position
