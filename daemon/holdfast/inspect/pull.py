"""Downloads a run to a folder of this machine, for people: pairs, logs in one piece, options, artifacts.

The store is not trusted: names are parsed, sizes and checksums compared before a file appears, and nothing is written
through a link. Files are 0600, folders 0700.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ..core.errors import InvalidPair, NotFound, SettingsError, TooLarge
from ..core.manifest import Manifest
from ..spool import TEMPORARY, Spool, replacing
from ..store import Store
from ..store.contents import Contents, Listed
from ..store.download import Advance, bring, check_room

Warn = Callable[[str], None]
_GROWING = {
    "log.txt": re.compile(r"log-i([1-9]\d{0,8})\.txt"),
    "events.jsonl": re.compile(r"events-i([1-9]\d{0,8})\.jsonl"),
}
_OPTIONS = "training_options.json"
_GROWTH = 16 << 20  # bytes that a log may grow by after it was listed


@dataclass
class Pulled:
    """The result. ``pairs`` are in the folder, and valid; ``present`` files were there already."""

    folder: Path
    pairs: list[Manifest] = field(default_factory=list)
    damaged: list[Listed] = field(default_factory=list)
    fetched: int = 0
    present: int = 0


class Puller:
    """Downloads parts of one run to ``folder``, which it makes."""

    def __init__(self, store: Store, contents: Contents, folder: Path, warn: Warn, advance: Advance) -> None:
        if (folder / ".spool-id").exists():
            raise SettingsError(
                f"{folder} is the work dir of a training on this machine; give another folder with --to"
            )
        if folder.is_symlink():
            raise SettingsError(f"{folder} is a link, and pull follows none: give another folder with --to")
        self._store = store
        self._contents = contents
        self._spool = Spool(folder)
        self._warn = warn
        self._advance = advance
        self.result = Pulled(folder)

    def newest(self, candidates: list[Listed]) -> None:
        """Downloads the first of ``candidates`` that is valid."""
        for listed in candidates:
            if self._bring(listed):
                return

    def every(self, candidates: list[Listed]) -> None:
        for listed in candidates:
            self._bring(listed)

    def files(self) -> None:
        """Logs and events, joined in the order of their incarnations, and the options of the training."""
        for name, pattern in _GROWING.items():
            found = {int(match[1]): key for key in self._contents.others if (match := pattern.fullmatch(key))}
            if found:
                self._join(name, [found[number] for number in sorted(found)])
        if _OPTIONS in self._contents.others:
            self._join(_OPTIONS, [_OPTIONS])

    def _bring(self, listed: Listed) -> bool:
        try:
            brought = bring(self._store, self._contents.run, listed, self._spool, advance=self._advance)
        except InvalidPair as error:
            self._warn(f"{listed.name}: passed over: {error}")
            self.result.damaged.append(listed)
            return False
        self.result.pairs.append(brought.manifest)
        self.result.fetched += brought.fetched
        self.result.present += brought.present
        return True

    def _join(self, name: str, keys: list[str]) -> None:
        folder = self._spool.path
        with (
            replacing(folder / name, durable=False) as whole,
            tempfile.TemporaryDirectory(".part", TEMPORARY, folder) as part,
        ):
            for key in keys:
                check_room(folder, 2 * self._contents.others[key])
                piece = Path(part, "piece")
                most = self._contents.others[key] + _GROWTH
                try:
                    self._store.fetch(f"{self._contents.run}/{key}", piece, most)
                except NotFound:
                    self._warn(f"{key} is gone from the store")
                except TooLarge as error:
                    self._warn(f"{key}: left out: {error}, though fewer were listed: pull again")
                else:
                    append(piece, whole)
        self.result.fetched += 1


def append(piece: Path, whole: Path) -> None:
    """Appends a piece, and a newline if it does not end with one, so that the next piece begins a line."""
    with piece.open("rb") as source, whole.open("ab") as target:
        shutil.copyfileobj(source, target)
        if source.tell():
            source.seek(-1, 2)
            target.write(b"" if source.read(1) == b"\n" else b"\n")
