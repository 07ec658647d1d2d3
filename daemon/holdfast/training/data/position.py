"""The position in a training's data: what every kind of data offers, so that a later process resumes at the same batch.

A kind of data is one class in a module of its own; ``kinds.py`` says which one serves the data given to ``fit``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol


def ignore(batch: Any) -> None:
    """Does nothing with the batch."""


def ignore_earlier(before: int, batch: Any) -> None:
    """Does nothing with a batch of an earlier epoch."""


class DataPosition(Protocol):
    """Where the iteration over the data of one ``fit`` stands. ``facts`` are plain values, which go into the ``.pkl``.

    In the order of the calls: ``restore`` once, if there is a checkpoint; for each epoch ``begin_epoch``, then
    ``catch_up`` if it is ``behind``, ``drop_batch`` for each batch that is done, ``caught_up``, and ``end_epoch``.
    ``facts`` and ``exact`` may be read at any batch boundary.
    """

    @property
    def exact(self) -> bool:
        """Does a resumed training see the batches that an uninterrupted one sees?"""

    @property
    def behind(self) -> bool:
        """Is the new iterator not yet where the earlier process's iterator was as the epoch began?"""

    @property
    def calls_python(self) -> bool:
        """Do functions of the data call Python code? Then data that is ``exact`` otherwise may still draw from it."""

    @property
    def may_draw_again(self) -> bool:
        """May batches that are done have to be drawn again, though it is exact? Then a few are compared."""

    @property
    def way(self) -> str:
        """How its place is kept, in words for the log and the manifest."""

    @property
    def is_awaited(self) -> Callable[[], bool] | None:
        """Tells whether the training waits for a batch, and computes nothing; None where that cannot be told."""

    @property
    def unkept(self) -> str | None:
        """One line where something of this data is another in each run of the script; else None."""

    @property
    def read_only(self) -> Mapping[str, Any]:
        """Variables that the data depends on and does not change, by stable names."""

    @property
    def written(self) -> Sequence[Any]:
        """Variables that drawing a batch changes: they are among the ``facts``, and nobody else's to restore."""

    @property
    def verdict(self) -> str | None:
        """Once the batches that are done were dropped: why those to come are other ones, where this data knows it."""

    def facts(self, within_epoch: bool, done: int) -> dict[str, Any]:
        """Where the data stands. ``within_epoch``: the epoch has begun, and has not ended; ``done`` of its batches are
        done.
        """

    def random_state(self, within_epoch: bool, done: int) -> dict[str, Any]:
        """The global random states as they were before the draw of the next batch, where Python draws ahead. Asked for
        after the states of now, which count where this is empty.
        """

    def check(self, facts: Mapping[str, Any]) -> None:
        """Raises InvalidPair for facts of this data that could not be restored, as far as that can be told without
        doing it. Called as a pair is read: an older one is read instead.
        """

    def restore(self, facts: Mapping[str, Any]) -> None:
        """Sets all that ``facts`` recorded, and where in the data the next iterator begins."""

    def difference(self, facts: Mapping[str, Any]) -> str | None:
        """One line if this is visibly other data than the checkpoint's; else None."""

    def begin_epoch(self, done: int, within: bool, facts: Mapping[str, Any] | None) -> None:
        """``done`` batches of this epoch will be dropped. ``facts`` are the checkpoint's, in the first epoch after it;
        ``within``: it was taken in this epoch, not before.
        """

    def catch_up(self, iterator: Any, look: Callable[[int, Any], None] = ignore_earlier) -> None:
        """Draws from the iterator what earlier epochs drew from the earlier process's one. ``look`` sees each batch,
        with how many batches before this epoch's first it came.
        """

    def drop_batch(self, iterator: Any, look: Callable[[Any], None] = ignore) -> bool:
        """Draws one batch, hands it to ``look`` and drops it. False if there is none."""

    def caught_up(self) -> None:
        """All that is to be dropped was dropped: the next batch is one to train on."""

    def end_epoch(self) -> None:
        """The epoch is complete."""

    def release(self) -> None:
        """The ``fit`` is over: what Keras' objects were given is taken off."""
