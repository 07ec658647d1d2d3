"""Processes that ``--auto`` cannot reach: interpreters that ignore the environment, or that were given another one."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...core.errors import SettingsError

PYTHON = re.compile(r"(python|pypy)[\d.]*")
_IGNORING = "IES"
_WITH_VALUE = "XW"
_LONGEST_SHEBANG = 256


def ignores_environment(words: Sequence[str]) -> str:
    """The option of a Python command line that makes it ignore PYTHONPATH or ``sitecustomize``: ``-I``, ``-E`` or
    ``-S``; '' if there is none.
    """
    if not words or not PYTHON.fullmatch(os.path.basename(words[0])):
        return ""
    rest = iter(words[1:])
    for word in rest:
        if not word.startswith("-") or word == "-":
            break
        if word.startswith("--"):
            continue
        for place, letter in enumerate(word[1:], 2):
            if letter in _IGNORING:
                return f"-{letter}"
            if letter in "cm":
                return ""
            if letter in _WITH_VALUE:
                if place == len(word):
                    next(rest, None)
                break
    return ""


def check_reachable(command: Sequence[str]) -> None:
    """Raises SettingsError for a command that is such an interpreter, or a script whose first line names one."""
    program = shutil.which(command[0]) or command[0]
    found = ignores_environment(command) or ignores_environment(_shebang(program))
    if found:
        raise SettingsError(f"--auto: {ignoring(found)}")


def is_own_python(command: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Is the command's program the Python of the environment that holdfast is installed in?"""
    program = shutil.which(command[0], path=environment.get("PATH")) or command[0]
    folder, name = os.path.split(os.path.abspath(program))
    return folder == os.path.join(sys.prefix, "bin") and PYTHON.fullmatch(name) is not None


def ignoring(option: str) -> str:
    """The message for a command line with that option."""
    return (
        f"a Python of the command is started with {option}, and so ignores the environment that --auto works by: leave "
        f"{option} away, or do without --auto and add holdfast.Resume() to the callbacks of fit"
    )


def unreached(pid: int, hook: str, marks: Path) -> str:
    """Why ``--auto`` does not reach a process; '' if it does, or if that cannot be told. ``hook`` is its folder on
    PYTHONPATH, and ``marks`` the one where each interpreter that found it leaves a file.
    """
    try:
        words, variables, image = (Path(f"/proc/{pid}/{file}").read_bytes() for file in ("cmdline", "environ", "auxv"))
    except OSError:  # it ended, or is another user's
        return ""
    if (marks / image_mark(image)).exists():
        return ""
    if option := ignores_environment(words.decode(errors="replace").split("\0")):
        return ignoring(option)
    given = dict(one.split("=", 1) for one in variables.decode(errors="replace").split("\0") if "=" in one)
    which = "a process of the command that loaded TensorFlow or JAX"
    if hook not in given.get("PYTHONPATH", "").split(os.pathsep):
        return (
            f"{which} has lost what --auto put on PYTHONPATH: keep it where it is set, as in PYTHONPATH=src:$PYTHONPATH"
        )
    return (
        f"{which} did not load holdfast's sitecustomize: another one hides it, or this is no Python of version 3.7 or "
        "later"
    )


def image_mark(auxiliary_vector: bytes) -> str:
    """As auto/hook.py makes it: the same for a process and its forks, another one for each program that is executed."""
    return f"image-{int.from_bytes(auxiliary_vector, 'little') % (2**61 - 1):x}"


def _shebang(path: str) -> list[str]:
    """The words of a script's first line, if it names its interpreter."""
    try:
        with open(path, "rb") as file:
            line = file.readline(_LONGEST_SHEBANG)
    except OSError:
        return []
    if not line.startswith(b"#!"):
        return []
    words = line[2:].decode(errors="replace").split()
    by_env = words and os.path.basename(words[0]) == "env"
    return [word for word in words[1:] if word != "-S"] if by_env else words
