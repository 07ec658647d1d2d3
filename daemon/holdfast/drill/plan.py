"""Which interruption strikes which machine of a rehearsal, and when."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

from ..core.errors import HoldfastError

KINDS = ("notice", "sigterm", "sigkill")


class Strike(NamedTuple):
    """After ``step`` batches, at the machine of ``rank``."""

    step: int
    kind: str
    rank: int


def plan(batches: int, interruptions: int, kinds: Sequence[str], ranks: int, chance: random.Random) -> list[Strike]:
    """Every kind once before any twice, and every rank; at different moments, the first one first.

    Raises HoldfastError where there are too few batches.
    """
    room = range(1, max(1, batches))
    if len(room) < interruptions:
        raise HoldfastError(f"there is no room for {interruptions} interruptions: let the command train for longer")
    moments = sorted(chance.sample(room, interruptions))
    order = [kinds[i % len(kinds)] for i in range(interruptions)]
    chance.shuffle(order)
    first = chance.randrange(ranks)
    struck = [(first + i) % ranks for i in range(interruptions)]
    chance.shuffle(struck)
    return [Strike(*one) for one in zip(moments, order, struck, strict=True)]
