"""What does a checkpoint cost of which little has changed? 400 MB into an S3 store, whose last 5 % are trained.

    python benchmarks/frozen.py [--quick] [--size MB] [--rounds 7] [--rival FOLDER]

Three processes write checkpoints in turn, and store each in an S3 server on loopback (small_s3.py, which keeps nothing
large, and answers a copy's CRC-32 as S3 does): one has 5 % of the arrays changed, one has all of them changed, and to
the rival that makes no difference. The rival is this build with manifests of format 1, of files without parts, as they
were before; or the daemon folder of another checkout. Time and CPU time are from snapshot to stored manifest, of
writing and storing together, in one process here. Nothing waits for the disk, as in a drain.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from measure import Spread, Verdict, arguments, conclude, machine, table, turns

MB = 1_000_000
ARRAYS = 100
TRAINED = 5
RUN = "00001-frozen"
KINDS = {"5 % trained": TRAINED, "all trained": ARRAYS, "rival": TRAINED}
FEW, ALL, RIVAL = KINDS
BYTES, CPU, TIME = 0.1, 0.2, 0.2


def work(endpoint: str, folder: str, size: int, trained: int, plain: bool) -> None:
    """A checkpoint for each line of standard input: prints its seconds, CPU seconds and bytes sent."""
    from holdfast.spool import Spool
    from holdfast.store import StoreSettings, open_store
    from holdfast.supervisor.upload import store_pair as storing
    from holdfast.training.pair import pair_files
    from holdfast.training.pair.pair_files import Place, Position
    from holdfast.training.session.base import Session
    from holdfast.training.session.loop import draft_of

    if plain and importlib.util.find_spec("holdfast.training.pair.h5_writer"):  # builds before it have no parts
        from holdfast.training.pair import h5_writer

        h5_writer.part_size_of = lambda size: None
    store = open_store(f"s3://bench/{Path(folder).name}", StoreSettings(endpoint_url=endpoint))
    session = Session(Spool(Path(folder) / RUN), 1, 1, None, store.durable_spool)
    state = np.random.default_rng(0).random((ARRAYS, size // ARRAYS // 4), np.float32)
    last = None
    for step, _ in enumerate(sys.stdin, 1):
        state[-trained:] += 1
        arrays = {Place("array", number): (str(number), array.copy()) for number, array in enumerate(state)}
        draft = draft_of(Position(0, step, step), "interval", {}, arrays, {})
        sent, copied = list[int](), list[int]()
        more: dict[str, Any] = {}
        if "earlier" in inspect.signature(storing.store_pair).parameters and last is not None:
            more = {"earlier": storing.EarlierPair(last, copied.append, lambda why: print(why, file=sys.stderr))}
        began, cpu = time.perf_counter(), time.process_time()
        name = pair_files.write(session, draft).name
        manifest = storing.store_pair(store, session.spool, name, sent.append, True, **more)
        took = {"time": time.perf_counter() - began, "CPU": time.process_time() - cpu}
        if last is not None:
            getattr(session.spool, "retire", session.spool.remove)(last.name)  # builds before it keep nothing
        last = manifest
        print(json.dumps({**took, "bytes": sum(sent) - sum(copied)}), flush=True)


class Worker:
    def __init__(self, endpoint: str, folder: Path, size: int, trained: int, rival: str | None) -> None:
        from transfer import CREDENTIALS  # not where a rival's code is worked with: it imports this build's

        words = [sys.executable, __file__, "--work", endpoint, str(folder), str(size), str(trained)]
        environment = {**os.environ, **CREDENTIALS}
        if rival is not None:
            words.append("plain")
            if rival:
                environment["PYTHONPATH"] = rival
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=Path(__file__).parent
        )

    def checkpoint(self) -> dict[str, float]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(file=self._process.stdin, flush=True)
        return dict(json.loads(self._process.stdout.readline()))

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def main() -> None:
    given = arguments(__doc__, size=400, rounds=7, rival="")
    size, rounds = (100, 2) if given.quick else (given.size, given.rounds)
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("small_s3.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    endpoint = server.stdout.readline().strip()
    folder = Path(tempfile.mkdtemp())
    workers = {
        kind: Worker(endpoint, folder / str(number), size * MB, trained, given.rival if kind == RIVAL else None)
        for number, (kind, trained) in enumerate(KINDS.items())
    }
    try:
        found: dict[str, dict[str, list[float]]] = {kind: {"time": [], "CPU": [], "bytes": []} for kind in KINDS}
        for turn, kind in turns(list(KINDS), rounds + 2):
            for what, value in workers[kind].checkpoint().items():
                if turn >= 2:  # the first has nothing before it, and the second is the first that has
                    found[kind][what].append(value)
    finally:
        for worker in workers.values():
            worker.end()
        server.stdin.close()
        server.wait()
        shutil.rmtree(folder)
    report(found, size, rounds)


def report(found: dict[str, dict[str, list[float]]], size: int, rounds: int) -> None:
    print(f"{machine()}. {size} MB, {rounds} rounds.\n")
    of = {kind: {what: Spread.of(values) for what, values in all_.items()} for kind, all_ in found.items()}
    table(
        ("a checkpoint", "MB sent", "CPU s (middle half)", "s to the stored manifest (middle half)"),
        [
            (kind, f"{one['bytes'].median / MB:.0f}", one["CPU"].text(digits=2), one["time"].text(digits=2))
            for kind, one in of.items()
        ],
    )

    def ratio(kind: str, what: str) -> float:
        pairs = zip(found[kind][what], found[RIVAL][what], strict=True)
        return statistics.median(one / other for one, other in pairs)

    few = {what: ratio(FEW, what) for what in ("bytes", "CPU", "time")}
    many = {what: ratio(ALL, what) for what in ("bytes", "CPU", "time")}
    conclude(
        *(
            Verdict(f"{what}, 5 % trained", f"{most} of all sent", f"{few[what]:.2f}", few[what] <= most)
            for what, most in (("bytes", BYTES), ("CPU", CPU), ("time", TIME))
        ),
        *(
            Verdict(f"{what}, all trained", "1.0 of what it was", f"{many[what]:.2f}", many[what] <= 1.005)
            for what in ("bytes", "CPU", "time")
        ),
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        where, room, count, parts, *kind = sys.argv[2:]
        work(where, room, int(count), int(parts), bool(kind))
    else:
        main()
