"""A directory store on a file system that shares blocks: XFS, in a file."""

from __future__ import annotations

import os
import subprocess
import zlib
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from holdfast.core.manifest import FileParts
from holdfast.spool import PART, record_in_parts
from holdfast.store import KnownParts
from holdfast.store.directory import DirectoryStore
from store.conformance import Make, StoreConformance

pytestmark = pytest.mark.real

_SIZE = 1 << 30


@pytest.fixture(scope="module")
def xfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("xfs")
    image, place = folder / "image", folder / "mounted"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(_SIZE)
    subprocess.run(["/sbin/mkfs.xfs", "-q", "-m", "reflink=1", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=True)
    yield place
    subprocess.run(["umount", str(place)], check=True)


class TestDirectoryStoreOnXfs(StoreConformance):
    numbers = count()

    @pytest.fixture
    def make(self, xfs: Path) -> Make:
        number = next(self.numbers)
        return lambda prefix: DirectoryStore(xfs / str(number) / prefix)


def test_what_has_not_changed_takes_no_room_and_is_not_written_again(xfs: Path, tmp_path: Path) -> None:
    store, copied, file = DirectoryStore(xfs / "frozen"), list[int](), tmp_path / "file"
    content = bytearray(os.urandom(12 * PART + 5))
    for number in range(1, 6):
        content[0] ^= 1
        file.write_bytes(content)
        parts = record_in_parts(file).parts
        assert isinstance(parts, FileParts)
        same = frozenset(range(1, 13)) if number > 1 else frozenset[int]()
        known = KnownParts(f"{number}.h5", parts, f"{number - 1}.h5" if same else "", same, copied.append)
        before = os.statvfs(xfs).f_bfree
        store.put(known.key, file, zlib.crc32(content), known=known)
        written = (before - os.statvfs(xfs).f_bfree) * os.statvfs(xfs).f_bsize
        assert (xfs / "frozen" / known.key).read_bytes() == content
        if number > 1:
            assert written < 2 * PART
    assert sum(copied) == 4 * (11 * PART + 5)


@pytest.mark.parametrize("damage", ["one byte", "short", "another"])
def test_what_is_not_as_it_was_recorded_is_not_shared(xfs: Path, tmp_path: Path, damage: str) -> None:
    store, copied, file = DirectoryStore(xfs / damage), list[int](), tmp_path / "file"
    content = os.urandom(4 * PART + 5)
    file.write_bytes(content)
    parts = record_in_parts(file).parts
    assert isinstance(parts, FileParts)
    store.put("1.h5", file, zlib.crc32(content))
    with (xfs / damage / "1.h5").open("r+b") as earlier:
        if damage == "short":
            earlier.truncate(2 * PART)
        earlier.seek(0 if damage == "another" else PART)
        earlier.write(os.urandom(4 * PART + 5) if damage == "another" else bytes([content[PART] ^ 1]))
    store.put(
        "2.h5", file, zlib.crc32(content), known=KnownParts("2.h5", parts, "1.h5", frozenset(range(5)), copied.append)
    )
    assert (xfs / damage / "2.h5").read_bytes() == content
    assert sum(copied) == (0 if damage == "another" else PART)
