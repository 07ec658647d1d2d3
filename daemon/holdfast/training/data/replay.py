"""The way from an epoch's beginning to the batch at which the checkpoint was taken: batches are drawn and dropped."""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile
from typing import Any, NoReturn, Protocol

from ...core.errors import Mismatch
from ...core.wording import count
from .position import DataPosition


class RandomState(Protocol):
    """The global random states, which drawing batches must not change."""

    def get_state(self) -> dict[str, Any]: ...

    def set_state(self, state: dict[str, Any]) -> None: ...


def too_short(batches: int, done: int) -> Mismatch:
    has = count(batches, "batch", "batches")
    return Mismatch(
        f"the data has {has}, and the checkpoint was taken at batch {done} of its epoch: "
        "give the data that it was trained on, or start a new run under another name"
    )


class Replay:
    """``left`` batches are still to be dropped before the first that this process trains on.

    ``refuse`` receives the text of a Mismatch before it is raised. ``say`` receives what the user should know.
    """

    def __init__(
        self, data: DataPosition, random: RandomState, refuse: Callable[[str], None], say: Callable[[str], None]
    ) -> None:
        self._data = data
        self._random = random
        self._refuse = refuse
        self._say = say
        self._arrived: Callable[[], None] = _nothing
        self._dropped = 0
        self.left = 0

    def begin(self, batches: int, arrived: Callable[[], None]) -> None:
        """As the checkpoint's epoch begins. ``arrived`` is called once that many batches were dropped."""
        self._arrived, self._dropped, self.left = arrived, 0, batches

    def catch_up(self, iterator: Any) -> None:
        """Draws what earlier epochs drew from Keras' iterator."""
        before = self._random.get_state()
        self._data.catch_up(iterator)
        if not self.left:
            self._caught_up()
            self._random.set_state(before)

    def drop(self, iterator: Any, per_call: int) -> int:
        """One call of the train function; returns how many batches it dropped. Raises Mismatch if there are too few."""
        last, wanted = self.left <= per_call, min(per_call, self.left)
        pulled = sum(1 for _ in takewhile(lambda _: self._data.drop_batch(iterator), range(wanted)))
        self._dropped += pulled
        self.left -= pulled
        if pulled < wanted:
            if not (last and pulled):
                self.refuse()
            self.left = 0  # the last call of an epoch of unknown size counts in full
        if not self.left:
            self._caught_up()
            arrived, self._arrived = self._arrived, _nothing  # what it holds (the checkpoint) is free from here on
            arrived()
        return pulled

    def refuse(self) -> NoReturn:
        """The data has fewer batches than are done already."""
        error = too_short(self._dropped, self._dropped + self.left)
        self._refuse(str(error))
        raise error

    def _caught_up(self) -> None:
        self._data.caught_up()
        if not self._data.exact:
            self._say(
                "resuming at the right batch, but this data may come in another order than before, so some samples of "
                "this epoch may be seen twice and others not at all (holdfast.dataset(x, y, batch_size=, seed=) is "
                "exact)"
            )


def _nothing() -> None:
    pass
