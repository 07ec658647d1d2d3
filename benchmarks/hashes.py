"""What does a checksum cost? SHA-256 beside what could take its place, on one core.

    python benchmarks/hashes.py [--quick] [--size MIB] [--rounds 9]

Memory of that size, larger than any cache, is summed in the pieces of 256 KiB that a checkpoint is written in, by each
in turn. A copy of that memory is the ceiling that the machine sets.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
import zlib
from collections.abc import Callable
from typing import Any

from measure import RIVALS, Spread, arguments, machine, table, turns

CHUNK = 256 << 10
MIB = 1 << 20
Sum = Callable[[memoryview], object]


def updating(new: Callable[[], Any]) -> Callable[[], Sum]:
    return lambda: new().update  # type: ignore[no-any-return]


def rolling(sum_up: Callable[[Any, int], int]) -> Callable[[], Sum]:
    def new() -> Sum:
        value = 0

        def take(piece: memoryview) -> None:
            nonlocal value
            value = sum_up(piece, value)

        return take

    return new


def candidates() -> dict[str, tuple[Callable[[], Sum], str]]:
    """Each with its package."""
    sys.path.append(str(RIVALS))
    import xxhash

    found: dict[str, tuple[Callable[[], Sum], str]] = {
        "SHA-256": (updating(hashlib.sha256), "hashlib (OpenSSL)"),
        "CRC-32": (rolling(zlib.crc32), "zlib"),
        "XXH3-128": (updating(xxhash.xxh3_128), "xxhash"),
        "copy": (lambda: bytes, "the ceiling"),
    }
    try:
        import blake3
        from awscrt import checksums
    except ImportError:
        raise SystemExit("blake3 or awscrt is missing: make bench installs them") from None
    found["BLAKE3"] = (updating(blake3.blake3), "blake3, one thread")
    found["CRC64-NVME"] = (rolling(lambda piece, value: checksums.crc64nvme(bytes(piece), value)), "awscrt, of a copy")
    return found


def main() -> None:
    given = arguments(__doc__, size=256, rounds=9)
    size, rounds = (32, 3) if given.quick else (given.size, given.rounds)
    memory = memoryview(os.urandom(size * MIB))
    all_of_them = candidates()
    rates: dict[str, list[float]] = {name: [] for name in all_of_them}
    for turn, name in turns(list(all_of_them), rounds + 1):
        take = all_of_them[name][0]()
        began = time.process_time()
        for at in range(0, len(memory), CHUNK):
            take(memory[at : at + CHUNK])
        if turn:  # the first one warms up
            rates[name].append(size * MIB / (time.process_time() - began) / 1e9)
    print(f"{machine()}. {size} MiB, {rounds} rounds.\n")
    slowest = Spread.of(rates["SHA-256"]).median
    rows = [(name, all_of_them[name][1], Spread.of(found)) for name, found in rates.items()]
    rows.sort(key=lambda row: row[2].median)
    table(
        ("checksum", "of", "GB per CPU second (middle half)", "relative to SHA-256"),
        [(name, of, rate.text(digits=2), f"{rate.median / slowest:.1f}") for name, of, rate in rows],
    )


if __name__ == "__main__":
    main()
