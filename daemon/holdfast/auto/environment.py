"""The environment that carries the hook into the Python processes of a command, through any wrapper."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

FOLDER = Path(__file__).absolute().parent / "injected"
VARIABLE = "PYTHONPATH"
# As in hook.py, which can import nothing. The first names a file for what a fit says of itself, instead of training.
# The second one is set where a fit is not made resumable: what has no Resume is only said.
LOOK_VARIABLE = "HOLDFAST_LOOK"
WARN_VARIABLE = "HOLDFAST_ONLY_WARN"
PYTHON_SEEN, KERAS_SEEN = "python", "keras"


def with_hook(environment: Mapping[str, str], auto: bool = True) -> dict[str, str]:
    """The same environment, with FOLDER first on PYTHONPATH. Without ``auto`` the hook only says what is not saved."""
    before = environment.get(VARIABLE)
    variables = {key: value for key, value in environment.items() if key != WARN_VARIABLE}
    if not auto:
        variables[WARN_VARIABLE] = "1"
    return {**variables, VARIABLE: os.pathsep.join([str(FOLDER), before]) if before else str(FOLDER)}
