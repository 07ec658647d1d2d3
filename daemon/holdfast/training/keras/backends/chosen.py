"""The backend that Keras runs on in this process."""

from __future__ import annotations

import functools
from types import FrameType
from typing import Any

from ....core.errors import SettingsError
from ...data.keras_in_use import is_keras_2, keras
from .protocol import Backend

SERVED = ("tensorflow", "jax", "torch")


def refusal() -> str | None:
    """One line where Keras runs on a backend that is not served."""
    name = keras.backend.backend()
    if name in SERVED:
        return None
    served = f"{', '.join(SERVED[:-1])} and {SERVED[-1]}"
    return (
        f"Keras runs on {name} here, and holdfast.Resume serves {served}: set KERAS_BACKEND={SERVED[0]} "
        "before keras is imported, or train in a loop of your own with holdfast.session()"
    )


@functools.cache
def backend() -> Backend:
    """Raises SettingsError for one that is not served."""
    if (text := refusal()) is not None:
        raise SettingsError(text)
    if is_keras_2():
        from . import keras_2

        return keras_2
    if keras.backend.backend() == "jax":
        from . import jax

        return jax
    if keras.backend.backend() == "torch":
        from . import torch

        return torch
    from . import tensorflow

    return tensorflow


def variables_of(fit: FrameType) -> dict[str, Any]:
    """The local ones of a ``fit``, by their names in Keras 3."""
    local = dict(fit.f_locals)
    if is_keras_2() and "data_handler" in local:
        from .keras_2_data import Epochs

        local["epoch_iterator"] = Epochs(local["data_handler"], local["self"], local)
    return local
