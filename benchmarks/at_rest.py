"""What the supervisor itself takes while it has nothing to do: memory and CPU time, before and after an upload.

python benchmarks/at_rest.py [--quick]
"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from pathlib import Path

import psutil
from daemons import console, events, serving, start, until
from measure import Verdict, arguments, conclude, machine, table

SCRIPT = Path(__file__).parent.parent / "tests" / "scripts" / "count.py"


def resident(process: psutil.Process) -> float:
    return float(process.memory_info().rss)


def cpu_share(process: psutil.Process, seconds: float) -> float:
    """CPU time over wall time, of the supervisor alone."""
    began, before = time.monotonic(), sum(process.cpu_times()[:2])
    time.sleep(seconds)
    return (sum(process.cpu_times()[:2]) - before) / (time.monotonic() - began)


def measure(
    store: str, work_dir: Path, seconds: float, size: int, environment: dict[str, str]
) -> list[tuple[str, float, float]]:
    """Beside a command that sleeps; then beside one that holds still after it has stored a pair of that size."""
    found = []
    for what, command, settings in (
        ("before any upload", ["sleep", "1000"], {}),
        (
            f"after a pair of {size / 1e6:.0f} MB",
            [sys.executable, str(SCRIPT)],
            {"HOLD_AT": "5", "EVERY": "5", "SIZE": str(size // 8)},
        ),
    ):
        here = work_dir / what.split()[0]
        process = start(store, here, command, **settings, **environment)
        kind = "stored" if settings else "started"
        until(lambda here=here, kind=kind: any(e["event"] == kind for e in events(here)), kind, process, here)
        supervisor = psutil.Process(process.pid)
        time.sleep(2.0)
        share = cpu_share(supervisor, seconds)
        found.append((what, resident(supervisor), share))
        process.send_signal(signal.SIGTERM)
        if process.wait() not in (75, 0, 143, 74):
            raise SystemExit(console(here))
    return found


def main() -> None:
    given = arguments(__doc__)
    print(f"{machine()}.\n")
    seconds, size = (5.0, 50_000_000) if given.quick else (30.0, 400_000_000)
    rows, worst = [], [0.0, 0.0]
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as name, serving("small_s3.py") as endpoint:
        for kind, store in (("directory", f"{name}/store"), ("S3", "s3://bench/runs")):
            settings = {"HOLDFAST_ENDPOINT_URL": endpoint} if kind == "S3" else {}
            for what, memory, share in measure(store, Path(name) / kind, seconds, size, settings):
                rows.append((f"{kind}, {what}", f"{memory / 1e6:.1f}", f"{share:.2%}"))
                worst = [max(worst[0], memory), max(worst[1], share)]
    table(("store", "resident, MB", "of a core"), rows)
    conclude(
        Verdict("supervisor at rest, memory", "80 MB", f"{worst[0] / 1e6:.1f} MB", worst[0] < 80e6),
        Verdict("supervisor at rest, CPU", "0.5 % of a core", f"{worst[1]:.2%}", worst[1] <= 0.005),
    )


if __name__ == "__main__":
    main()
