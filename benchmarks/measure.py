"""What the benchmarks share: medians with their middle half, tables, and verdicts for the last table of ``make bench``.

A figure on a shared machine means little by itself, so whatever is compared is measured in turn, in one run, and the
ratio is what counts. Times are seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

RESULTS = "HOLDFAST_BENCH_RESULTS"  # a file to which verdicts are appended, one JSON object a line
RIVALS = Path(sys.prefix) / "rivals"  # what holdfast is compared with, away from its own imports; see the Makefile


@dataclass(frozen=True)
class Verdict:
    """One line of the last table. ``limit`` says what the machine itself allows, where the target is beyond that."""

    what: str
    target: str
    measured: str
    reached: bool
    limit: str = ""


@dataclass(frozen=True)
class Spread:
    """The median, and the middle half of the measurements around it."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        if len(values) < 2:
            return cls(values[0], values[0], values[0], len(values))
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high, len(values))

    def text(self, scale: float = 1.0, digits: int = 1, unit: str = "") -> str:
        numbers = (f"{value * scale:.{digits}f}" for value in (self.median, self.low, self.high))
        return "{}{unit} ({} to {})".format(*numbers, unit=f" {unit}" if unit else "")


def turns(kinds: Sequence[str], rounds: int) -> Iterator[tuple[int, str]]:
    """Every kind once a round, each round beginning with another one."""
    for turn in range(rounds):
        first = turn % len(kinds)
        yield from ((turn, kind) for kind in (*kinds[first:], *kinds[:first]))


def differences(values: Sequence[float], base: Sequence[float]) -> list[float]:
    """Pair by pair: both lists are in the order of the rounds."""
    return [value - before for value, before in zip(values, base, strict=True)]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    print(f"| {' | '.join(head)} |")
    print(f"| --- |{' ---: |' * (len(head) - 1)}")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)
    print(flush=True)


def conclude(*verdicts: Verdict) -> None:
    """Prints the verdicts, and appends them to the file that `make bench` reads."""
    for verdict in verdicts:
        word = "reached" if verdict.reached else "not reached"
        print(f"{verdict.what}: {verdict.measured}; to reach: {verdict.target}: {word}. {verdict.limit}".rstrip())
    print(flush=True)
    if path := os.environ.get(RESULTS):
        with open(path, "a") as file:
            file.writelines(json.dumps(asdict(verdict)) + "\n" for verdict in verdicts)


def verdicts(path: Path) -> list[Verdict]:
    return [Verdict(**json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


def arguments(doc: str | None, **more: Any) -> argparse.Namespace:
    """``--quick`` is for seeing that a benchmark works: its figures are rough."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rounds and small states")
    for name, default in more.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    return parser.parse_args()


def machine() -> str:
    """One line about what the figures were measured on."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return f"{os.cpu_count()} cores ({_processor()}), {memory:.0f} GiB, Linux, Python {platform.python_version()}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
