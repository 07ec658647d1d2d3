#!/usr/bin/env python3.11
"""Makes the training's Python environment, the same on each machine of a run.

  environment.py install --requirement TEXT [--store URI --cache URI --run NAME] [--tell COMMAND]
  environment.py keep --store URI --cache URI

The first machine has pip resolve what the code asks for. The result, each version with its hash, is the lock: it is
stored as NAME-versions.txt, and later machines install it. They resolve anew only when the code asks for something
else; what differs then is printed and given to COMMAND. ``keep`` puts the wheels into the cache, and the next machine
needs no index.

Without --store nothing is read or stored: so an image is baked, whose machines install what differs from it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.parse
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

SUMS = "SHA256SUMS"
MISSING = "(404)"
INDEX_OPTIONS = re.compile(r"\s*(-i|-f|--index-url|--extra-index-url|--find-links|--no-index|--pre|--trusted-host)\b")
SOURCE = "  # of its source"
LOCK = "# What pip resolved for this run's machines. Asked for: "
WITH_CODE = "# With the code: "


class Failed(Exception):
    """One line for a person."""


class Store:
    """A folder of the store, by the AWS CLI."""

    def __init__(self, uri: str) -> None:
        self._uri = f"{uri}/"

    def get(self, name: str, path: Path) -> bool:
        """False if there is none. Raises Failed."""
        words = ["aws", "s3", "cp", "--only-show-errors", self._uri + name, str(path)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode and MISSING not in done.stderr:
            raise Failed(f"{self._uri}{name} cannot be read: {done.stderr.strip()}")
        return done.returncode == 0

    def put(self, path: Path, name: str) -> None:
        """Raises Failed."""
        if subprocess.run(
            ["aws", "s3", "cp", "--only-show-errors", str(path), self._uri + name], check=False
        ).returncode:
            raise Failed(f"{self._uri}{name} cannot be stored")


class Environment:
    """A virtual environment, and the code that it is for."""

    def __init__(self, home: Path, code: Path, wheels: Path, requirement: str) -> None:
        self._home, self._code, self._wheels, self._requirement = home, code, wheels, requirement
        self._stamp = home / "versions.txt"
        """The lock that is installed here, perhaps by whoever baked the image."""

    def pip(self, *words: str) -> None:
        """From the code's folder, as its requirements may name files there. Raises Failed."""
        done = subprocess.run([self._home / "bin/pip", words[0], "--quiet", *words[1:]], cwd=self._code, check=False)
        if done.returncode:
            raise Failed(f"pip {words[0]} failed; see above")

    @property
    def _lists(self) -> list[Path]:
        """The files of the code that say what it needs."""
        found = {*self._code.glob("*requirements*.txt"), *self._code.glob("*constraints*.txt")}
        for name in ("pyproject.toml", "setup.py", "setup.cfg"):
            found |= {*self._code.rglob(name)}
        return sorted(found)

    def asked_for(self) -> str:
        """A digest of all that decides what pip resolves."""
        texts = [self._requirement.encode(), f"{sys.version_info[:2]}".encode()]
        texts += [path.read_bytes() for path in self._lists]
        wheel = self._code / self._requirement.rpartition("/")[2]
        if wheel.suffix == ".whl" and wheel.is_file():  # its build time is no matter, its dependencies are
            texts.append(metadata(wheel))
        return hashlib.sha256(b"\0".join(texts)).hexdigest()

    def resolve(self) -> str:
        """The lock. Raises Failed."""
        wanted = self._code / "requirements.txt"
        constraints = self._code / "constraints.txt"
        limits = ["-c", str(constraints)] if constraints.exists() else []
        if not wanted.exists():
            found = self._report([self._requirement, *limits])
            options: list[str] = []
        else:
            text = wanted.read_text()
            options = [line.strip() for line in text.splitlines() if INDEX_OPTIONS.match(line)]
            if "--hash" not in text:
                found = self._report([self._requirement, "-r", str(wanted), *limits])
            else:  # pip would ask for the hashes of holdfast's own requirements as well
                theirs = self._report(["-r", str(wanted)])
                with tempfile.TemporaryDirectory() as folder:
                    pins = Path(folder) / "pins.txt"
                    pins.write_text("".join(f"{pin(item)}\n" for item in theirs if not is_direct(item)))
                    found = theirs + self._report([self._requirement, "-c", str(pins), *limits])
        own = {WITH_CODE + line(item) for item in found if self._is_the_codes(item)}
        others = {line(item) + source(item) for item in found if not self._is_the_codes(item)}
        return "\n".join([LOCK + self.asked_for(), *sorted(own), *options, *sorted(others)]) + "\n"

    def _report(self, words: Sequence[str]) -> list[dict[str, Any]]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "report.json"
            self.pip("install", "--dry-run", "--ignore-installed", "--report", str(path), *words)
            found: list[dict[str, Any]] = json.loads(path.read_text())["install"]
        return found

    def _is_the_codes(self, item: dict[str, Any]) -> bool:
        """A wheel or a folder that came with the code, and is new when the code is."""
        return is_direct(item) and str(item["download_info"]["url"]).startswith(f"file://{self._code}")

    def baked(self) -> str:
        """The lock that is installed already; '' if none is."""
        return self._stamp.read_text() if self._stamp.exists() else ""

    def install(self, lock: str, cache: Store | None) -> None:
        """Raises Failed."""
        if lock != self.baked():
            self._stamp.unlink(missing_ok=True)
            if not (cache and self._fetched(lock, cache)):
                self._download(lock)
            self.pip("install", "--no-index", "--no-deps", *map(str, sorted(self._wheels.glob("*.whl"))))
        own = [
            text.removeprefix(WITH_CODE).split(" --hash")[0] for text in lock.splitlines() if text.startswith(WITH_CODE)
        ]
        if own:
            self.pip("install", "--no-deps", "--force-reinstall", *own)
        self._stamp.write_text(lock)

    def _fetched(self, lock: str, cache: Store) -> bool:
        """Are the wheels here, whole, from the cache? If not, the index has them."""
        self._empty()
        with tempfile.TemporaryDirectory() as folder:
            packed = Path(folder) / "wheels.tar"
            try:
                if not cache.get(cache_name(lock), packed):
                    return False
                unpack(packed, self._wheels)
                self._compare(lock)
                return True
            except (Failed, OSError, tarfile.TarError) as error:
                print(f"holdfast: {error}", flush=True)
        print("holdfast: the stored wheels are not whole: fetching them from the index", flush=True)
        self._empty()
        return False

    def _compare(self, lock: str) -> None:
        """Raises Failed where the wheels here are not those that were stored, or not those of the lock. The lock has no
        digest of what was built from its source.
        """
        if self._sums() != (self._wheels / SUMS).read_text():
            raise Failed("the stored wheels have not the sums that are stored with them")
        wanted, wheels = hashes(lock), sorted(self._wheels.glob("*.whl"))
        names = [normalized(path.name.partition("-")[0]) for path in wheels]
        if sorted(names) != sorted(wanted):
            raise Failed(f"stored are wheels of other packages: {', '.join(sorted(wanted.keys() ^ set(names)))}")
        for name, path in zip(names, wheels, strict=True):
            if wanted[name] not in ("", digest(path)):
                raise Failed(f"the stored wheel of {name} has not the hash that the versions have")

    def _download(self, lock: str) -> None:
        self._empty()
        lines = [text for text in lock.splitlines() if not text.startswith("#")]
        options = [text for text in lines if text.startswith("-")]
        for kind in (True, False):
            wanted = [text for text in lines if text not in options and ("--hash" in text) is kind]
            if wanted:
                path = self._wheels / "wanted.txt"
                path.write_text("\n".join([*options, *wanted]) + "\n")
                self.pip("wheel", "--no-deps", "--wheel-dir", str(self._wheels), "-r", str(path))
                path.unlink()

    def keep(self, cache: Store) -> None:
        """Stores the wheels that were downloaded here, if any were. Raises Failed."""
        if not any(self._wheels.glob("*.whl")) or (self._wheels / SUMS).exists():
            return
        with tempfile.TemporaryDirectory() as folder:
            packed = Path(folder) / "wheels.tar"
            (self._wheels / SUMS).write_text(self._sums())
            with tarfile.open(packed, "w") as tar:
                for path in sorted(self._wheels.iterdir()):
                    tar.add(path, path.name)
            cache.put(packed, cache_name(self.baked()))

    def _sums(self) -> str:
        return "".join(f"{digest(path)}  {path.name}\n" for path in sorted(self._wheels.glob("*.whl")))

    def _empty(self) -> None:
        shutil.rmtree(self._wheels, ignore_errors=True)  # what is in it: the folder itself may be another's
        self._wheels.mkdir(parents=True, exist_ok=True)


