"""What launch brings to the machine: the user's code, holdfast's wheel, and the versions for pip, in one archive."""

from __future__ import annotations

import gzip
import io
import re
import subprocess
import sys
import tarfile
from pathlib import Path

CLONE = Path(__file__).resolve().parents[2]
LEFT_OUT = {".git", ".venv", "venv", "__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", "runs"}


class Refused(Exception):
    """It cannot be launched so; one line for a person."""


def build(scratch: Path) -> Path:
    """holdfast's wheel, of this clone."""
    words = ["pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(scratch), str(CLONE)]
    if subprocess.run([sys.executable, "-m", *words], stdin=subprocess.DEVNULL, check=False).returncode:
        raise Refused("holdfast's wheel could not be built; see above")
    return next(scratch.glob("*.whl"))


def pins(folder: Path) -> str:
    """The versions for pip on the machine: the code's own constraints.txt, else what holdfast was tested with.

    What the code's requirements.txt names is left to it.
    """
    own = folder / "constraints.txt"
    if own.exists():
        return own.read_text()
    wanted = folder / "requirements.txt"
    names = {name(line) for line in wanted.read_text().splitlines()} if wanted.exists() else set()
    lines = (CLONE / "constraints.txt").read_text().splitlines(keepends=True)
    return "".join(line for line in lines if name(line) not in names)


def name(requirement: str) -> str:
    """The distribution's normalized name; '' for a comment or an option."""
    found = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", requirement.strip())
    return re.sub(r"[-_.]+", "-", found[0]).lower() if found else ""


def pack(folder: Path, wheel: Path) -> bytes:
    """The archive for the machine. The same content makes the same bytes, so that nothing is updated for nothing."""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w") as tar:
        for path in sorted(folder.rglob("*")):
            inside = path.relative_to(folder)
            if not LEFT_OUT & set(inside.parts) and inside != Path("constraints.txt") and not path.is_dir():
                add(tar, tar.gettarinfo(path, f"./{inside}"), path.read_bytes() if not path.is_symlink() else b"")
        for file, content in (("constraints.txt", pins(folder).encode()), (wheel.name, wheel.read_bytes())):
            entry = tarfile.TarInfo(f"./{file}")
            entry.size, entry.mode = len(content), 0o644
            add(tar, entry, content)
    return packed.getvalue()


def add(tar: tarfile.TarFile, entry: tarfile.TarInfo, content: bytes) -> None:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = "root"
    tar.addfile(entry, io.BytesIO(content) if entry.isreg() else None)
