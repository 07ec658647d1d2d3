"""Several machines that train one model together, on loopback: how fast they stop, resume and notice a loss.

    python benchmarks/gang.py [--quick]

The stop and the loss are measured with a loop without a framework (tests/scripts/ranks.py), so that holdfast's part is
nearly all of the figure. The start is that of Keras on JAX, where tests/real/install has put JAX.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from daemons import ENVIRONMENT, RUN, console, events, start, until
from measure import Spread, Verdict, arguments, conclude, machine, table, turns

from holdfast.core.errors import Exit
from holdfast.spool import Board
from holdfast.spool.gang_board import GangBoard
from holdfast.supervisor.gang.rendezvous import Reach, environment, free_port
from holdfast.training.gang.gate import Gate

HERE = Path(__file__).parent
LOOP = [sys.executable, str(HERE.parent / "tests" / "scripts" / "ranks.py")]
TRAINING = [sys.executable, str(HERE / "gang_training.py")]
JAX = Path(sys.prefix) / "jax"
BATCH, STEP = 0.1, 0.02
STOP_LIMIT, START_LIMIT, GATE_LIMIT, SHARE_LIMIT, LOSS_LIMIT = 2.0, 1.2, 100e-6, 0.01, 15.0
ENDLESS = {"STEPS": "1000000", "EVERY": "1000000", "PACE": str(BATCH)}


class Gang:
    """``ranks`` new machines with empty disks, and a store below ``folder``."""

    def __init__(self, folder: Path, ranks: int, command: list[str], **settings: str) -> None:
        self.began = time.time()
        number = len(list(folder.glob("machines-*")))
        self.work_dirs = [folder / f"machines-{number}" / f"rank-{rank}" for rank in range(ranks)]
        options = ("--ranks", str(ranks), "--rendezvous", "store", "--drain-time", "60")
        self.processes = [
            start(str(folder / "store"), work_dir, command, ("--rank", str(rank), *options), **settings)
            for rank, work_dir in enumerate(self.work_dirs)
        ]

    def until(self, condition: Callable[[], bool], what: str) -> None:
        until(condition, what, self.processes[0], self.work_dirs[0])

    def until_trains(self) -> None:
        board = self.work_dirs[0] / f"00001-{RUN}" / Board.FILE
        self.until(lambda: Board.read(board).executed >= 3, "third batch")

    def stop(self, rank: int) -> float:
        """Seconds from SIGTERM at that rank until all have left, as they should."""
        began = time.perf_counter()
        self.processes[rank].send_signal(signal.SIGTERM)
        codes = [process.wait() for process in self.processes]
        if set(codes) != {Exit.STOPPED}:
            raise SystemExit(f"exit codes {codes}; the console of rank 0:\n{console(self.work_dirs[0])}")
        return time.perf_counter() - began

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@contextmanager
def gang(folder: Path, ranks: int, command: list[str], **settings: str) -> Iterator[Gang]:
    folder.mkdir(parents=True, exist_ok=True)
    found = Gang(folder, ranks, command, **settings)
    try:
        yield found
    finally:
        found.close()


def stopped(folder: Path, ranks: int, asked: int) -> tuple[float, float]:
    """Seconds from a SIGTERM at the rank ``asked`` until all have left, and those that the pair's write took."""
    with gang(folder, ranks, LOOP, **ENDLESS) as machines:
        machines.until_trains()
        took = machines.stop(asked)
        written = [event["seconds"] for event in events(machines.work_dirs[0]) if event["event"] == "saved"]
        return took, written[-1]


def stops(folder: Path, rounds: int) -> None:
    cases = {f"{ranks} ranks, SIGTERM at rank {asked}": (ranks, asked) for ranks in (2, 3) for asked in (0, ranks - 1)}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
    for turn, name in turns(tuple(cases), rounds):
        found[name].append(stopped(folder / f"{name}, turn {turn}", *cases[name]))
    rows, verdicts = [], []
    for name, pairs in found.items():
        more = Spread.of([took - BATCH - write for took, write in pairs])
        took, write = (Spread.of(list(values)) for values in zip(*pairs, strict=True))
        rows.append((name, took.text(digits=2), write.text(digits=3), more.text(digits=2), str(more.count)))
        what = f"{name}: until all have left, beyond one batch and the pair's write"
        verdicts.append(Verdict(what, f"{STOP_LIMIT:g} s", f"{more.median:.2f} s", more.median <= STOP_LIMIT))
    print(f"A batch takes {BATCH:g} s.\n")
    table(("stop", "until all have left, s", "the pair's write, s", "beyond batch and write, s", "rounds"), rows)
    conclude(*verdicts)


def cold(folder: Path, ranks: int) -> float:
    """Seconds to the first batch of the same processes without holdfast."""
    stamp, began = folder / f"cold-{time.monotonic_ns()}", time.time()
    places = [Reach("127.0.0.1", free_port()) for _ in range(ranks)]
    settings = {**os.environ, **ENVIRONMENT, **with_jax(), "PLAIN": "1", "STAMP": str(stamp)}
    quiet = subprocess.DEVNULL
    processes = [
        subprocess.Popen(TRAINING, env={**settings, **environment(rank, places)}, stdout=quiet, stderr=quiet)
        for rank in range(ranks)
    ]
    try:
        return first_batch(stamp, lambda what, reached: until(reached, what, processes[0], folder)) - began
    finally:
        for process in processes:
            process.kill()
            process.wait()


