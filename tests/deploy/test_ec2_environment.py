"""The Python environment of a run's machines: the next one has what the first one had. pip is the real one."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import pip
import pytest

from .stacks import EC2

SCRIPT = EC2 / "machine" / "environment.py"
VERSIONS = "bucket/setup/count-versions.txt"
AWS = """#!/bin/sh
for to; do from=$last last=$to; done
[ ! -e "$STORE/away" ] || { echo 'fatal error: Could not connect to the endpoint URL' >&2; exit 1; }
case $from in
  s3://*) [ -e "$STORE/${from#s3://}" ] || { echo 'fatal error: An error occurred (404)' >&2; exit 1; } ;;
  *) mkdir -p "$(dirname "$STORE/${to#s3://}")" ;;
esac
[ "${from#s3://}" = "$from" ] && exec cp "$from" "$STORE/${to#s3://}"
exec cp "$STORE/${from#s3://}" "$to"
"""


def wheel(folder: Path, name: str, version: str, *needs: str, content: str = "") -> Path:
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    requires = "".join(f"Requires-Dist: {need}\n" for need in needs)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", content)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


@dataclass
class Site:
    """An index, the store, and the code of a run; each machine is a folder beside them."""

    folder: Path
    machines: int = field(default=0)

    def __post_init__(self) -> None:
        for name in ("index", "store", "code", "bin"):
            (self.folder / name).mkdir()
        for name, text in (("aws", AWS), ("tell", f'#!/bin/sh\necho "$*" >>{self.folder}/told\n')):
            (self.folder / "bin" / name).write_text(text)
            (self.folder / "bin" / name).chmod(0o755)
        wheel(self.index, "keras", "3.1")
        wheel(self.index, "numpy", "1.0")
        self.own = wheel(self.code, "holdfast_train", "0.1.0", "numpy")
        (self.code / "requirements.txt").write_text("keras\n")

    @property
    def index(self) -> Path:
        return self.folder / "index"

    @property
    def code(self) -> Path:
        return self.folder / "code"

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def machine(self) -> Machine:
        self.machines += 1
        home = self.folder / f"machine-{self.machines}"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True, timeout=60)
        (home / "bin/pip").write_text(
            f"#!{home}/bin/python\nfrom pip._internal.cli.main import main\nraise SystemExit(main())"
        )
        (home / "bin/pip").chmod(0o755)
        (packages,) = home.glob("lib/python3*/site-packages")
        (packages / "pip").symlink_to(Path(pip.__file__).parent)
        return Machine(self, home)

    @property
    def told(self) -> str:
        path = self.folder / "told"
        return path.read_text() if path.exists() else ""


@dataclass(frozen=True)
class Machine:
    site: Site
    home: Path

    def do(self, *words: str, stored: bool = True) -> subprocess.CompletedProcess[str]:
        site = self.site
        environment = {
            "PATH": f"{site.folder}/bin:/usr/bin:/bin",
            "HOME": str(self.home),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(site.index),
            "STORE": str(site.store),
        }
        folders = ["--home", self.home, "--code", site.code, "--wheels", self.home / "wheels"]
        store = ["--store", "s3://bucket/setup", "--cache", "s3://bucket/wheels", "--run", "count"] if stored else []
        command = [sys.executable, SCRIPT, *words, *folders, *store]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)

    def install(self, stored: bool = True) -> str:
        """What it said; it must succeed."""
        done = self.attempt(stored)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def attempt(self, stored: bool = True) -> subprocess.CompletedProcess[str]:
        wanted = f"holdfast-train @ file://{self.site.own}"
        return self.do("install", "--requirement", wanted, "--tell", str(self.site.folder / "bin/tell"), stored=stored)

    def keep(self) -> None:
        done = self.do("keep")
        assert done.returncode == 0, done.stdout + done.stderr

    def versions(self) -> set[str]:
        found = self.home.glob("lib/python3*/site-packages/*.dist-info")
        return {path.name.removesuffix(".dist-info") for path in found}

    def module(self, name: str) -> str:
        (path,) = self.home.glob(f"lib/python3*/site-packages/{name}.py")
        return path.read_text()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


FIRST = {"keras-3.1", "numpy-1.0", "holdfast_train-0.1.0"}


def test_the_next_machine_installs_what_the_first_one_had_although_the_index_has_newer_versions(site: Site) -> None:
    site.machine().install()
    wheel(site.index, "keras", "3.2")
    second = site.machine()
    assert "the versions are those of the machine before" in second.install()
    assert second.versions() == FIRST
    assert site.told == ""


def test_the_stored_versions_have_hashes_and_another_content_under_the_same_version_is_refused(site: Site) -> None:
    site.machine().install()
    lock = (site.store / VERSIONS).read_text().splitlines()
    assert [text.partition(" --hash=sha256:")[0] for text in lock if "==" in text] == ["keras==3.1", "numpy==1.0"]
    wheel(site.index, "keras", "3.1", content="evil = True\n")
    second = site.machine()
    done = second.attempt()
    assert done.returncode == 1
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert second.versions() == set()


@pytest.mark.whole
def test_code_that_asks_for_something_else_is_resolved_anew_and_what_changed_is_said(site: Site) -> None:
    site.machine().install()
    wheel(site.index, "keras", "3.2")
    wheel(site.index, "pandas", "2.0")
    (site.code / "requirements.txt").write_text("keras\npandas\n")
    second = site.machine()
    said = second.install()
    assert "the versions are not those of the machine before: keras 3.1 -> 3.2, pandas none -> 2.0" in said
    assert "keras 3.1 -> 3.2" in site.told
    assert "pandas-2.0" in second.versions()
    assert "those of the machine before" in site.machine().install()


@pytest.mark.whole
def test_stored_wheels_spare_the_next_machine_the_index(site: Site) -> None:
    first = site.machine()
    first.install()
    first.keep()
    assert not (first.home / "wheels").exists()
    for path in site.index.iterdir():
        path.unlink()
    second = site.machine()
    second.install()
    assert second.versions() == FIRST
    before = {path: path.stat().st_mtime_ns for path in site.store.rglob("*.tar")}
    second.keep()
    assert {path: path.stat().st_mtime_ns for path in site.store.rglob("*.tar")} == before, "they are there already"


@pytest.mark.whole
@pytest.mark.parametrize("broken", [b"no archive", None], ids=["no archive", "another wheel in it"])
def test_stored_wheels_that_are_not_whole_are_fetched_from_the_index(site: Site, broken: bytes | None) -> None:
    first = site.machine()
    first.install()
    first.keep()
    (stored,) = site.store.rglob("*.tar")
    content = stored.read_bytes()
    stored.write_bytes(broken or content.replace(b"Name: keras", b"Name: karas"))
    second = site.machine()
    assert "the stored wheels are not whole" in second.install()
    assert second.versions() == FIRST
    second.keep()
    assert stored.read_bytes() != (broken or b""), "stored again"


@pytest.mark.whole
def test_stored_wheels_that_have_their_own_sums_and_not_the_hashes_of_the_versions_are_fetched_from_the_index(
    site: Site,
) -> None:
    first = site.machine()
    first.install()
    first.keep()
    (stored,) = site.store.rglob("*.tar")
    folder = site.folder / "other"
    folder.mkdir()
    with tarfile.open(stored) as tar:
        tar.extractall(folder, filter="data")
    wheel(folder, "keras", "3.1", content="other = True\n")
    paths = sorted(folder.glob("*.whl"))
    sums = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in paths)
    (folder / "SHA256SUMS").write_text(sums)
    with tarfile.open(stored, "w") as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, path.name)
    second = site.machine()
    said = second.install()
    assert "the stored wheel of keras has not the hash that the versions have" in said
    assert "other" not in second.module("keras")
    assert second.versions() == FIRST


BACKEND = """\
import zipfile

def build_wheel(folder, settings=None, metadata=None):
    name, info = "built-1.0-py3-none-any.whl", "built-1.0.dist-info/"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as archive:
        archive.writestr("built.py", "")
        archive.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: built\\nVersion: 1.0\\n")
        archive.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        archive.writestr(info + "RECORD", "")
    return name
"""


@pytest.mark.whole
def test_a_wheel_that_was_built_from_its_source_is_stored_and_taken_like_the_others(site: Site) -> None:
    with tarfile.open(site.index / "built-1.0.tar.gz", "w:gz") as tar:
        project = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        metadata = "Metadata-Version: 2.1\nName: built\nVersion: 1.0\n"
        for name, text in (("pyproject.toml", project), ("backend.py", BACKEND), ("PKG-INFO", metadata)):
            entry = tarfile.TarInfo(f"built-1.0/{name}")
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    (site.code / "requirements.txt").write_text("keras\nbuilt\n")
    first = site.machine()
    first.install()
    first.keep()
    for path in site.index.iterdir():
        path.unlink()
    second = site.machine()
    second.install()
    assert second.versions() == {*FIRST, "built-1.0"}


@pytest.mark.whole
def test_a_store_that_is_away_is_no_reason_to_resolve_anew(site: Site) -> None:
    site.machine().install()
    (site.store / "away").touch()
    second = site.machine()
    done = second.attempt()
    assert done.returncode == 1
    assert "count-versions.txt cannot be read: fatal error: Could not connect" in done.stderr
    assert second.versions() == set()


@pytest.mark.whole
def test_what_came_with_the_code_is_new_with_it_and_the_versions_stay(site: Site) -> None:
    machine = site.machine()
    machine.install()
    wheel(site.code, "holdfast_train", "0.1.0", "numpy", content="better = True\n")
    assert "those of the machine before" in machine.install()
    assert "better" in machine.module("holdfast_train")


@pytest.mark.whole
def test_a_constraint_is_kept_to_and_hashes_of_the_codes_own_are_too(site: Site) -> None:
    (newer, *_) = [wheel(site.index, "keras", "3.2"), wheel(site.index, "numpy", "2.0")]
    (site.code / "constraints.txt").write_text("numpy<2\n")
    pip = [sys.executable, "-m", "pip", "hash", str(newer)]
    hashed = subprocess.run(pip, capture_output=True, text=True, check=True, timeout=60).stdout.split()[-1]
    (site.code / "requirements.txt").write_text(f"keras==3.2 {hashed}\n")
    machine = site.machine()
    machine.install()
    assert machine.versions() == {"keras-3.2", "numpy-1.0", "holdfast_train-0.1.0"}


@pytest.mark.whole
def test_a_baked_image_needs_no_index_for_what_it_has_and_the_store_gets_its_versions(site: Site) -> None:
    machine = site.machine()
    machine.install(stored=False)
    assert not any(site.store.iterdir())
    for path in site.index.iterdir():
        path.unlink()
    machine.install()
    assert "keras==3.1" in (site.store / VERSIONS).read_text()
