"""What is noted of each draw from data that Python feeds, by the draw's number.

TensorFlow draws ahead of the training, in a thread of its own. What counts at a batch boundary is the state before the
draw of the first batch that is not trained on, not the state of now.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from ....core.errors import InvalidPair
from ...pair.plain import to_plain
from ...session import random_state
from ..batch_digests import digest_of, is_sampled

_MOST_SET_BY_OTHERS = 128
_LAST_DIGESTS = 64
_TOO_MANY = (
    f"more than {_MOST_SET_BY_OTHERS} times in a pass, other code (a callback, say) has drawn from the global random "
    "generators that fit's data draws from. What is beyond is not kept, so a resumed training may see other batches, "
    "and will say so: let the data draw from np.random.default_rng(seed) of its own"
)
_PRUNED_EVERY = 32
States = dict[str, Any]
Value = TypeVar("Value")


class Recent(Generic[Value]):
    """A value for each of the latest numbers. Nobody asks below the number ``done``."""

    def __init__(self, done: Callable[[], int]) -> None:
        self._done = done
        self._values: dict[int, Value] = {}

    def put(self, number: int, value: Value) -> None:
        self._values[number] = value
        if number % _PRUNED_EVERY == 0:
            done = self._done()
            for old in [n for n in list(self._values) if n < done]:
                del self._values[old]

    def get(self, number: int) -> Value | None:
        return self._values.get(number)

    def clear(self) -> None:
        self._values = {}


class StatesBefore:
    """The global random states before each draw, and what ``more`` gives."""

    def __init__(self, done: Callable[[], int], more: Callable[[], States] = dict) -> None:
        self._more = more
        self._before: Recent[States] = Recent(done)
        self._last: States | None = None

    def before(self, number: int) -> None:
        self._last = self._now()
        self._before.put(number, self._last)

    def states_before(self, number: int) -> States:
        """The global ones as ``random_state.get_state`` gives them; empty if that draw has not begun."""
        found = self._before.get(number)
        return {} if found is None else plain(found)

    def begin_pass(self) -> None:
        """Draws are counted from 0 again."""
        self._before.clear()

    def _now(self) -> States:
        """Python's as it comes, which is cheap, and the one before where it is the same."""
        python = random.getstate()
        if self._last is not None and self._last["python"] == python:
            python = self._last["python"]
        return {"python": python, "numpy": to_plain(np.random.get_state()), **random_state.of_torch(), **self._more()}


class DrawNotes(StatesBefore):
    """Adds digests of the batches that were drawn.

    Between two draws the random states do not change as a rule. Where other code changed them, the new state is kept
    for good, so that a replay can set it there. ``say`` receives that there are too many of these.
    ``drawn_from`` gives the states of the generators that draws use, where these are not all.
    """

    def __init__(
        self, done: Callable[[], int], say: Callable[[str], None], drawn_from: Callable[[], States] | None = None
    ) -> None:
        super().__init__(done)
        self._say = say
        self._drawn_from = drawn_from
        self.differs = False
        self._set_by_others: dict[int, States] = {}
        self._digests: dict[int, str] = {}

    def before(self, number: int) -> None:
        after = self._last
        super().before(number)
        if self._last is None or self._last == after:
            return
        if len(self._set_by_others) < _MOST_SET_BY_OTHERS:
            self._set_by_others[number] = self._last
        else:
            self._say(_TOO_MANY)

    def after(self, number: int, batch: Any) -> None:
        self._last = self._now()
        self.look(number, batch)

    def look(self, number: int, batch: Any) -> None:
        if is_sampled(number):
            self._digests[number] = digest_of(arrays_in(batch))
            for old in [n for n in self._digests if n & (n - 1)][:-_LAST_DIGESTS]:
                del self._digests[old]

    def begin_pass(self) -> None:
        super().begin_pass()
        self._set_by_others, self._digests, self._last = {}, {}, None

    def opened(self) -> States:
        """A pass was opened: its first draw is expected to find these states."""
        self._last = self._now()
        return self._last

    def expect(self, states: States | None) -> None:
        """Those that ``opened`` gave, where a pass was opened before it began."""
        self._last = states

    def _now(self) -> States:
        return super()._now() if self._drawn_from is None else self._drawn_from()

    def before_again(self, number: int) -> None:
        """A draw of an earlier process is repeated."""
        if number in self._set_by_others:
            random_state.set_state({**random_state.get_state(), **plain(self._set_by_others[number])})

    def after_again(self, number: int, batch: Any) -> None:
        known = self._digests.get(number)
        if known is not None and known != digest_of(arrays_in(batch)):
            self.differs = True
        self._last = self._now()

    def compare(self, digests: Iterable[Sequence[Any]]) -> None:
        """For batches that this process has drawn before it knew the digests of the checkpoint."""
        self.differs = self.differs or any(self._digests.get(number) != digest for number, digest in digests)

    def facts(self, number: int) -> dict[str, Any]:
        """What repeats the draws below ``number``, as plain values. The drawing thread may add to both meanwhile."""
        others = [[n, plain(states)] for n, states in list(self._set_by_others.items()) if n < number]
        return {"states": others, "digests": [[n, digest] for n, digest in list(self._digests.items()) if n < number]}

    def restore(self, facts: Mapping[str, Any]) -> None:
        """Raises InvalidPair."""
        self._set_by_others, self._digests = _noted(facts)


def check_notes(facts: Mapping[str, Any]) -> None:
    """Raises InvalidPair for what ``DrawNotes.facts`` cannot have given."""
    for states in _noted(facts)[0].values():
        random_state.check_state({**random_state.get_state(), **states})


def _noted(facts: Mapping[str, Any]) -> tuple[dict[int, States], dict[int, str]]:
    try:
        states = {int(n): dict(states) for n, states in facts["states"]}
        return states, {int(n): str(digest) for n, digest in facts["digests"]}
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidPair(f"the .pkl's notes of the data are malformed: {error}") from None


def plain(states: States) -> States:
    return {key: to_plain(value) for key, value in states.items()}


def arrays_in(batch: Any) -> Iterator[np.ndarray]:
    """The arrays of a batch as Python made it, in their order."""
    if isinstance(batch, Mapping):
        batch = [batch[key] for key in sorted(batch, key=repr)]
    if isinstance(batch, list | tuple):
        for part in batch:
            yield from arrays_in(part)
    elif hasattr(batch, "tocsr"):  # sparse, of SciPy
        yield np.asarray(batch.tocsr().data)
    elif hasattr(batch, "detach"):  # PyTorch's, which NumPy cannot read on a device, with gradients or as bfloat16
        tensor = batch.detach().cpu()
        yield np.asarray((tensor.float() if "bfloat16" in str(tensor.dtype) else tensor).numpy())
    elif batch is not None:
        yield np.asarray(batch)
