"""The Keras whose ``fit`` this process resumes: ``keras``, or ``tf_keras``, which is Keras 2, seen by the same names.

Both may be loaded: TensorFlow loads Keras 3, and libraries load Keras 2. So it is the calling ``fit`` that decides, by
``use``, before any module that takes ``keras`` from here is loaded.
"""

from __future__ import annotations

import importlib
import os
import sys
from types import FrameType
from typing import TYPE_CHECKING, Any

from ...core.errors import SettingsError

if TYPE_CHECKING:
    import keras as keras

KERAS_3, KERAS_2 = "keras", "tf_keras"
_TRUE = ("true", "1")  # as TensorFlow reads TF_USE_LEGACY_KERAS

_used: str | None = None


def expected() -> str:
    """The one that is likely to be used, as far as is known before a ``fit``."""
    if _used is not None:
        return _used
    asked = os.environ.get("TF_USE_LEGACY_KERAS", "").lower() in _TRUE
    return KERAS_2 if asked or KERAS_2 in sys.modules else KERAS_3


def use(name: str) -> None:
    """Raises SettingsError where a ``fit`` of the other one came first, and for the package ``keras`` of Keras 2."""
    global _used
    if _used not in (None, name):
        raise SettingsError(
            f"this process has trained with {_used}, and this fit is {name}'s: holdfast.Resume serves one Keras in a "
            "process"
        )
    if name == KERAS_3 and importlib.import_module(name).__version__.startswith("2."):
        raise SettingsError(
            "this fit is of the package keras in its version 2, and holdfast.Resume works with Keras 3 and with "
            "tf_keras: install one of them"
        )
    _used = name


def is_keras_2() -> bool:
    """Is it Keras 2 that is used?"""
    return _used == KERAS_2


def calling(frame: FrameType | None, most: int = 12) -> str | None:
    """The one whose code is calling us; None for another, and for Keras 2 by the name ``keras``."""
    for _ in range(most):
        if frame is None:
            break
        parts = str(frame.f_globals.get("__name__")).split(".")
        if parts[0] == KERAS_2:
            return KERAS_2
        if parts[:3] == [KERAS_3, "src", "callbacks"]:
            return KERAS_3
        frame = frame.f_back
    return None


def __getattr__(name: str) -> Any:
    if name != "keras":
        raise AttributeError(name)
    if _used is None:
        use(expected())
    if is_keras_2():
        from . import keras_2_names

        return keras_2_names
    return importlib.import_module(KERAS_3)
