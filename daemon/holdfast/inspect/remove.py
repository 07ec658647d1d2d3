"""The removal of a whole run from a store.

The oldest manifest goes first and the newest last, so an interruption leaves a run that resumes where it was. Then go
the data, which nobody looks for any more, and the rest. The mark of a complete run is the very last: an interrupted
removal never makes it look unfinished, so that a start would train it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from ..core.runs import COMPLETE_FILE, LEASE_FILE, RunId
from ..store import Store, check_key
from ..store.catalog import read_contents
from ..store.contents import Contents

_REMOVERS = 8
_LAST = (LEASE_FILE, COMPLETE_FILE)

Stage = list[tuple[str, int]]
"""Keys and sizes of objects that may go in any order, once those of the stages before are gone."""


def remove_run(store: Store, run: RunId, check: Callable[[], None], done: Callable[[int], None]) -> None:
    """Removes what is listed, but for the lease, which the caller holds, and the mark. Keys that no store takes stay.

    ``check`` is called before each removal, and what it raises ends them. ``done`` receives the size of each object
    that is gone. Repeated, it continues where it was interrupted. Raises StoreError.
    """

    def remove(one: tuple[str, int]) -> int:
        key, size = one
        check()
        store.delete(key)
        return size

    for stage in stages(read_contents(store, run)):
        with ThreadPoolExecutor(_REMOVERS) as pool:
            for size in pool.map(remove, stage):
                done(size)


def remove_last(store: Store, contents: Contents) -> Iterator[int]:
    """Removes what ``remove_run`` leaves, once the lease is renewed no more. Gives the size of each as it was listed in
    ``contents``: the lease that is there now is the removal's own.
    """
    for file in _LAST:
        store.delete(f"{contents.run}/{file}")
        if file in contents.others:
            yield contents.others[file]


def stages(contents: Contents) -> Iterator[Stage]:
    folder = f"{contents.run}/"
    oldest_first = contents.pairs[::-1]
    manifests = [(f"{folder}{pair.name.file('json')}", pair.sizes["json"]) for pair in oldest_first]
    yield manifests[:-1]
    yield manifests[-1:]
    yield [
        (f"{folder}{listed.name.file(part)}", size)
        for listed in (*oldest_first, *contents.orphans)
        for part, size in listed.sizes.items()
        if part != "json"
    ]
    others = [(folder + key, size) for key, size in contents.others.items() if key not in _LAST]
    yield [(key, size) for key, size in others if _is_key(key)]


def _is_key(key: str) -> bool:
    """Somebody else may have put anything there: a key that no store takes cannot be removed through one."""
    try:
        check_key(key)
    except ValueError:
        return False
    return True
