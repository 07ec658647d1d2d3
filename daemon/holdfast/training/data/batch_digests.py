"""Digests of a few batches of each epoch: they prove whether a later process draws the same batches.

A pair keeps them. A process that resumes within an epoch draws the batches that are done once more, and compares. Which
batches: 0, 1, 2, 4, 8 and so on, and every 64th. Of a batch at most 4,096 values of each array count, evenly spread.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

_EVERY, _LAST = 64, 8
_EPOCHS = 3
_VALUES = 4096
_SEED_IT = "(one shuffle() with a seed, behind cache(), is exact)"
UNKNOWN = (
    "resuming at the right batch, but this data may come in another order than before, so some samples of this epoch "
    f"may be seen twice and others not at all {_SEED_IT}"
)
OTHER_EPOCHS = (
    "the data comes in another order in each epoch, and a new process may begin with another one than the interrupted "
    f"process would have {_SEED_IT}"
)


def is_sampled(batch: int) -> bool:
    return batch & (batch - 1) == 0 or batch % _EVERY == 0


def digest_of(arrays: Iterable[np.ndarray]) -> str:
    """Of one batch, as its arrays in their order."""
    found = hashlib.blake2b(digest_size=8)
    for array in arrays:
        flat = array.reshape(-1)
        some = flat[:: max(1, -(-flat.size // _VALUES))]
        found.update(f"{array.dtype} {array.shape} ".encode())
        found.update(repr(some.tolist()).encode() if array.dtype.hasobject else np.ascontiguousarray(some).tobytes())
    return found.hexdigest()


class BatchDigests:
    """What is known of the batches of one ``fit``; epochs and batches are counted from 0."""

    def __init__(self) -> None:
        self._taken: dict[tuple[int, int], str] = {}
        self._before: dict[tuple[int, int], str] = {}
        self._resumed_at: tuple[int, int] | None = None
        self._compared = 0
        self._other: tuple[int, int] | None = None

    @property
    def differ(self) -> bool:
        """Is it proved that the data is in another order?"""
        return self._other is not None

    def restore(self, facts: Mapping[str, Any], epoch: int, batch: int) -> None:
        """What the pair keeps that was taken after so many epochs, and batches of the next one."""
        self._before = {(e, b): digest for e, b, digest in facts.get("digests", [])}
        self._taken = dict(self._before)
        # One iterator over several epochs gives other batches in each, and is drawn from again: no order tells of it.
        self._resumed_at = None if facts.get("drawn") else (epoch, batch)

    def facts(self) -> list[list[Any]]:
        """Of the first epoch and the last few, as plain values."""
        return [[epoch, batch, digest] for (epoch, batch), digest in self._taken.items()]

    def add(self, epoch: int, batch: int, arrays: Iterable[np.ndarray]) -> None:
        """A batch that was drawn, to be dropped or to train on."""
        digest = digest_of(arrays)
        before = self._before.get((epoch, batch))
        if before is not None:
            self._compared += 1
            if before != digest and self._other is None:
                self._other = (epoch, batch)
        self._taken[epoch, batch] = digest
        self._forget(epoch)

    def after_replay(self) -> str | None:
        """What the user should know, once the batches that are done were drawn again; None if it is proved that they
        were the same.
        """
        if self._other is not None:
            epoch, batch = self._other
            return (
                f"resuming at the right batch, but the data comes in another order than before: batch {batch + 1} of "
                f"epoch {epoch + 1} is not the one that it was, so some samples of this epoch are seen twice and "
                f"others not at all {_SEED_IT}"
            )
        return None if self._compared else UNKNOWN

    def after_batch(self) -> str | None:
        """The same, of a training that resumed at an epoch's beginning, where no batch is drawn again."""
        epoch, batch = self._resumed_at or (0, 0)
        if not epoch or batch or not self._order_changes():
            return None
        return OTHER_EPOCHS

    def _order_changes(self) -> bool:
        """Is it known that two epochs began differently?"""
        return len({digest for (_, batch), digest in self._taken.items() if batch == 0}) > 1

    def _forget(self, epoch: int) -> None:
        """Keeps the first epoch and the last few, and of them what stands for their whole length."""
        often = [b for e, b in self._taken if e == epoch and b & (b - 1)]
        gone = set(often[:-_LAST])
        for key in [k for k in self._taken if (k[0] == epoch and k[1] in gone) or 0 < k[0] <= epoch - _EPOCHS]:
            del self._taken[key]
