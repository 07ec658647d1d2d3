"""From the start of the process to the first new batch: on a new machine, against the same script's cold start.

    python benchmarks/start.py [--quick]

The run has a stored pair of 100 MB. Each start has an empty disk; it trains one new batch, is asked to stop, and gives
its lease back. After a SIGKILL nobody gives it back, so the next machine waits until it has expired.

S3 is a server that sends what it keeps by the kernel (small_s3.py). Beside it stands moto, which is one in Python, and
takes the cores that it shares with the start: what a server took is told, and a real one takes it elsewhere. Two more
rows have a network between: each answer takes 25 or 50 ms.
"""

from __future__ import annotations

import compileall
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import boto3
import psutil
from daemons import ENVIRONMENT, serving, start, until
from measure import Spread, Verdict, arguments, conclude, machine, table, turns

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import holdfast
from fakes.moto import moto_server

TRAINING = str(Path(__file__).with_name("training.py"))
EXPIRY = 10.0
MOTO = "S3 (moto)"
LIMITS = {"directory": 1.15, "S3": 1.15, "S3, 25 ms away": 1.15, "S3, 50 ms away": 1.25}
"""Times the cold start."""
SETTINGS = {"MEGABYTES": "100", "STEPS": "4", "EPOCHS": "1000000"}


