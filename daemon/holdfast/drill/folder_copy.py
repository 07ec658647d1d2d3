"""What each machine of a rehearsal begins with: a copy of its own of the folder that the command runs in.

A second machine has what was deployed there, and nothing of what a first one wrote. So the present folder, and the one
that a script lies in, are copied once, and each machine gets a copy of that copy, always at the same path. What is
large or many, environments and other file systems are linked instead, and named: the machines share them. So are a
repository's and other tools' own folders. The folders beside and above are links too, so that ``../data`` is found.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

MOST_BYTES = 256 << 20
_MOST_FILES = 10_000
_ONE_FILE = 4  # of the most bytes, one file may take a part of so many
_LEVELS, _BESIDE = 3, 2000
_TOOLS = {".git", ".hg", ".svn", "node_modules", ".tox", ".nox", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
_QUIET = {"__pycache__", ".ipynb_checkpoints"}
_SCRIPTS = (".py", ".sh", ".bash")


@dataclass(frozen=True)
class _Entry:
    """A folder, a file to copy, or a link to ``target``."""

    kind: str
    target: str = ""
    size: int = 0
    mtime_ns: int = 0
    mode: int = 0o700


@dataclass
class Deployment:
    """``folder`` is where the command would run, ``most`` the bytes that are copied. ``check`` may raise to end it."""

    folder: Path
    command: Sequence[str]
    check: Callable[[], None]
    most: int = MOST_BYTES
    exclude: Path | None = None
    linked: list[Path] = field(default_factory=list)
    files: int = 0
    size: int = 0

    def __post_init__(self) -> None:
        self.folder = Path(os.path.realpath(self.folder))
        self._roots = [self.folder, *self._script_folders()]
        self._entries: dict[Path, _Entry] = {}
        self._pristine: Path | None = None
        for root in self._roots:
            self._survey(root)
        for root in self._roots:
            self._link_beside(root)

    def keep(self, where: Path) -> None:
        """Makes the copy that the machines' are made of: what is edited meanwhile takes no part."""
        self._copy(Path("/"), where)
        self._pristine = where

    def install(self, where: Path) -> Path:
        """Returns the folder to run in."""
        self._copy(self._pristine or Path("/"), where)
        return _below(where, self.folder)

    def command_in(self, where: Path) -> list[str]:
        """The command with the paths of what was copied replaced by those of the copies."""
        first, *rest = self.command
        first = self._moved(first, where) if first.endswith(_SCRIPTS) else first
        return [first, *(self._moved(word, where) for word in rest)]

    def environment_in(self, where: Path) -> dict[str, str]:
        found = {"PWD": str(_below(where, self.folder))}
        if any((path / "pyvenv.cfg").exists() for path in self.linked):
            found["UV_NO_SYNC"] = "1"  # `uv run` would install the copy into the environment that is the user's
        if "PYTHONPATH" in os.environ:
            parts = os.environ["PYTHONPATH"].split(os.pathsep)
            found["PYTHONPATH"] = os.pathsep.join(self._moved(part, where) for part in parts)
        return found

    def written(self, where: Path) -> dict[str, Path]:
        """What the command wrote there, by its path as seen from the folder that it ran in; links are not followed."""
        found = {}
        above = {folder for root in self._roots for folder in list(root.parents)[:_LEVELS]}
        tops = {*self._roots, *(p for folder in above for p in self._new_in(folder, where))}
        for path in (path for top in tops for path in _files(_below(where, top))):
            original = Path("/") / path.relative_to(where)
            if not self._is_same(path, self._pristine and _below(self._pristine, original)):
                found[os.path.relpath(original, self.folder)] = path
        return dict(sorted(found.items()))

    def changed_at_home(self) -> list[str]:
        """What has changed since in the folders themselves: by an absolute path, by a link, or by the user."""
        names = []
        for root in self._roots:
            folders = [p for p, e in self._entries.items() if e.kind == "folder" and p.is_relative_to(root)]
            new = (p for folder in folders for p in _listed(folder) if p not in self._entries and p.name not in _QUIET)
            old = (p for p, e in self._entries.items() if e.mtime_ns and p.is_relative_to(root) and _is_changed(p, e))
            names += [os.path.relpath(path, self.folder) for path in (*new, *old) if path != self.exclude]
        return sorted(set(names))

    # --- what is to be there ---------------------------------------------------------------------------------------

    def _script_folders(self) -> list[Path]:
        found: list[Path] = []
        for word in self.command:
            path = Path(os.path.realpath(self.folder / word))
            inside = any(path.is_relative_to(root) for root in (self.folder, *found))
            if path.suffix in _SCRIPTS and not inside and path.is_file():
                found.append(path.parent)
        return found

    def _survey(self, root: Path) -> None:
        """Breadth first: what lies near the top is copied before what lies deep."""
        device = root.stat().st_dev
        queue = deque([root])
        while queue:
            self.check()
            folder = queue.popleft()
            listed = _listed(folder)
            full = self.files + len(listed) > _MOST_FILES or self.size >= self.most
            if full and folder not in self._roots:
                self._link(folder)
                continue
            self._entries[folder] = _Entry("folder", mode=stat.S_IMODE(folder.stat().st_mode))
            for path in listed:
                if path in self._entries or path == self.exclude:
                    continue
                with contextlib.suppress(FileNotFoundError):  # it went away since it was listed
                    if path.is_symlink():
                        self._entries[path] = _Entry("link", self._target(path, root))
                    elif path.is_dir() and path.stat().st_dev == device and not _is_apart(path):
                        queue.append(path)
                    else:
                        self._take(path)

    def _take(self, path: Path) -> None:
        """A file is copied if there is room and it can be read; all else is linked."""
        about = path.stat()
        room = min(self.most // _ONE_FILE, self.most - self.size)
        plain = stat.S_ISREG(about.st_mode) and os.access(path, os.R_OK)
        if not plain or about.st_size > room or self.files >= _MOST_FILES:
            self._link(path)
            return
        self.files += 1
        self.size += about.st_size
        self._entries[path] = _Entry("file", "", about.st_size, about.st_mtime_ns, stat.S_IMODE(about.st_mode))

    def _link(self, path: Path) -> None:
        about = path.stat()
        times = (about.st_size, about.st_mtime_ns) if stat.S_ISREG(about.st_mode) else (0, 0)
        self._entries[path] = _Entry("link", str(path), *times)
        if path.name not in _TOOLS:
            self.linked.append(path)

    def _target(self, path: Path, root: Path) -> str:
        """A link into the folder leads into the copy."""
        real = Path(os.path.realpath(path))
        if real.is_relative_to(root):
            return os.path.relpath(real, os.path.realpath(path.parent))
        return str(real) if real.exists() else os.readlink(path)

    def _link_beside(self, root: Path) -> None:
        for above in list(root.parents)[:_LEVELS]:
            listed = _listed(above)
            for path in listed if len(listed) <= _BESIDE else ():
                if path != self.exclude and not any(other.is_relative_to(path) for other in self._roots):
                    self._entries.setdefault(path, _Entry("link", str(path)))

    # --- copies ----------------------------------------------------------------------------------------------------

    def _copy(self, source: Path, where: Path) -> None:
        folders = []
        for path, entry in self._entries.items():
            self.check()
            target = _below(where, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            if entry.kind == "folder":
                target.mkdir(exist_ok=True)
                folders.append((target, entry.mode))
            elif entry.kind == "link":
                target.symlink_to(entry.target)
            else:
                with contextlib.suppress(FileNotFoundError):  # it went away since it was listed
                    shutil.copy2(_below(source, path), target)
        for target, mode in reversed(folders) if source != Path("/") else ():
            target.chmod(mode)

    def _moved(self, word: str, where: Path) -> str:
        path = Path(word)
        if not path.is_absolute():
            return word
        path = Path(os.path.realpath(path))
        entry = self._entries.get(path)
        return str(_below(where, path)) if entry is not None and entry.kind != "link" else word

    @staticmethod
    def _is_same(path: Path, deployed: Path | None) -> bool:
        try:
            return deployed is not None and _stamp(path) == _stamp(deployed)
        except OSError:
            return False

    def _new_in(self, folder: Path, where: Path) -> Iterator[Path]:
        for path in _listed(_below(where, folder)):
            original = Path("/") / path.relative_to(where)
            if original not in self._entries and not any(root.is_relative_to(original) for root in self._roots):
                yield original


def remove(folder: Path) -> None:
    """With what is write-protected in it."""
    for path, names, _ in os.walk(folder):
        for name in (".", *names):
            with contextlib.suppress(OSError):
                below = Path(path, name)
                if not below.is_symlink():
                    below.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


def missing(names: Mapping[str, object], folder: Path) -> list[str]:
    """Those of ``names`` that are not in ``folder``."""
    return [name for name in names if not os.path.lexists(folder / name)]


def _below(where: Path, path: Path) -> Path:
    return where / path.relative_to("/")


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _is_apart(path: Path) -> bool:
    """An environment, a repository: not what a training writes to. What cannot be listed is left alone as well."""
    return path.name in _TOOLS or (path / "pyvenv.cfg").exists() or not os.access(path, os.R_OK | os.X_OK)


def _stamp(path: Path) -> tuple[int, int]:
    about = path.stat()
    return about.st_size, about.st_mtime_ns


def _is_changed(path: Path, entry: _Entry) -> bool:
    try:
        return _stamp(path) != (entry.size, entry.mtime_ns)
    except OSError:
        return True


def _files(folder: Path) -> Iterator[Path]:
    if folder.is_file():
        yield folder
    for path, names, files in os.walk(folder):
        names[:] = [name for name in names if name not in _QUIET]
        yield from (Path(path, name) for name in files if not Path(path, name).is_symlink())
