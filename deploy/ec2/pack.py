"""What launch brings to the machine: an archive of the user's code, with holdfast's wheel and the versions for pip, and
one of the scripts and units that set the machine up.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

CLONE = Path(__file__).resolve().parents[2]
SET_UP = ("ec2/machine", "systemd", "docker")
"""The folders of deploy/ that a machine needs."""
LEFT_OUT = {".git", ".venv", "venv", "__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", "runs"}
SECRETS = re.compile(
    r"[.]env([.](?!example$|sample$|template$).*)?|[.](netrc|pypirc|git-credentials|aws|ssh)|id_(rsa|ed25519)",
    re.DOTALL,
)
MOST = 5 * 1024**3
"""Bytes. S3 takes no more in one piece, and each machine fetches them anew."""
SHOWN = 5


class Refused(Exception):
    """It cannot be launched so; one line for a person."""


@dataclass
class Found:
    """The files of a folder: ``files`` by their paths in it, ``links`` with what they point to there, and ``folders``,
    which a script may count on though they are empty. Then what is not packed: by its usual name, as a secret, as a
    link to elsewhere, and as no file.
    """

    files: dict[str, Path] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    usual: list[str] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    special: list[str] = field(default_factory=list)

    def said(self) -> Iterator[str]:
        """A line for each kind of what is not packed."""
        for names, why in (
            (self.usual, "as always"),
            (self.secrets, "as they may hold secrets"),
            (self.elsewhere, "symbolic links to what is not packed"),
            (self.special, "no files"),
        ):
            if names:
                more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
                yield f"left out, {why}: {', '.join(map(printable, names[:SHOWN]))}{more}"


def printable(name: str) -> str:
    """A name may hold anything but NUL."""
    return name if name.isprintable() else ascii(name)


def build(scratch: Path) -> Path:
    """holdfast's wheel, of this clone."""
    words = ["pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(scratch), str(CLONE)]
    # The same clone makes the same wheel.
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "315532800", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    command = [sys.executable, "-m", *words]
    if subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, check=False).returncode:
        raise Refused("holdfast's wheel could not be built; see above")
    return next(scratch.glob("*.whl"))


def pins(folder: Path) -> str:
    """The versions for pip on the machine: the code's own constraints.txt, else what holdfast was tested with.

    What the code's requirements.txt names is left to it.
    """
    own = folder / "constraints.txt"
    if own.exists():
        return text_of(own)
    wanted = folder / "requirements.txt"
    names = {name(line) for line in text_of(wanted).splitlines()} if wanted.exists() else set()
    lines = (CLONE / "constraints.txt").read_text().splitlines(keepends=True)
    return "".join(line for line in lines if name(line) not in names)


def text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except ValueError:
        raise Refused(f"{path} is no UTF-8 text, which pip needs") from None


def name(requirement: str) -> str:
    """The distribution's normalized name; '' for a comment or an option."""
    found = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", requirement.strip())
    return re.sub(r"[-_.]+", "-", found[0]).lower() if found else ""


def look(folder: Path) -> Found:
    """Raises Refused for what cannot be read, and for too much."""
    found, size = Found(), 0

    def refuse(error: OSError) -> None:
        raise Refused(f"{printable(str(error.filename))} cannot be read: {error.strerror}")

    for here, folders, names in os.walk(folder, onerror=refuse):
        for each in sorted([*folders, *names]):
            path = Path(here, each)
            inside = str(path.relative_to(folder))
            kind = path.lstat().st_mode
            if each in LEFT_OUT:
                found.usual.append(inside)
            elif SECRETS.fullmatch(each):
                found.secrets.append(inside)
            elif stat.S_ISLNK(kind):
                target = within(path, folder)
                if target is None:
                    found.elsewhere.append(f"{inside} -> {os.readlink(path)}")
                else:
                    found.links[inside] = target
            elif stat.S_ISREG(kind):
                found.files[inside] = path
                size += path.stat().st_size
            elif stat.S_ISDIR(kind):
                found.folders.append(inside)
            else:
                found.special.append(inside)
        folders[:] = [each for each in folders if each not in LEFT_OUT and not SECRETS.fullmatch(each)]
        if size > MOST:
            raise Refused(
                f"{folder} holds more than {MOST / 1024**3:.3g} GiB of files: keep the data in a bucket of yours, and "
                "let the machine read it by a policy in ManagedPolicies"
            )
    return found


def within(link: Path, folder: Path) -> str | None:
    """What it points to, from where it is; None for what is not packed."""
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError):  # it points to nothing, or to itself
        return None
    whole = folder.resolve()
    if not target.is_relative_to(whole):
        return None
    parts = target.relative_to(whole).parts
    if any(part in LEFT_OUT or SECRETS.fullmatch(part) for part in parts):
        return None
    return os.path.relpath(target, link.parent.resolve())


def pack(folder: Path, wheel: Path, to: Path) -> list[str]:
    """Makes the code's archive; lines that say what is in it, and what is not. Raises Refused."""
    found = look(folder)
    found.files.pop("constraints.txt", None)
    found.links.pop("constraints.txt", None)
    ours = {"constraints.txt": pins(folder).encode(), wheel.name: wheel}
    archive({**found.files, **ours}, to, found.links, found.folders)
    number = len(found.files) + len(found.links)
    files = f"{number} file{'s' if number != 1 else ''}"
    return [f"packed {printable(str(folder))}: {files}, {to.stat().st_size:,} bytes with the wheel", *found.said()]


def set_up(to: Path) -> None:
    """Makes the archive of what sets the machine up."""
    deploy = CLONE / "deploy"
    files = [path for folder in SET_UP for path in sorted((deploy / folder).iterdir()) if path.is_file()]
    archive({str(path.relative_to(deploy)): path for path in files}, to)


def archive(
    files: Mapping[str, Path | bytes], to: Path, links: Mapping[str, str] | None = None, folders: Iterable[str] = ()
) -> None:
    """The same content makes the same bytes, so that nothing is updated for nothing. Raises Refused."""
    with (
        to.open("wb") as packed,
        gzip.GzipFile(filename="", fileobj=packed, mode="wb", compresslevel=6, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as tar,
    ):
        for name in folders:
            entry = tarfile.TarInfo(f"./{name}")
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            entry.uname = entry.gname = "root"
            tar.addfile(entry)
        for name, content in files.items():
            entry = tarfile.TarInfo(f"./{name}")
            entry.uname = entry.gname = "root"
            entry.mode = 0o644
            if isinstance(content, bytes):
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
                continue
            try:
                with content.open("rb") as file:
                    facts = os.fstat(file.fileno())
                    entry.size = facts.st_size
                    entry.mode = 0o755 if facts.st_mode & stat.S_IXUSR else 0o644
                    tar.addfile(entry, file)
            except OSError as error:
                raise Refused(f"{printable(str(content))} cannot be packed: {error.strerror or error}") from None
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(f"./{name}")
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            entry.uname = entry.gname = "root"
            tar.addfile(entry)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
