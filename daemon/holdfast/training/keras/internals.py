"""What Keras gives a callback no way to: the list that calls it, the hooks of the others, plain values of its logs."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from types import FrameType
from typing import Any

import numpy as np

from ..data.keras_in_use import keras
from ..pair.plain import to_plain

_BATCH_HOOKS = ("on_train_batch_begin", "on_train_batch_end")


def enclosing_fit(callback: Any) -> tuple[keras.callbacks.CallbackList | None, FrameType | None]:
    """The callback list that calls us, and the frame of the ``fit`` that made it; None, None outside of ``fit``.

    Keras gives a callback no way to its list, so it is found where it is: in the frames that are calling.
    """
    found = None
    frame = inspect.currentframe()
    for _ in range(12):
        frame = frame.f_back if frame is not None else None
        if frame is None:
            break
        this = frame.f_locals.get("self")
        if isinstance(this, keras.callbacks.CallbackList) and callback in this.callbacks:
            found = this
        elif found is not None and isinstance(this, keras.Model):
            return (found, frame) if frame.f_code.co_name == "fit" else (None, None)
    return None, None


def time_only_others(callbacks: keras.callbacks.CallbackList, ours: Any) -> None:
    """Keras 2 times all hooks at first, to warn of a slow one, where the list has a callback that is not its own."""
    if getattr(callbacks, "_check_timing", False):
        others = (type(callback).__module__ for callback in callbacks.callbacks if callback is not ours)
        callbacks._check_timing = any(not module.startswith("tf_keras.") for module in others)


def runs_in_fit(frame: FrameType | None, callbacks: keras.callbacks.CallbackList) -> bool:
    """Was ``frame`` reached from the ``fit`` that has this list? A ``fit`` that raises tells its callbacks nothing."""
    while frame is not None:
        if frame.f_code.co_name == "fit" and any(value is callbacks for value in frame.f_locals.values()):
            return True
        frame = frame.f_back
    return False


def mute_batch_hooks(callbacks: Iterable[keras.callbacks.Callback], calls: int, begun: int = 0) -> None:
    """The callbacks do not see so many batches; but progress bars count them. Each muted hook unmutes itself. ``begun``
    more have begun and will not end.
    """
    for callback in callbacks:
        if not isinstance(callback, keras.callbacks.ProgbarLogger):
            for hook in _BATCH_HOOKS:
                _mute(callback, hook, calls + begun * (hook == "on_train_batch_begin"))


def _mute(callback: Any, hook: str, calls: int) -> None:
    original = getattr(callback, hook)
    had = hook in vars(callback)
    left = [calls]

    def muted(*args: Any, **kwargs: Any) -> None:
        left[0] -= 1
        if left[0] <= 0:
            if had:
                setattr(callback, hook, original)
            else:
                delattr(callback, hook)

    setattr(callback, hook, muted)


def flush_hooks(callbacks: keras.callbacks.CallbackList) -> None:
    """Waits for hooks that Keras runs in other threads. (Not every version of Keras does that.)"""
    flush = getattr(callbacks, "_flush_futures", None)
    if flush is not None:
        flush()


def plain_logs(logs: Any) -> Any:
    try:
        return to_plain(logs)
    except TypeError:
        return floats(logs)


def floats(logs: Any) -> dict[str, float]:
    found: dict[str, float] = {}
    for key, value in (logs or {}).items() if isinstance(logs, dict) else ():
        try:
            number = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
        except (TypeError, ValueError):
            continue
        if number.ndim == 0 and number.dtype.kind in "fiub":
            found[str(key)] = float(number)
    return found
