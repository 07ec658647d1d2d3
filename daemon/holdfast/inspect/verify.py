"""Checks pairs in a store: every byte of their files against the manifest's sizes and SHA-256."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..core.checkpoint_name import CheckpointName
from ..core.errors import InvalidPair
from ..core.runs import RunId
from ..store import Store
from ..store.contents import Contents, Listed
from ..store.download import Advance, fetch_part, manifest_of


@dataclass(frozen=True)
class Verdict:
    """``problems`` is empty for a whole pair. ``removed``: it was deleted while it was being looked at."""

    name: CheckpointName
    size: int
    problems: tuple[str, ...] = ()
    removed: bool = False

    @property
    def status(self) -> str:
        return "removed" if self.removed else "damaged" if self.problems else "whole"


def check_pair(store: Store, run: RunId, listed: Listed, folder: Path, advance: Advance) -> Verdict:
    """Reads every byte. Puts one file at a time into ``folder``, and removes it. Raises StoreError."""
    problems = tuple(_problems(store, run, listed, folder, advance))
    removed = bool(problems) and not store.list(f"{run}/{listed.name.file('json')}")
    return Verdict(listed.name, listed.size, () if removed else problems, removed)


def _problems(store: Store, run: RunId, listed: Listed, folder: Path, advance: Advance) -> Iterable[str]:
    try:
        manifest = manifest_of(store, run, listed)
    except InvalidPair as error:
        yield f"unreadable manifest: {error}"
        return
    for part, record in manifest.files.items():
        advance(listed.name.file(part), 0)
        path = folder / listed.name.file(part)
        try:
            fetch_part(store, run, listed, part, record, path)
        except InvalidPair as error:
            yield str(error)
        finally:
            path.unlink(missing_ok=True)
        advance(listed.name.file(part), listed.sizes.get(part, 0))


def newest_valid(
    store: Store, contents: Contents, folder: Path, advance: Advance
) -> tuple[CheckpointName | None, list[Verdict]]:
    """The newest pair that a restart could use, and the damaged ones that it would skip."""
    passed: list[Verdict] = []
    for listed in contents.pairs:
        if not listed.name.finite:
            continue
        verdict = check_pair(store, contents.run, listed, folder, advance)
        if verdict.status == "whole":
            return listed.name, passed
        if verdict.status == "damaged":
            passed.append(verdict)
    return None, passed
