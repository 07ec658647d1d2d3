"""Runs a few lines in a process that has little memory and little time, so that a bomb shows as what it is."""

from __future__ import annotations

import subprocess
import sys

_PRELUDE = """
import os, resource, sys
os.environ["OPENBLAS_NUM_THREADS"] = "1"
import holdfast.training.pair
from holdfast.core.errors import HoldfastError
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + {memory}, used + {memory}))
resource.setrlimit(resource.RLIMIT_CPU, ({seconds}, {seconds}))
try:
{body}
except HoldfastError as error:
    print(f"{{type(error).__name__}}: {{error}}")
else:
    print("returned")
"""


def bounded(body: str, *arguments: str, memory: int = 512 << 20, seconds: int = 20) -> str:
    """What ``body`` came to: ``returned``, or the name and the text of the HoldfastError that it raised.

    Fails on everything else: a MemoryError, a crash, more than ``seconds`` of CPU.
    """
    indented = "\n".join(f"    {line}" for line in body.strip().splitlines())
    program = _PRELUDE.format(memory=memory, seconds=seconds, body=indented)
    told = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=600, check=False
    )
    assert told.returncode == 0, f"exit {told.returncode}: {told.stderr[-2000:]}"
    [line] = told.stdout.splitlines()
    return line