def unpack(packed: Path, folder: Path) -> None:
    """Files alone, and none outside of the folder: early versions of Python 3.11 have no filters."""
    with tarfile.open(packed) as tar:
        for entry in tar:
            content = tar.extractfile(entry) if entry.isreg() and Path(entry.name).name == entry.name else None
            if content is not None:
                with (folder / entry.name).open("wb") as file:
                    shutil.copyfileobj(content, file)


def metadata(wheel: Path) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)]
        return archive.read(name)


def is_direct(item: dict[str, Any]) -> bool:
    return bool(item.get("is_direct"))


def pin(item: dict[str, Any]) -> str:
    return f"{item['metadata']['name']}=={item['metadata']['version']}"


def line(item: dict[str, Any]) -> str:
    """A line of the lock, of an entry of pip's report."""
    where = item["download_info"]
    archive = where.get("archive_info", {})
    sha256 = archive.get("hashes", {}).get("sha256") or archive.get("hash", "").removeprefix("sha256=")
    hashed = f" --hash=sha256:{sha256}" if sha256 else ""
    if not is_direct(item):
        return pin(item) + hashed
    version = where.get("vcs_info", {})
    url = f"{version['vcs']}+{where['url']}@{version['commit_id']}" if version else where["url"]
    return f"{item['metadata']['name']} @ {url}{hashed}"


