"""What the run's earlier starts did, read from the events that they stored."""

from __future__ import annotations

import contextlib
import re
from types import MappingProxyType

from ...core.errors import NotFound, StoreError, TooLarge
from ...core.history.heartbeats import Heartbeats
from ...core.history.starts import split
from ...core.history.times import run_seconds
from ...core.history.work import lives
from ...core.view import Earlier
from ...store import Store

_EVENTS = re.compile(r"events-i([1-9]\d{0,8})\.jsonl")
_MOST_BYTES = 64 << 20  # of all of them


def earlier_starts(
    store: Store, run: str, incarnation: int, resumed: int, heartbeats: Heartbeats = MappingProxyType({})
) -> Earlier | None:
    """``resumed`` is the step that this start resumes from, ``heartbeats`` what it found in the lease.

    None if it cannot be known: the store fails, or there is too much to read. Nothing waits for it."""
    try:
        sizes = {entry.key.removeprefix(f"{run}/"): entry.size for entry in store.list(f"{run}/events-i")}
        found = sorted((int(match[1]), key) for key in sizes if (match := _EVENTS.fullmatch(key)))
        keys = [key for number, key in found if number < incarnation]
        if sum(sizes[key] for key in keys) > _MOST_BYTES:
            return None
        files = []
        for key in keys:
            with contextlib.suppress(NotFound, TooLarge):
                files.append(store.get(f"{run}/{key}", _MOST_BYTES)[0])
    except StoreError:
        return None
    starts, _ = split(files, heartbeats)
    done = lives(starts, resumed)
    base = min((life.base for life in done), default=0)
    return Earlier(
        len(starts),
        sum(life.executed for life in done),
        base,
        interruptions=sum(start.interrupted for start in starts),
        began=min((start.began for start in starts), default=0.0),
        ended=max((start.ended for start in starts), default=0.0),
        seconds=run_seconds(starts, done),
    )
