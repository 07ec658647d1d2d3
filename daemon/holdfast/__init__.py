"""holdfast: a Keras training survives any interruption.

Importing this package loads no framework: the names below are loaded when they are first used.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Resume", "__version__", "dataset", "run_dir", "session"]

_HOMES = {
    "Resume": "training.keras.resume",
    "dataset": "training.data.dataset",
    "run_dir": "training.session.open",
    "session": "training.session.loop",
}

if TYPE_CHECKING:
    from .training.data.dataset import dataset
    from .training.keras.resume import Resume
    from .training.session.loop import session
    from .training.session.open import run_dir


if "HOLDFAST_SOCKET" in os.environ:  # under `holdfast run`: a script may have forgotten to use it
    importlib.import_module(".training.session.detect_unprotected", __name__).watch()


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'holdfast' has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