def source(item: dict[str, Any]) -> str:
    """A remark for the lock: the digest of what pip builds a wheel of is not the wheel's."""
    is_wheel = urllib.parse.urlsplit(item["download_info"]["url"]).path.endswith(".whl")
    return "" if is_wheel else SOURCE


def hashes(lock: str) -> dict[str, str]:
    """The SHA-256 of each package's wheel; '' where the lock has none."""
    found = {}
    for text in lock.splitlines():
        match = re.match(r"([A-Za-z0-9._-]+)(?:==| @ )", text)
        if match and not text.startswith("-"):
            hashed = None if text.endswith(SOURCE) else re.search(r" --hash=sha256:([0-9a-f]{64})", text)
            found[normalized(match[1])] = hashed[1] if hashed else ""
    return found


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_name(lock: str) -> str:
    """Of the wheels in the cache. Runs that ask for the same share them."""
    return f"{hashlib.sha256(lock.encode()).hexdigest()[:16]}.tar"


def pins(lock: str) -> dict[str, str]:
    """Each package's version, or its place."""
    found = {}
    for text in lock.splitlines():
        match = re.match(r"([A-Za-z0-9._-]+)(?:==| @ )(\S+)", text)
        if match and not text.startswith("-"):
            found[normalized(match[1])] = match[2]
    return found


def changes(old: dict[str, str], new: dict[str, str]) -> Iterable[str]:
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name, "none"), new.get(name, "none")
        if before != after:
            yield f"{name} {before} -> {after}"


def choose(environment: Environment, store: Store | None, run: str, tell: str) -> str:
    """The stored lock, if it is for what the code asks for; else a new one, which is stored. Raises Failed."""
    head, name = LOCK + environment.asked_for() + "\n", f"{run}-versions.txt"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "versions.txt"
        before = path.read_text() if store and store.get(name, path) else ""
        if before.startswith(head):
            print("holdfast: the versions are those of the machine before", flush=True)
            return before
        baked = environment.baked()
        lock = baked if baked.startswith(head) else environment.resolve()
        differ = ", ".join(changes(pins(before), pins(lock))) if before else ""
        if differ:
            text = f"the versions are not those of the machine before: {differ}"
            print(f"holdfast: {text}", flush=True)
            if tell:
                subprocess.run([tell, text], check=False)
        if store:
            path.write_text(lock)
            store.put(path, name)
        return lock


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["install", "keep"])
    parser.add_argument("--requirement", default="", help="holdfast's wheel, as pip takes it")
    parser.add_argument("--store", metavar="URI", help="of the versions, s3://bucket/prefix/setup")
    parser.add_argument("--cache", metavar="URI", help="of the wheels, s3://bucket/wheels/prefix")
    parser.add_argument("--run", default="", metavar="NAME")
    parser.add_argument("--tell", default="", metavar="COMMAND", help="gets a change of versions as its argument")
    parser.add_argument("--home", type=Path, default=Path("/opt/holdfast"), help="the virtual environment")
    parser.add_argument("--code", type=Path, default=Path("/opt/holdfast/code"))
    parser.add_argument("--wheels", type=Path, default=Path("/var/cache/holdfast-wheels"))
    given = parser.parse_args()
    environment = Environment(given.home, given.code, given.wheels, given.requirement)
    store, cache = (Store(uri) if uri else None for uri in (given.store, given.cache))
    if given.action == "keep":
        if cache:
            environment.keep(cache)
        shutil.rmtree(given.wheels, ignore_errors=True)
        return
    environment.install(choose(environment, store, given.run, given.tell), cache)


if __name__ == "__main__":
    try:
        main()
    except Failed as error:
        sys.exit(f"holdfast: {error}")
