"""The way from an epoch's beginning to the batch at which the checkpoint was taken: batches are drawn and dropped."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
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

    ``refuse`` receives the text of a Mismatch before it is raised. ``look`` sees each batch that is dropped, with its
    number in the epoch, and ``look_back`` what an earlier epoch drew (see DataPosition.catch_up). ``verdict`` then
    gives what the user should know about the data, or None; ``say`` receives it.
    """

    def __init__(
        self,
        data: DataPosition,
        random: RandomState,
        refuse: Callable[[str], None],
        look: Callable[[int, Any], None],
        look_back: Callable[[int, Any], None],
        verdict: Callable[[], str | None],
        say: Callable[[str], None],
    ) -> None:
        self._data = data
        self._random = random
        self._refuse = refuse
        self._look = look
        self._look_back = look_back
        self._verdict = verdict
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
        self._data.catch_up(iterator, self._look_back)
        if not self.left:
            self._caught_up()
            self._random.set_state(before)

    def drop(self, iterator: Any, per_call: int) -> int:
        """One call of the train function; returns how many batches it dropped. Raises Mismatch if there are too few."""
        last, wanted = self.left <= per_call, min(per_call, self.left)
        first = self._dropped
        while self._dropped < first + wanted:
            if not self._data.drop_batch(iterator, partial(self._look, self._dropped)):
                break
            self._dropped += 1
        pulled = self._dropped - first
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
        if (text := self._verdict()) is not None:
            self._say(text)


def _nothing() -> None:
    pass
