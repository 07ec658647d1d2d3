"""What launch brings to the machine: an archive of the user's code, with holdfast's wheel and the versions for pip, and
one of the scripts and units that set the machine up.
"""

from __future__ import annotations

import gzip
import io
import re
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path

CLONE = Path(__file__).resolve().parents[2]
SET_UP = ("ec2/machine", "systemd", "docker")
"""The folders of deploy/ that a machine needs."""
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
    """The code's archive."""
    paths = [(path, path.relative_to(folder)) for path in sorted(folder.rglob("*")) if not path.is_dir()]
    files = {
        str(inside): path
        for path, inside in paths
        if not LEFT_OUT & set(inside.parts) and inside != Path("constraints.txt")
    }
    return archive({**files, "constraints.txt": pins(folder).encode(), wheel.name: wheel.read_bytes()})


def set_up() -> bytes:
    """The archive of what sets the machine up."""
    deploy = CLONE / "deploy"
    files = [path for folder in SET_UP for path in sorted((deploy / folder).iterdir()) if path.is_file()]
    return archive({str(path.relative_to(deploy)): path for path in files})


def archive(files: Mapping[str, Path | bytes]) -> bytes:
    """The same content makes the same bytes, so that nothing is updated for nothing."""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w") as tar:
        for name, content in files.items():
            if isinstance(content, Path):
                entry = tar.gettarinfo(content, f"./{name}")
                content = content.read_bytes() if entry.isreg() else b""
            else:
                entry = tarfile.TarInfo(f"./{name}")
                entry.mode = 0o644
            entry.size = len(content)
            entry.uid = entry.gid = entry.mtime = 0
            entry.uname = entry.gname = "root"
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()
