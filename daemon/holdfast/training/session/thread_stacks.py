"""The stacks of all threads, written when a signal asks for them: for a supervisor that finds this process hung.

faulthandler's handler needs no interpreter: it also writes while the main thread is deep in a lock or in a C library.
"""

from __future__ import annotations

import faulthandler
import os
import signal
from pathlib import Path

# Real-time signals from the middle: SIGUSR1 and SIGUSR2 belong to the script, the first real-time ones to the C library
# and to timers, the last to debugging tools.
CANDIDATES = range(signal.SIGRTMIN + 16, signal.SIGRTMAX - 6)


class Stacks:
    """Makes ``signal`` write them to what is standard error now. None if there is no signal to be had for it."""

    def __init__(self, status: Path = Path("/proc/self/status")) -> None:
        self.signal: int | None = None
        self._output: int | None = None
        try:
            taken = _taken(status)
            number = next(number for number in CANDIDATES if not taken >> (number - 1) & 1)
            self._output = os.dup(2)  # whatever the script makes of 2 later, this is the log
            faulthandler.register(number, file=self._output, all_threads=True, chain=False)
        except (OSError, ValueError, RuntimeError, StopIteration):
            self.close()
        else:
            self.signal = number

    def close(self) -> None:
        if self.signal is not None:
            faulthandler.unregister(self.signal)
            self.signal = None
        if self._output is not None:
            os.close(self._output)
            self._output = None


def _taken(status: Path) -> int:
    """The signals, as bits, that this process catches, ignores or blocks; also those that were not set by Python."""
    fields = (line.partition(":") for line in status.read_text().splitlines())
    blocked, ignored, caught = [int(mask, 16) for name, _, mask in fields if name in ("SigBlk", "SigIgn", "SigCgt")]
    return blocked | ignored | caught
