"""Interpreters as a command under ``--auto`` starts them. A package of a few lines stands for Keras."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

from holdfast.auto.environment import with_hook

TRAINER = """
import os, time
class {name}:
    def fit(self, x=None, *, epochs=1, callbacks=None):
        "Trains."
        while {waits_for!r} and not os.path.exists({waits_for!r}):
            time.sleep(0.01)
        return "trained"
"""


def fake_keras(
    folder: Path, backend: str = "tensorflow", name: str = "TensorFlowTrainer", waits_for: Path | None = None
) -> Path:
    """Makes ``keras.src.backend.BACKEND.trainer`` in ``folder``. It trains until there is the file ``waits_for``."""
    inner = folder / f"keras/src/backend/{backend}"
    inner.mkdir(parents=True)
    for package in (folder / "keras", folder / "keras/src", folder / "keras/src/backend", inner):
        (package / "__init__.py").write_text("")
    (inner / "trainer.py").write_text(TRAINER.format(name=name, waits_for=str(waits_for or "")))
    return folder


def bare_interpreter(folder: Path) -> str:
    """One that has no packages at all."""
    venv.create(folder, symlinks=True)
    return str(folder / "bin/python")


def python(
    folder: Path,
    code: str,
    *options: str,
    auto: bool | None = True,
    interpreter: str = sys.executable,
    **environment: str,
) -> str:
    """What ``python -c code`` prints in ``folder``. ``auto``: with ``--auto``, without, or None for no hook at all."""
    variables = {"PATH": os.environ["PATH"], "HOLDFAST_SOCKET": str(folder / "supervisor" / "s"), **environment}
    done = subprocess.run(
        [interpreter, *options, "-c", code],
        cwd=folder,
        env=variables if auto is None else with_hook(variables, auto),
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stdout + done.stderr
