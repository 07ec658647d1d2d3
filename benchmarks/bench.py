"""All benchmarks, one after the other, and at the end what they are to reach and whether they do.

    python benchmarks/bench.py [--quick] [NAME ...]        # some of them by name

Each one is a script of its own, which prints its own tables.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import RESULTS, RIVALS, machine, table, verdicts

HERE = Path(__file__).parent
ALL = (
    "checkpoint_cost",
    "memory",
    "batch_cost",
    "start",
    "notice",
    "transfer",
    "frozen",
    "hashes",
    "at_rest",
    "growth",
    "resume_data",
    "timeline",
    "auto",
    "gang",
    "backends",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rounds and small states: rough figures")
    parser.add_argument("names", nargs="*", metavar="NAME", choices=(*ALL, []))
    given = parser.parse_args()
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ[RESULTS] = str(Path(folder) / "results")
        for name in given.names or ALL:
            if not HERE.joinpath(f"{name}.py").exists():
                continue
            print(f"## {name}\n", flush=True)
            began = time.monotonic()
            words = [sys.executable, str(HERE / f"{name}.py"), *(["--quick"] if given.quick else [])]
            if subprocess.run(words, check=False).returncode:
                failed.append(name)
            print(f"({name} took {time.monotonic() - began:.0f} s)\n", flush=True)
        found = verdicts(Path(os.environ[RESULTS]))
    print(f"## Targets\n\n{machine()}.{'' if RIVALS.is_dir() else ' (Nothing to compare with: see the Makefile.)'}\n")
    rows = [(v.what, v.target, v.measured, "reached" if v.reached else "not reached", v.limit) for v in found]
    table(("what", "to reach", "measured", "", "what the machine allows"), rows)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