def again(folder: Path, ranks: int) -> tuple[float, float]:
    """Seconds from the start of the supervisors, on new machines, to rank 0's first new batch, and to the start of its
    command. Then all are stopped.
    """
    stamp = folder / f"stamp-{time.monotonic_ns()}"
    with gang(folder, ranks, TRAINING, **with_jax(), STAMP=str(stamp)) as machines:
        took = first_batch(stamp, lambda what, reached: machines.until(reached, what)) - machines.began
        at = next(event["at"] for event in events(machines.work_dirs[0]) if event["event"] == "started")
        machines.stop(0)
        return took, datetime.fromisoformat(at).timestamp() - machines.began


def first_batch(stamp: Path, wait: Callable[[str, Callable[[], bool]], None]) -> float:
    wait("first batch", lambda: stamp.exists() and stamp.read_text() != "")
    return float(stamp.read_text())


def with_jax() -> dict[str, str]:
    return {"KERAS_BACKEND": "jax", "PYTHONPATH": str(JAX)}


def starts(folder: Path, rounds: int, ranks: int = 2) -> None:
    folder.mkdir()
    again(folder, ranks)  # the run begins, and has a pair
    colds, resumed, waited = [], [], []
    for _, kind in turns(("cold", "again"), rounds + 1):
        if kind == "cold":
            colds.append(cold(folder, ranks))
        else:
            took, began = again(folder, ranks)
            resumed.append(took)
            waited.append(began)
    named = {
        "the script alone, from the beginning": colds,
        "under holdfast, on new machines, resumed": resumed,
        "of these, until its command is started": waited,
    }
    spreads = {what: Spread.of(times[1:]) for what, times in named.items()}  # the first ones are for the caches
    rows = [(what, one.text(digits=2), str(one.count)) for what, one in spreads.items()]
    table((f"{ranks} ranks, Keras on JAX", "to the first new batch, s", "rounds"), rows)
    ratio = Spread.of([late / early for early, late in zip(colds[1:], resumed[1:], strict=True)]).median
    what = f"next start of {ranks} ranks to its first new batch"
    conclude(Verdict(what, f"{START_LIMIT:g} x the cold start", f"{ratio:.2f} x", ratio <= START_LIMIT))


def gate(folder: Path, rounds: int) -> None:
    """A boundary between two batches, where nothing is asked."""
    passes = Gate(GangBoard(folder / GangBoard.FILE))
    costs = []
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in range(10_000):
            passes.arrive()
        costs.append((time.perf_counter() - began) / 10_000)
    cost = Spread.of(costs)
    share = cost.median / STEP
    table(("a batch when nothing is asked", "µs", "rounds"), [("the gate", cost.text(1e6, 2), str(cost.count))])
    measured = f"{cost.median * 1e6:.1f} µs, {share:.3%}"
    reached = cost.median < GATE_LIMIT and share < SHARE_LIMIT
    conclude(Verdict("the gate, a batch", f"{GATE_LIMIT * 1e6:.0f} µs, 1 % of a step of 20 ms", measured, reached))


def silent(folder: Path, silenced: int, says: str) -> float:
    """Seconds from a SIGSTOP of one supervisor until the other one says that it is lost."""
    with gang(folder, 2, LOOP, **ENDLESS) as machines:
        machines.until_trains()
        other = 1 - silenced
        began = time.perf_counter()
        machines.processes[silenced].send_signal(signal.SIGSTOP)
        work_dir = machines.work_dirs[other]
        until(lambda: says in console(work_dir), "loss", machines.processes[other], work_dir)
        return time.perf_counter() - began


def losses(folder: Path, rounds: int) -> None:
    cases = {
        "rank 1, as rank 0 sees it": (1, "rank 1: its machine is lost"),
        "rank 0, as rank 1 sees it": (0, "rank 0 is lost"),
    }
    found: dict[str, list[float]] = {name: [] for name in cases}
    for turn, name in turns(tuple(cases), rounds):
        found[name].append(silent(folder / f"{name}, turn {turn}", *cases[name]))
    spreads = {name: Spread.of(times) for name, times in found.items()}
    rows = [(name, one.text(digits=1), str(one.count)) for name, one in spreads.items()]
    table(("a supervisor that falls silent", "until it is said to be lost, s", "rounds"), rows)
    for name, one in spreads.items():
        conclude(Verdict(f"silent: {name}", f"{LOSS_LIMIT:g} s", f"{one.median:.1f} s", one.median <= LOSS_LIMIT))


def main() -> None:
    given = arguments(__doc__)
    print(f"{machine()}; load {os.getloadavg()[0]:.1f}.\n")
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as name:
        folder = Path(name)
        gate(folder, 5 if given.quick else 50)
        stops(folder, 1 if given.quick else 5)
        losses(folder, 1 if given.quick else 3)
        if JAX.is_dir():
            starts(folder / "starts", 1 if given.quick else 7)
        else:
            print(f"The start is left out: there is no JAX in {JAX} (see tests/real/install).\n")


if __name__ == "__main__":
    main()
