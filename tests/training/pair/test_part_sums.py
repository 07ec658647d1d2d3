"""Checksums of parts, of which those that have not changed are known."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from holdfast.spool import CHUNK, PART, Sums
from holdfast.training.pair.part_sums import KnownSums, PartSums, sums_of

SIZES = (2 * PART, 2 * PART + 1, 3 * PART - 5)


def known() -> KnownSums:
    return KnownSums(lambda: hashlib.blake2b(digest_size=16))


class Counted(KnownSums):
    """Counts the parts that it did not know."""

    unknown = 0

    def get(self, digest: bytes) -> tuple[str, int] | None:
        found = super().get(digest)
        self.unknown += found is None
        return found


class Written:
    """What became of a file: its bytes, or None for those that it keeps."""

    def __init__(self) -> None:
        self.pieces: list[bytes | int] = []

    def write(self, data: memoryview) -> None:
        self.pieces.append(bytes(data))

    def keep(self, count: int) -> None:
        self.pieces.append(count)


def sum_up(sums: Sums, data: bytes) -> Any:
    view = memoryview(data)
    for at in range(0, len(view), CHUNK):
        sums.update(view[at : at + CHUNK])
    return sums.record()


@pytest.mark.parametrize("size", SIZES)
def test_sums_are_the_same_whether_parts_are_known_or_not(size: int) -> None:
    data, memory = os.urandom(size), known()
    plain = sum_up(Sums(PART), data)
    for found in (sum_up(PartSums(PART, memory, Written()), data), sum_up(PartSums(PART, memory, Written()), data)):
        assert found == plain
        assert (found.crc32, found.parts.crc32) == (plain.crc32, plain.parts.crc32)
    assert sum_up(sums_of(PART, Written()), data) == plain


@pytest.mark.parametrize("at", [0, PART - 1, PART, 2 * PART])
def test_one_changed_byte_has_its_part_summed_again_and_no_other(at: int) -> None:
    data = bytearray(os.urandom(2 * PART + 1))
    memory = Counted(known().fast)
    sum_up(PartSums(PART, memory, Written()), bytes(data))
    assert memory.unknown == 3
    data[at] ^= 1
    assert sum_up(PartSums(PART, memory, Written()), bytes(data)) == sum_up(Sums(PART), bytes(data))
    assert memory.unknown == 4
    assert sum_up(PartSums(PART, memory, Written()), bytes(data)) == sum_up(Sums(PART), bytes(data))
    data[at] ^= 2
    assert sum_up(PartSums(PART, memory, Written()), bytes(data)) == sum_up(Sums(PART), bytes(data))
    data[at] ^= 2
    assert sum_up(PartSums(PART, memory, Written()), bytes(data)) == sum_up(Sums(PART), bytes(data))
    assert memory.unknown == 5, "what it was before is known, too"


def test_what_is_read_from_a_file_is_summed_as_what_is_given(tmp_path: Path) -> None:
    path, data = tmp_path / "file", os.urandom(2 * PART + 7)
    path.write_bytes(data)
    sums = PartSums(PART, known(), Written())
    with path.open("rb", buffering=0) as file:
        sums.read(file, 2 * CHUNK + 5)
        sums.read(file)
    assert sums.record() == sum_up(Sums(PART), data)


def test_a_small_file_is_summed_whole() -> None:
    assert sum_up(sums_of(None, Written()), b"small").sha256 == hashlib.sha256(b"small").hexdigest()
