"""What one listing tells of a run: its pairs, data without a manifest, logs, and whether it is complete.

Only the names, sizes and times of the listing are used. A name that holdfast would not have written is no checkpoint's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from ..core.checkpoint_name import CheckpointName
from ..core.manifest import PARTS
from ..core.runs import COMPLETE_FILE, RUN_FILE, RunId
from .base import Entry

_ENDINGS = frozenset(("json", *PARTS))


@dataclass(frozen=True)
class Listed:
    """A checkpoint as the listing has it; ``sizes`` are bytes, of those of its three files that are there."""

    name: CheckpointName
    sizes: Mapping[str, int]

    @property
    def missing(self) -> tuple[str, ...]:
        return tuple(part for part in PARTS if part not in self.sizes)

    @property
    def size(self) -> int:
        """Bytes of data, without the manifest."""
        return sum(size for part, size in self.sizes.items() if part in PARTS)

    @property
    def whole_size(self) -> int:
        return sum(self.sizes.values())


@dataclass(frozen=True)
class Contents:
    """``pairs`` have a manifest, ``orphans`` have data and none; both newest first. ``others`` are keys in the run.

    ``written`` tells of each key in the run when it was written, by the store's clock.
    """

    run: RunId
    pairs: tuple[Listed, ...]
    orphans: tuple[Listed, ...]
    others: Mapping[str, int]
    written: Mapping[str, datetime] = field(default_factory=dict)

    @property
    def begun(self) -> datetime | None:
        return self.written.get(RUN_FILE)

    @property
    def changed(self) -> datetime | None:
        """The last write: a holder's, who renews the lease, is seconds ago."""
        return max(self.written.values(), default=None)

    def stored(self, pair: Listed) -> datetime | None:
        return self.written.get(pair.name.file("json"))

    @property
    def complete(self) -> bool:
        return COMPLETE_FILE in self.others

    @property
    def size(self) -> int:
        """Bytes of everything in the run."""
        return sum(found.whole_size for found in (*self.pairs, *self.orphans)) + sum(self.others.values())

    @property
    def empty(self) -> bool:
        return not (self.pairs or self.orphans or self.others)

    @property
    def incarnation(self) -> int:
        """The newest incarnation that has stored any file of a checkpoint; 0 if none has."""
        return max((found.name.incarnation for found in (*self.pairs, *self.orphans)), default=0)


def contents_of(run: RunId, entries: Iterable[Entry]) -> Contents:
    """Groups the listing of the run's folder into pairs. Each name is parsed once."""
    folder, by_stem, others = f"{run}/", dict[str, dict[str, int]](), dict[str, int]()
    written: dict[str, datetime] = {}
    for entry in entries:
        key = entry.key.removeprefix(folder)
        if entry.modified is not None:
            written[key] = entry.modified
        stem, _, part = key.rpartition(".")
        if part in _ENDINGS:
            by_stem.setdefault(stem, {})[part] = entry.size
        else:
            others[key] = entry.size
    found = []
    for stem, sizes in by_stem.items():
        name = CheckpointName.parse(stem)
        if name is None:
            others |= {f"{stem}.{part}": size for part, size in sizes.items()}
        else:
            found.append(((*name.order, stem), Listed(name, sizes)))
    newest_first = [listed for _, listed in sorted(found, key=lambda one: one[0], reverse=True)]
    return Contents(
        run=run,
        pairs=tuple(listed for listed in newest_first if "json" in listed.sizes),
        orphans=tuple(listed for listed in newest_first if "json" not in listed.sizes),
        others=others,
        written=written,
    )
