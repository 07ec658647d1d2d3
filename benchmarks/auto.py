"""What ``--auto`` costs an interpreter that never imports Keras: time to start and end, and memory.

python benchmarks/auto.py [--quick]
"""

from __future__ import annotations

import compileall
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import Spread, Verdict, arguments, conclude, differences, machine, table, turns

import holdfast
from holdfast.auto.environment import with_hook
from holdfast.core.wire import SOCKET_VARIABLE

RESIDENT = "print(open('/proc/self/statm').read().split()[1])"  # the peak would be that of the process before exec


def start(environment: dict[str, str]) -> tuple[float, float]:
    """Seconds from start to end, and bytes resident at its end."""
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", RESIDENT], env=environment, check=True, capture_output=True)
    return time.perf_counter() - began, int(done.stdout) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    given = arguments(__doc__)
    print(f"{machine()}.\n")
    compileall.compile_dir(Path(holdfast.__file__).parent / "auto", quiet=1)  # as pip does for what it installs
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as folder:
        plain = dict(os.environ)
        kinds = {"without": plain, "with --auto": with_hook({**plain, SOCKET_VARIABLE: f"{folder}/s"})}
        found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
        for _, kind in turns(list(kinds), 10 if given.quick else 60):
            found[kind].append(start(kinds[kind]))
    times = {kind: [one for one, _ in values] for kind, values in found.items()}
    sizes = {kind: [one for _, one in values] for kind, values in found.items()}
    rows = [(kind, Spread.of(times[kind]).text(1e3), Spread.of(sizes[kind]).text(1e-6, 2)) for kind in kinds]
    table(("an interpreter that does nothing", "start to end, ms", "memory, MB"), rows)
    more = Spread.of(differences(times["with --auto"], times["without"])).median
    held = Spread.of(differences(sizes["with --auto"], sizes["without"])).median
    conclude(
        Verdict("--auto in an interpreter without Keras, time", "20 ms", f"{more * 1e3:.1f} ms", more < 0.02),
        Verdict("the same, memory", "5 MB", f"{held / 1e6:.2f} MB", held < 5e6),
    )


if __name__ == "__main__":
    main()
