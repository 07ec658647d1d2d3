"""The command's interpreter, started ahead: it imports the packages of the script, which does not begin yet.

For the time in which another machine still has the run. It is the command itself, under its own name, with the
environment that it will have (auto/standby.py); so only a command that surely comes to auto/hook.py is started so.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...core.preload import Preload
from .child import Child
from .isolation import PYTHON, ignores_environment
from .output import Tee

VARIABLE = "HOLDFAST_STANDS_BY"  # as in auto/hook.py
_ELF = b"\x7fELF"


@dataclass(frozen=True)
class Standby:
    """``child`` waits until the channel lets its script begin; ``tee`` has its output."""

    child: Child
    tee: Tee


def can_stand_by(command: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Is it a Python itself, no script that starts one later, and does it heed the environment?"""
    program = shutil.which(command[0], path=environment.get("PATH")) or command[0]
    if not PYTHON.fullmatch(os.path.basename(command[0])) or len(command) < 2 or command[1] == "-":
        return False
    hook = environment.get("PYTHONPATH", "").split(os.pathsep)[0]
    if not os.access(os.path.join(os.path.dirname(hook), "standby.py"), os.R_OK):
        return False
    if ignores_environment(command) or any(word.startswith("-i") for word in command[1:2]):
        return False
    try:
        with open(program, "rb") as file:
            return file.read(len(_ELF)) == _ELF
    except OSError:
        return False


def order(preload: Preload) -> dict[str, str]:
    """The variable that makes an interpreter stand by."""
    return {VARIABLE: json.dumps({"packages": list(preload.packages), "environment": dict(preload.environment)})}
