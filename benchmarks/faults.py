"""Is a commit ever lost, and what do faults cost the training?

    python benchmarks/faults.py [commits] [--faults 500] [--quick]      # is a commit lost?
    python benchmarks/faults.py timing [--pairs 15]                     # what does the training feel of it?

``commits`` lets real ``holdfast run`` processes train and commit through a proxy (tests/fakes/proxy.py) that cuts,
resets, stalls, delays and corrupts their requests and answers errors of its own, kills them now and then, and starts
them again, on a fresh work dir every other time. Every fault hits a request of the commit protocol: data, parts of an
upload, manifests, the lease, the run's marks, the listing before a restore. Then a client that knows nothing of
holdfast rereads every pair that any event called stored. Exit code 1 if anything is lost.

``timing`` trains the same steps with such faults and without, in turn, and compares the training's own time.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import boto3
from faults_check import Findings, Reader, check, events, read_ledger

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from fakes.moto import CREDENTIALS, moto_server
from fakes.proxy import COMMIT_PROTOCOL, PLACES, Asked, FaultProxy

TRAINING = Path(__file__).with_name("faults_training.py")
PARTS = ("data", "multipart", "manifest", "lease", "run", "listing")
BUCKET = "faults"
LEASE = ("--lease-heartbeat", "0.5", "--lease-expiry", "2", "--poll-interval", "5", "--store-wait", "60")
BIG = 2_200_000  # numbers: more than 16 MiB, so that it is sent in parts


WEIGHTS = {"stall:before": 0.05, "stall:after": 0.05, "delay": 0.3}


class Chance:
    """A seeded plan: which requests of the commit protocol are hit, and by what. A fault that costs much is rare."""

    def __init__(self, seed: int, rate: float, parts: Iterable[str] = COMMIT_PROTOCOL) -> None:
        self._random = random.Random(seed)
        self._rate = rate
        self._parts = frozenset(parts)

    def __call__(self, asked: Asked) -> str | None:
        if asked.part not in self._parts or self._random.random() >= self._rate:
            return None
        possible = [place for place in PLACES if asked.can_have(place)]
        return self._random.choices(possible, [WEIGHTS.get(place, 1.0) for place in possible])[0]


@dataclass
class Run:
    """One training and all of its starts, each a real daemon."""

    name: str
    folder: Path
    daemon: Sequence[str]
    environment: dict[str, str]
    chance: random.Random
    lives: float = 25.0
    size: int = 100
    work_dirs: list[Path] = field(default_factory=list)
    kills: int = 0
    codes: Counter[int] = field(default_factory=Counter)

    @property
    def runs(self) -> list[str]:
        """The ids that the daemons chose; more than one would mean that a run was begun anew."""
        return sorted({path.name for folder in self.work_dirs for path in folder.glob(f"0*-{self.name}")})

    @property
    def ledger(self) -> Path:
        return self.folder / f"{self.name}.ledger"

    @property
    def finish(self) -> Path:
        return self.folder / f"{self.name}.finish"

    def train(self, until: float) -> None:
        """Starts daemons until one ends with 0; kills them at random times as long as FINISH is not there."""
        while time.monotonic() < until:
            if not self.work_dirs or self.chance.random() < 0.5:
                self.work_dirs.append(self.folder / f"{self.name}-{len(self.work_dirs)}")
            process = self._start(self.work_dirs[-1])
            lives = time.monotonic() + self.chance.uniform(3, self.lives)
            while process.poll() is None and time.monotonic() < until:
                time.sleep(0.05)
                if time.monotonic() > lives and not self.finish.exists():
                    self.kills += 1
                    break
            killed = process.poll() is None
            if killed:
                process.send_signal(signal.SIGKILL)
            code = process.wait()
            self.codes[code] += not killed
            if code == 0:
                return

    def _start(self, work_dir: Path) -> subprocess.Popen[bytes]:
        console = (self.folder / f"{self.name}.console").open("ab")
        words = ["run", "--store", f"s3://{BUCKET}/runs", "--run", self.name, "--work-dir", str(work_dir), *LEASE]
        own = {"LEDGER": str(self.ledger), "FINISH": str(self.finish), "SIZE": str(self.size)}
        with console:
            return subprocess.Popen(
                [*self.daemon, *words, "--", sys.executable, str(TRAINING)],
                env={**self.environment, **own},
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
            )


@contextmanager
def store() -> Iterator[str]:
    """A server with a bucket that remembers every write."""
    os.environ.update(CREDENTIALS)
    with moto_server() as endpoint:
        client = boto3.client("s3", endpoint_url=endpoint)
        client.create_bucket(Bucket=BUCKET)
        client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        yield endpoint


def environment(endpoint: str, **more: str) -> dict[str, str]:
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return {**os.environ, **CREDENTIALS, **threads, "HOLDFAST_ENDPOINT_URL": endpoint, **more}


# --- commits -------------------------------------------------------------------------------------------------------


def commits(arguments: argparse.Namespace, folder: Path) -> bool:
    """Prints the table. False if a commit was lost."""
    began = time.monotonic()
    until = began + arguments.patience
    with store() as server:
        plan = Chance(arguments.seed, arguments.rate)
        stall = 3.0 if arguments.quick else 40.0
        with FaultProxy(server, plan, folder / "faults.jsonl", patience=stall, delay=0.3) as proxy:
            runs = _runs(arguments, folder, proxy.endpoint)
            threads = [threading.Thread(target=run.train, args=(until,)) for run in runs]
            for thread in threads:
                thread.start()
            while time.monotonic() < until and _hits(proxy) < arguments.faults:
                time.sleep(0.1)
            for run in runs:
                run.finish.touch()
            for thread in threads:
                thread.join()
            requests = proxy.requests
        found = [_check(run, server) for run in runs]
    _print_faults(folder / "faults.jsonl", requests)
    return _print_findings(runs, found, time.monotonic() - began)


def _runs(arguments: argparse.Namespace, folder: Path, endpoint: str) -> list[Run]:
    chance = random.Random(arguments.seed)
    daemon = shlex.split(arguments.daemon)
    small = environment(endpoint, EVERY="0.5" if arguments.quick else "1", PACE="0.02")
    lives = 8.0 if arguments.quick else 25.0
    runs = [Run(f"small{i}", folder, daemon, small, random.Random(chance.random()), lives) for i in (1, 2)]
    if not arguments.quick:
        large = environment(endpoint, EVERY="10", PACE="0.5")
        runs.append(Run("large", folder, daemon, large, random.Random(chance.random()), lives, BIG))
    return runs


def _hits(proxy: FaultProxy) -> int:
    return sum(fault != "delay" for fault, _ in proxy.faults)


def _check(run: Run, server: str) -> Findings:
    (name,) = run.runs
    reader = Reader(server, BUCKET, f"runs/{name}/")
    return check(reader, list(events(run.work_dirs, name)), read_ledger(run.ledger), run.size)


def _print_faults(log: Path, requests: int) -> None:
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    counts = Counter((line["fault"], line["part"]) for line in lines)
    print(f"\n| fault | {' | '.join(PARTS)} | all |")
    print(f"| --- |{' ---: |' * (len(PARTS) + 1)}")
    for fault in PLACES:
        row = [counts[fault, part] for part in PARTS]
        print(f"| {fault} | {' | '.join(map(str, row))} | {sum(row)} |")
    whole = [sum(counts[fault, part] for fault in PLACES) for part in PARTS]
    print(f"| **all** | {' | '.join(map(str, whole))} | {sum(whole)} |")
    writes, reads = (sum((line["method"] != "GET") is kind for line in lines) for kind in (True, False))
    print(f"\n{len(lines)} faults, {writes} in writes and {reads} in reads, of {requests} requests.")
    elsewhere = sum(line["part"] not in COMMIT_PROTOCOL for line in lines)
    print(f"Faults that hit no request of the commit protocol: {elsewhere}.\n")


def _print_findings(runs: list[Run], found: list[Findings], seconds: float) -> bool:
    codes = sum((run.codes for run in runs), Counter[int]())
    lost = [text for one in found for text in one.lost]
    wrong = [text for one in found for text in (*one.rewritten, *one.wrong_ends)]
    rows = {
        "trainings": len(runs),
        "seconds": round(seconds),
        "daemons killed": sum(run.kills for run in runs),
        "fresh work dirs": sum(len(run.work_dirs) for run in runs),
        "daemons that ended by themselves, by exit code": dict(codes),
        "times that an event calls a pair stored": sum(one.said_stored for one in found),
        "pairs called stored": sum(one.pairs for one in found),
        "- of these, compared with the machine's files too": sum(one.wholly_in_ledger for one in found),
        "objects written again with the same content": sum(one.written_twice for one in found),
        "objects written again with other content": sum(len(one.rewritten) for one in found),
        "runs that end unlike the undisturbed one": sum(bool(one.wrong_ends) for one in found),
        "**lost commits**": f"**{len(lost)}**",
    }
    print("| what came of it | |\n| --- | ---: |")
    for what, count in rows.items():
        print(f"| {what} | {count} |")
    for text in (*lost[:20], *wrong[:20]):
        print(f"error: {text}")
    return all(one.good for one in found)


# --- timing --------------------------------------------------------------------------------------------------------


def timing(arguments: argparse.Namespace, folder: Path) -> bool:
    """Interleaved pairs, with faults and without; who goes first alternates."""
    ratios: dict[str, list[float]] = {"the whole loop": [], "its median step": []}
    hits = 0
    with store() as server:
        for turn in range(arguments.pairs + 1):
            seconds = {}
            for faulty in (turn % 2 == 0, turn % 2 == 1):
                plan = Chance(arguments.seed + turn, arguments.rate if faulty else 0.0)
                with FaultProxy(server, plan, patience=3.0, delay=0.3) as proxy:
                    seconds[faulty] = _timed(folder, f"t{turn}-{int(faulty)}", proxy.endpoint, arguments.steps)
                    hits += _hits(proxy)
            if turn:  # the first pair warms up
                ratios["the whole loop"].append(sum(seconds[True]) / sum(seconds[False]))
                ratios["its median step"].append(statistics.median(seconds[True]) / statistics.median(seconds[False]))
    print(f"\n{arguments.pairs} pairs of {arguments.steps} steps, {hits} faults.\n")
    print("| the training's own time, with faults / without | median | middle half |\n| --- | ---: | --- |")
    for what, values in ratios.items():
        low, _, high = statistics.quantiles(values, n=4)
        print(f"| {what} | {statistics.median(values):.3f} | {low:.3f} to {high:.3f} |")
    return True


def _timed(folder: Path, name: str, endpoint: str, steps: int) -> array[float]:
    times = folder / f"{name}.times"
    settings = {"EVERY": "0.5", "WORK": "220", "STEPS": str(steps), "TIMES": str(times)}
    run = Run(name, folder, [sys.executable, "-m", "holdfast"], environment(endpoint, **settings), random.Random(0))
    process = run._start(folder / name)
    if process.wait() != 0:
        raise SystemExit(f"{name} ended with {process.returncode}: see {folder}/{name}.console")
    return array("d", times.read_bytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=["commits", "timing"], default="commits")
    parser.add_argument("--faults", type=int, default=500, help="go on until so many hit (delays are not counted)")
    parser.add_argument("--rate", type=float, default=0.2, help="of the commit protocol's requests")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--patience", type=float, default=1800.0, help="seconds until it is given up")
    parser.add_argument("--quick", action="store_true", help="60 faults, two small trainings, short stalls")
    parser.add_argument("--daemon", default=f"{sys.executable} -m holdfast", help="another supervisor to judge")
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--folder", type=Path, help="keep consoles, work dirs and the proxy's log there")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.faults = min(arguments.faults, 60)
    with tempfile.TemporaryDirectory(prefix="holdfast-faults-") as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        good = (timing if arguments.part == "timing" else commits)(arguments, folder)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