class Machines:
    """Each start is on a new machine, with an empty disk. Times are seconds from the start of the process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self.served = 0.0  # what the servers had taken when the last first batch was done

    def cold(self) -> float:
        stamp, began = self._next() / "stamp", time.time()
        environment = {**os.environ, **ENVIRONMENT, **SETTINGS, "PLAIN": "1", "STAMP": str(stamp)}
        process = subprocess.Popen([sys.executable, TRAINING], env=environment, stderr=subprocess.DEVNULL)
        found = self._first_batch(stamp, began, process, stamp.parent)
        process.kill()
        process.wait()
        return found

    def new(self, store: str, options: Sequence[str] = (), kill: bool = False) -> tuple[float, float]:
        """Seconds to the first new batch; and the time at which the daemon was killed, if that was asked for."""
        work_dir = self._next()
        stamp, began = work_dir.with_suffix(".stamp"), time.time()
        process = start(store, work_dir, [sys.executable, TRAINING], options, STAMP=str(stamp), **SETTINGS)
        found = self._first_batch(stamp, began, process, work_dir)
        process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        killed = time.time()
        process.wait()
        return found, killed

    def lease_taken(self) -> float:
        """When the newest machine took the lease."""
        (file,) = (self._folder / f"machine-{self._count}").glob("*/events.jsonl")
        lines = map(json.loads, file.read_text().splitlines())
        return datetime.fromisoformat(next(line["at"] for line in lines if line["event"] == "lease")).timestamp()

    def _next(self) -> Path:
        self._count += 1
        path = self._folder / f"machine-{self._count}"
        path.mkdir(parents=True)
        return path

    def _first_batch(self, stamp: Path, began: float, process: subprocess.Popen[bytes], work_dir: Path) -> float:
        until(lambda: stamp.exists() and stamp.read_text() != "", "first batch", process, work_dir)
        self.served = served()
        return float(stamp.read_text()) - began


def sdk_alone() -> float:
    """Seconds that the SDK takes before anything can be asked of S3, in a process that does nothing else."""
    program = "import boto3; boto3.client('s3', endpoint_url='http://127.0.0.1:1')"

    def took(code: str) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], env={**os.environ, **ENVIRONMENT}, check=True)
        return time.perf_counter() - began

    return Spread.of([took(program) - took("pass") for _ in range(7)]).median


def served() -> float:
    """CPU seconds of the servers so far."""
    programs = ("small_s3.py", "moto.server")
    children = [one for one in psutil.Process().children() if any(w.endswith(programs) for w in one.cmdline())]
    return sum(sum(one.cpu_times()[:2]) for one in children)


def main() -> None:
    given = arguments(__doc__)
    print(f"{machine()}.\n")
    compileall.compile_dir(Path(holdfast.__file__).parent, quiet=1)  # as pip does for what it installs
    with (
        tempfile.TemporaryDirectory(prefix="holdfast-bench-") as name,
        serving("small_s3.py", "--keep") as small,
        serving("small_s3.py", "--keep", "--round-trip", "25") as near,
        serving("small_s3.py", "--keep", "--round-trip", "50") as far,
        moto_server() as moto,
    ):
        folder = Path(name)
        os.environ |= ENVIRONMENT
        boto3.client("s3", endpoint_url=moto).create_bucket(Bucket="bench")
        stores = {
            "directory": (str(folder / "store"), ()),
            "S3": ("s3://bench/runs", ("--endpoint-url", small)),
            "S3, 25 ms away": ("s3://bench/runs", ("--endpoint-url", near)),
            "S3, 50 ms away": ("s3://bench/runs", ("--endpoint-url", far)),
            MOTO: ("s3://bench/runs", ("--endpoint-url", moto)),
        }
        machines = Machines(folder)
        for store, options in stores.values():
            machines.new(store, options)
        found: dict[str, list[float]] = {"cold": [], **{kind: [] for kind in stores}}
        took: dict[str, list[float]] = {kind: [] for kind in found}
        for _, kind in turns(tuple(found), 2 if given.quick else 7):
            before = served()
            found[kind].append(machines.cold() if kind == "cold" else machines.new(*stores[kind])[0])
            took[kind].append(machines.served - before)
        report(found, took)
        after_kill(machines, stores["directory"][0], 1 if given.quick else 3, Spread.of(found["cold"]).median)


def report(found: dict[str, list[float]], took: dict[str, list[float]]) -> None:
    rows = [
        (kind, Spread.of(times).text(digits=2), f"{Spread.of(took[kind]).median:.2f}", str(len(times)))
        for kind, times in found.items()
    ]
    table(("start", "seconds to the first new batch", "CPU s of the server", "starts"), rows)
    cold, sdk = Spread.of(found["cold"]).median, sdk_alone()
    for kind, most in LIMITS.items():
        ratio = Spread.of(found[kind]).median / cold
        text = f"{ratio:.2f} x the cold start"
        limit = f"the SDK alone takes {sdk:.2f} s, {sdk / cold:.0%} of it" if kind.startswith("S3") else ""
        what = f"start on a new machine, 100 MB, {kind}"
        conclude(Verdict(what, f"{most} x the cold start", text, ratio <= most, limit))


def after_kill(machines: Machines, store: str, rounds: int, cold: float) -> None:
    """A machine is killed, and another waits for its lease; the command's interpreter stands by there, or does not."""
    lease = ("--lease-expiry", str(EXPIRY), "--lease-heartbeat", str(EXPIRY / 5))
    since_kill: list[float] = []
    since_lease: dict[str, list[float]] = {"waiting": [], "off": []}
    for _ in range(rounds):
        for how, times in since_lease.items():
            _, killed = machines.new(store, lease, kill=True)
            began = time.time()
            first_batch = began + machines.new(store, (*lease, "--stand-by", how))[0]
            times.append(first_batch - machines.lease_taken())
            if how == "waiting":
                since_kill.append(first_batch - killed)
    rows = [
        (f"--stand-by {how}", Spread.of(times).text(digits=2), str(len(times))) for how, times in since_lease.items()
    ]
    table(("after a SIGKILL elsewhere", "seconds from the lease to the first new batch", "starts"), rows)
    took, ratio = Spread.of(since_kill).median, Spread.of(since_lease["waiting"]).median / cold
    text = f"{took:.1f} s with an expiry of {EXPIRY:.0f} s"
    conclude(Verdict("from a SIGKILL to the first new batch elsewhere", "expiry + 10 s", text, took <= EXPIRY + 10))
    what = "a machine that waited: from the lease to the first new batch"
    conclude(Verdict(what, "0.35 x the cold start", f"{ratio:.2f} x the cold start", ratio <= 0.35))


if __name__ == "__main__":
    main()
