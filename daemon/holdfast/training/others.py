"""The state of the other callbacks in the list.

Keras' own are known here by name. A user's callback takes part by offering ``get_state()`` and ``set_state(state)``
with values that are plain or NumPy arrays. What can't be kept is named, once.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from typing import Any

import keras

from ..core.errors import InvalidPair
from .plain import from_plain, to_plain

# Attributes that change while a training goes on.
_KEPT: dict[str, tuple[str, ...]] = {
    "EarlyStopping": ("wait", "stopped_epoch", "best", "best_weights", "best_epoch"),
    "ReduceLROnPlateau": ("wait", "best", "cooldown_counter"),
    "ModelCheckpoint": ("best", "_current_epoch", "_last_batch_seen", "_batches_seen_since_last_saving"),
    "TensorBoard": ("_global_train_batch", "_global_test_batch", "_previous_epoch_iterations"),
    "SwapEMAWeights": ("_ema_weights_in_model",),
    "History": ("epoch", "history"),
}
_STATELESS = {"LearningRateScheduler", "TerminateOnNaN", "ProgbarLogger", "RemoteMonitor"}
_BASE = set(vars(keras.callbacks.Callback())) | {"_model", "model", "params", "validation_data"}


def get_states(callbacks: Iterable[Any], say: Callable[[str], None]) -> list[dict[str, Any]]:
    """One entry a callback, in the list's order. ``say`` is told what cannot be kept."""
    return [{"class": type(callback).__name__, "state": _get(callback, say)} for callback in callbacks]


def set_states(callbacks: Iterable[Any], entries: Any, say: Callable[[str], None]) -> None:
    """Gives each entry to the callback of its class, the first to the first; what is left over is named."""
    waiting: dict[str, list[Any]] = {}
    for entry in entries:
        try:
            waiting.setdefault(entry["class"], []).append(entry["state"])
        except (TypeError, KeyError):
            raise InvalidPair("the .pkl's callbacks are malformed") from None
    for callback in callbacks:
        states = waiting.get(type(callback).__name__)
        state = states.pop(0) if states else None
        if state is not None:
            _set(callback, from_plain(state))
    for name, states in waiting.items():
        if any(state is not None for state in states):
            say(f"the checkpoint holds the state of a {name} that the script no longer uses")


def _keras_name(callback: Any) -> str | None:
    """The name of the Keras callback that this one is or derives from."""
    for cls in type(callback).__mro__:
        if cls.__module__.startswith("keras.") and cls is not keras.callbacks.Callback:
            return cls.__name__
    return None


def _get(callback: Any, say: Callable[[str], None]) -> Any:
    name = type(callback).__name__
    try:
        if hasattr(callback, "get_state") and hasattr(callback, "set_state"):
            return to_plain(callback.get_state())
        kept = _KEPT.get(_keras_name(callback) or "")
        if kept is not None:
            return to_plain({key: getattr(callback, key) for key in kept if hasattr(callback, key)})
        if _keras_name(callback) == "CSVLogger":
            return {"size": _csv_size(callback)}
    except TypeError as error:
        say(f"the state of the callback {name} is not kept: it holds {error}")
        return None
    if _keras_name(callback) not in _STATELESS and set(vars(callback)) - _BASE:
        say(f"the state of the callback {name}, if it has any, is not kept: give it get_state() and set_state(state)")
    return None


def _set(callback: Any, state: Any) -> None:
    if hasattr(callback, "get_state") and hasattr(callback, "set_state"):
        callback.set_state(state)
        return
    kept = _KEPT.get(_keras_name(callback) or "", ())
    if isinstance(state, dict):
        for key, value in state.items():
            if key in kept:
                setattr(callback, key, value)


def _csv_size(callback: Any) -> int:
    if callback.csv_file is not None and not callback.csv_file.closed:
        callback.csv_file.flush()
    return os.path.getsize(callback.filename) if os.path.exists(callback.filename) else 0


def continue_csv_files(callbacks: Iterable[Any], entries: Any) -> None:
    """Before the training begins: a CSVLogger appends, and rows of what will be done again are cut off."""
    sizes = [entry["state"] for entry in entries if entry.get("class") == "CSVLogger"]
    for callback, state in zip((c for c in callbacks if _keras_name(c) == "CSVLogger"), sizes, strict=False):
        callback.append = True
        with contextlib.suppress(OSError, TypeError, KeyError):
            if os.path.getsize(callback.filename) > state["size"]:
                os.truncate(callback.filename, state["size"])
