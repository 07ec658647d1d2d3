"""How the times grow: of a pair with the size of its state, and of listing, resuming and pruning with their number.

    python benchmarks/growth.py [--quick]

Files are in memory (/dev/shm) if it holds the largest state: a kernel lets nobody write to a disk faster than the disk
is once some GB wait for it. As much memory as is needed is touched just before it is read: a virtual machine gives what
is free for two seconds back to its host, and gets it again when it writes there, which takes longer than to fill it.
Beside it stands reading the file into new arrays, and nothing else.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from daemons import ENVIRONMENT
from measure import Spread, Verdict, arguments, conclude, machine, table
from small_s3 import Object, Server

from holdfast.core.checkpoint_name import CheckpointName
from holdfast.core.manifest import PARTS
from holdfast.core.policy import Retention
from holdfast.core.runs import RunId
from holdfast.spool import Spool
from holdfast.store import StoreSettings, open_store
from holdfast.store.catalog import read_contents
from holdfast.supervisor.restore.candidates import candidates
from holdfast.training.pair import pair_files
from holdfast.training.session import loop
from holdfast.training.session.base import Session

RUN = RunId(1, "bench")


def seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


# --- the size of a state -------------------------------------------------------------------------------------------


def write_and_read(megabytes: int, folder: Path) -> tuple[float, float, float]:
    session = Session(Spool(folder / RUN.name / str(megabytes)), 1, 1, None, durable=False)
    count = min(megabytes, 64)
    arrays = [np.full(megabytes * 250_000 // count, float(i), "float32") for i in range(count)]
    values = {pair_files.Place("array", i): (str(i), array) for i, array in enumerate(arrays)}
    del arrays
    position = pair_files.Position(0, 1, 1)
    facts: dict[str, object] = {}
    draft = loop.draft_of(position, "bench", {}, values, facts)
    wrote = seconds(lambda: pair_files.write(session, draft))
    values.clear()
    (name,) = session.spool.pairs()
    verified = seconds(lambda: session.spool.verify(session.spool.manifest(name)))
    np.ones(megabytes * 1_000_000, "uint8")
    read = seconds(lambda: pair_files.load_from(session.spool, name))
    plain = seconds(lambda: read_plainly(session.spool.file(name.file("h5")), megabytes * 1_000_000 // count))
    session.spool.remove(name)
    return wrote, verified + read, plain


def read_plainly(path: Path, piece: int) -> None:
    arrays = []
    with path.open("rb", buffering=0) as file:
        while file.readinto(array := np.empty(piece, "uint8")):
            arrays.append(array)


def sizes(given: list[int], folder: Path, rounds: int) -> Verdict:
    found: dict[int, list[tuple[float, float, float]]] = {size: [] for size in given}
    for _ in range(rounds):
        for size in given:
            found[size].append(write_and_read(size, folder))
    medians = {
        size: [Spread.of(times).median for times in zip(*all_times, strict=True)] for size, all_times in found.items()
    }
    rows = [
        (f"{size} MB", *(f"{one:.3f}" for one in times[:2]), *(f"{one / size * 1e3:.2f}" for one in times))
        for size, times in medians.items()
    ]
    table(("state", "write, s", "verify and read, s", "write, s a GB", "read, s a GB", "reading alone, s a GB"), rows)
    base, last = given[-2], given[-1]
    growth = max(medians[last][i] / last / (medians[base][i] / base) for i in (0, 1))
    return Verdict(f"time linear in bytes, {base} to {last} MB", "1.3 x for a byte", f"{growth:.2f} x", growth <= 1.3)


# --- the number of pairs -------------------------------------------------------------------------------------------


def names(count: int) -> list[CheckpointName]:
    return [CheckpointName(n // 10, n, f"{1 / n:.4f}", 1, n) for n in range(1, count + 1)]


def fill_directory(folder: Path, count: int) -> str:
    run = folder / f"store-{count}" / str(RUN)
    run.mkdir(parents=True)
    for name in names(count):
        for part in ("json", *PARTS):
            run.joinpath(name.file(part)).write_bytes(b"{}")
    return str(run.parent)


def fill_s3(server: Server, count: int) -> str:
    for name in names(count):
        for part in ("json", *PARTS):
            server.objects.all[f"bench/store-{count}/{RUN}/{name.file(part)}"] = Object(b"{}", 2, '"1"')
    return f"s3://bench/store-{count}"


def operations(uri: str, endpoint: str, folder: Path, rounds: int) -> dict[str, float]:
    """Median seconds. Each one begins with a listing of its own, as the commands do."""
    store = open_store(uri, StoreSettings(endpoint_url=endpoint))
    spool, keep = Spool(folder / "spool" / str(RUN)), Retention(3, every=50)
    calls: dict[str, Callable[[], object]] = {
        "listing alone": lambda: store.list(f"{RUN}/"),
        "ls": lambda: read_contents(store, RUN),
        "resume": lambda: candidates(store, spool).newest_first,
        "prune": lambda: keep.expendable([listed.name for listed in read_contents(store, RUN).pairs], ()),
    }
    return {what: Spread.of([seconds(call) for _ in range(rounds)]).median for what, call in calls.items()}


def numbers(given: list[int], folder: Path, rounds: int) -> list[Verdict]:
    verdicts, rows = [], []
    os.environ |= ENVIRONMENT
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for kind in ("directory", "S3"):
            for count in given:
                uri = fill_directory(folder, count) if kind == "directory" else fill_s3(server, count)
                times = operations(uri, server.endpoint, folder, rounds)
                rows.append((f"{kind}, {count} pairs", *(f"{value * 1e3:.1f}" for value in times.values())))
            alone = times["listing alone"]
            worst = max(times.values()) / alone
            what = f"ls, resume and prune among {given[-1]} pairs, {kind}"
            verdicts.append(Verdict(what, "1.5 x the listing", f"{worst:.2f} x", worst <= 1.5))
    table(("run", "listing alone, ms", "ls, ms", "resume, ms", "prune, ms"), rows)
    return verdicts


def in_memory(size: int) -> str | None:
    """A folder in memory with room for so many bytes, if there is one."""
    shared = "/dev/shm"  # noqa: S108
    return shared if os.path.isdir(shared) and shutil.disk_usage(shared).free > size else None


def main() -> None:
    given = arguments(__doc__)
    print(f"{machine()}.\n")
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as name:
        folder = Path(name)
        states = [1, 10, 100] if given.quick else [1, 10, 100, 1000, 4000]
        with tempfile.TemporaryDirectory(prefix="holdfast-bench-", dir=in_memory(states[-1] * 1_100_000)) as held:
            linear = sizes(states, Path(held), 3 if given.quick else 5)
        conclude(linear, *numbers([1, 100, 1000] if given.quick else [1, 100, 1000, 10_000], folder, 5))


if __name__ == "__main__":
    main()
