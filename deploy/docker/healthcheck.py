#!/opt/holdfast/bin/python -IS
"""Is the supervisor of this container alive? Its loop wakes at least once a second, whatever it waits for.

So its main thread goes to sleep and comes back while we watch; one that hangs, or was stopped, does not. How the
training fares is no question of health: a run that waits for a lease, or while a notice stands, is as it should be.
"""

import sys
import time
from pathlib import Path

PATIENCE = 5.0


def supervisor() -> Path:
    """The process that runs holdfast: PID 1, or the child of the init that docker was asked for."""
    for process in sorted(Path("/proc").glob("[0-9]*"), key=lambda path: int(path.name)):
        try:
            words = (process / "cmdline").read_text().split("\0")
        except OSError:
            continue
        if any(word.endswith("/holdfast") for word in words[:2]):
            return process
    sys.exit("no holdfast runs here")


def wakes(process: Path) -> int:
    """How often its main thread has gone to sleep by itself."""
    status = (process / "task" / process.name / "status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("voluntary_ctxt_switches")))


def main() -> None:
    process = supervisor()
    before, until = wakes(process), time.monotonic() + PATIENCE
    while wakes(process) == before:
        if time.monotonic() > until:
            sys.exit(f"holdfast (PID {process.name}) has not moved for {PATIENCE:.0f} s")
        time.sleep(0.1)


if __name__ == "__main__":
    main()
