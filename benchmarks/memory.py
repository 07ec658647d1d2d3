"""The memory that checkpoints take while they are under way, at their peak.

    python benchmarks/memory.py [--quick]

A training of its own process, with each callback in turn, runs some epochs without it and then some with it, which save
at each end. Counted every few milliseconds are the process' anonymous memory and, together with it, those pages of its
checkpoint files that are not written back yet: the kernel cannot give these to anyone else. (Pages that are on disk too
cost nothing; a file in memory counts whole.) Added is what the second peak has beyond the first: two processes that do
the same differ by most of the state, as their allocators are lucky or not.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from measure import Spread, Verdict, arguments, conclude, machine, table, turns

_CACHESTAT = 451  # a system call since Linux 6.5, with one number on all machines
_PAGE = os.sysconf("SC_PAGE_SIZE")
KINDS = ("none", "holdfast", "ModelCheckpoint", "BackupAndRestore", "OrbaxCheckpoint")


@dataclass
class Peak:
    """Bytes: of the process alone, and with the unwritten pages of its files."""

    process: int = 0
    together: int = 0


def unwritten(path: Path) -> int:
    """Bytes of the file that only memory has. All of them where the kernel cannot tell."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return 0
    try:
        counts = (ctypes.c_uint64 * 5)()  # in cache, dirty, under way to the disk, evicted, recently evicted
        whole = (ctypes.c_uint64 * 2)(0, 0)
        if ctypes.CDLL(None).syscall(_CACHESTAT, descriptor, whole, counts, 0):
            return os.fstat(descriptor).st_size
        return int(counts[1] + counts[2]) * _PAGE
    except OSError:  # a socket, say
        return 0
    finally:
        os.close(descriptor)


def anonymous(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) << 10
    return 0


def watch(process: subprocess.Popen[str], folder: Path, over: threading.Event) -> Peak:
    peak = Peak()
    while not over.wait(0.003):
        held = anonymous(process.pid)
        files = sum(unwritten(Path(top) / name) for top, _, names in os.walk(folder) for name in names)
        peak.process = max(peak.process, held)
        peak.together = max(peak.together, held + files)
    return peak


def train(kind: str, megabytes: int) -> tuple[Peak, int]:
    """What the checkpoints added to the peaks, and the state's size."""
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as folder:
        process = subprocess.Popen(
            [sys.executable, __file__, "--child", kind, str(megabytes), folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdin is not None
        size = int(process.stdout.readline())
        without, with_checkpoints = (part(process, Path(folder)) for _ in range(2))
        process.stdin.close()
        process.wait()
        process.stdout.close()
        added = with_checkpoints.process - without.process, with_checkpoints.together - without.together
        return Peak(*added), size


def part(process: subprocess.Popen[str], folder: Path) -> Peak:
    """Lets the child go on to where it says that it is done."""
    over = threading.Event()
    waiter = threading.Thread(target=lambda: (process.stdout.readline(), over.set()))
    waiter.start()
    process.stdin.write("go\n")
    process.stdin.flush()
    peak = watch(process, folder, over)
    waiter.join()
    return peak


def child(kind: str, megabytes: int, folder: str) -> None:
    from keras_rig import Rig, checkpointing, with_rivals

    with_rivals()
    rig = Rig(megabytes, 32, 30 if megabytes < 1000 else 10)
    rig.fit([], 2)
    print(rig.size, flush=True)
    for one in ("none", kind):
        sys.stdin.readline()
        with checkpointing(one, Path(folder)) as (callbacks, _):
            rig.fit(callbacks, 4)
            print("done", flush=True)


def main() -> None:
    given = arguments(__doc__)
    print(f"{machine()}.\n")
    for megabytes, rounds in {100: 1}.items() if given.quick else {100: 5, 1000: 1}.items():
        peaks: dict[str, list[Peak]] = {kind: [] for kind in KINDS}
        size = 0
        for _, kind in turns(KINDS, rounds):
            peak, size = train(kind, megabytes)
            peaks[kind].append(peak)
        report(size, peaks)


def report(size: int, peaks: dict[str, list[Peak]]) -> None:
    def added(kind: str, what: str) -> Spread:
        return Spread.of([getattr(peak, what) / size for peak in peaks[kind]])

    print(f"A state of {size / 1e6:.0f} MB. Peak memory added, as a multiple of it:\n")
    rows = [(kind, *(added(kind, what).text(digits=2) for what in ("process", "together"))) for kind in KINDS]
    table(("callback", "the process alone", "with files that are not written back"), rows)
    ours = added("holdfast", "together").median
    conclude(Verdict(f"peak memory added, {size / 1e6:.0f} MB", "1.3 x the state", f"{ours:.2f} x", ours <= 1.3))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], int(sys.argv[3]), sys.argv[4])
    else:
        main()
