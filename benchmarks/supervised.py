"""A process that is supervised, without what a supervisor does."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from holdfast.core.wire import RUN_DIR_VARIABLE, SOCKET_VARIABLE
from holdfast.training.session.open import close_session


@contextlib.contextmanager
def quiet_supervisor(path: Path) -> Iterator[None]:
    """The supervisor's end of the protocol with no store behind it, so that no server takes the training's cores."""
    address = path / "socket"
    program = [sys.executable, str(Path(__file__).with_name("quiet_supervisor.py")), str(address), str(path)]
    process = subprocess.Popen(program, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        process.stdout.readline()
        os.environ |= {SOCKET_VARIABLE: str(address), RUN_DIR_VARIABLE: str(path / "00001-bench")}
        yield
    finally:
        close_session()
        for name in (SOCKET_VARIABLE, RUN_DIR_VARIABLE):
            os.environ.pop(name, None)
        process.stdout.close()
        process.kill()
        process.wait()
