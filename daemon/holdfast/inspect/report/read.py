"""What a report needs, read from the store: listing, events, the manifests of the newest pairs. Nothing is believed."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from ...core.errors import NotFound, TooLarge
from ...core.history.heartbeats import Heartbeats, of_events, of_lease
from ...core.history.starts import Start, split
from ...core.manifest import Manifest
from ...core.runs import LEASE_FILE, RunId
from ...store import Store
from ...store.catalog import newest_manifests, read_contents
from ...store.contents import Contents

_MOST_EVENTS = 256 << 20  # bytes of one start
_EVENTS = re.compile(r"events-i([1-9]\d{0,8})\.jsonl")
_OPTIONS = "training_options.json"
_READERS = 8


@dataclass(frozen=True)
class Records:
    """``manifests`` are those of the newest pairs, ``damaged`` the pairs among them of which it cannot be read.

    ``heartbeats`` are those of starts that ended without a word, or that are at work. ``unread`` counts lines that are
    no events, and ``missing`` names files of events that could not be read.
    """

    store: str
    contents: Contents
    starts: Sequence[Start]
    manifests: Sequence[Manifest] = ()
    damaged: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    unread: int = 0
    missing: Sequence[str] = ()
    heartbeats: Heartbeats = field(default_factory=dict)


def read(store: Store, run: RunId) -> Records:
    """Raises StoreError."""
    contents = read_contents(store, run)
    keys = sorted((int(match[1]), key) for key in contents.others if (match := _EVENTS.fullmatch(key)))
    with ThreadPoolExecutor(_READERS) as pool:
        files = list(pool.map(lambda key: _get(store, f"{run}/{key}"), (key for _, key in keys)))
    found = newest_manifests(store, contents)
    in_lease = of_lease(_document(store, f"{run}/{LEASE_FILE}"))
    starts, unread = split((data for data in files if data is not None), in_lease)
    return Records(
        store=store.uri,
        contents=contents,
        starts=starts,
        manifests=[one for one in found.values() if isinstance(one, Manifest)],
        damaged={str(name): one for name, one in found.items() if isinstance(one, str)},
        options=_document(store, f"{run}/{_OPTIONS}"),
        unread=unread,
        missing=[key for (_, key), data in zip(keys, files, strict=True) if data is None],
        heartbeats={**of_events(event for start in starts for event in start.events), **in_lease},
    )


def _get(store: Store, key: str) -> bytes | None:
    with contextlib.suppress(NotFound, TooLarge):
        return store.get(key, _MOST_EVENTS)[0]
    return None


def _document(store: Store, key: str) -> dict[str, Any]:
    with contextlib.suppress(NotFound, TooLarge, ValueError, RecursionError):
        document = json.loads(store.get(key)[0])
        return document if isinstance(document, dict) else {}
    return {}
