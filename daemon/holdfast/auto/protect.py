"""What a ``fit`` under ``--auto`` gets: a ``holdfast.Resume``, unless it has one. Loaded by the first ``fit``."""

from __future__ import annotations

import inspect
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

from ..core.errors import Exit, HoldfastError
from ..training.data.keras_in_use import use
from ..training.session.base import LOOP, Session
from ..training.session.open import open_session

SERVED = ("tensorflow", "jax", "torch", "tf_keras")
_CALLBACKS = "callbacks"
_NESTED = (
    "a fit began while another one of this process runs: it has no checkpoints of its own, and what calls it repeats "
    "it after a resume"
)
_process = os.getpid()  # that of the first fit
_running = threading.Lock()
_told: weakref.WeakSet[Session] = weakref.WeakSet()  # of fits that are left alone
_Fit = Callable[..., Any]


def fit(
    original: _Fit,
    model: Any,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    kind: str,
    refuse: Callable[[str], NoReturn],
) -> Any:
    """Calls ``original``, the ``fit`` of a model, so that it can be resumed. ``kind`` is that of its Keras.

    A fit that another one calls, or another thread while one runs, has no state of its own: that is said. ``refuse``
    ends a process that has no part in the run: another one trains, or it is a fork that shares that one's session.
    """
    if os.getpid() != _process:
        refuse("this process is a fork of the one that trains: a run has one training process at a time")
    try:
        session = open_session()
    except HoldfastError as error:
        refuse(str(error))
    if kind not in SERVED:
        session.refuse("--auto: {}: {}".format(*not_served(kind)))
        raise SystemExit(int(Exit.FAILED))
    if session.claimed_by == LOOP:  # the script keeps its state itself
        return original(model, *args, **kwargs)
    try:
        use("tf_keras" if kind == "tf_keras" else "keras")
    except HoldfastError as error:
        session.refuse(str(error))
        raise SystemExit(int(Exit.FAILED)) from None
    with _one_at_a_time() as first:
        if first:
            return with_callbacks(original, model, args, kwargs, _with_resume)
        if session not in _told:
            _told.add(session)
            session.say(_NESTED)
        return original(model, *args, **kwargs)


def not_served(kind: str) -> tuple[str, str]:
    """What that kind of Keras is, and what to do."""
    if kind == "Keras 2":
        return "this fit is of an old keras package, and Keras 3 or tf_keras is needed", "install one of them"
    return (
        f"this fit is of Keras on {kind}, and Keras on TensorFlow, JAX or PyTorch alone can be resumed",
        "set KERAS_BACKEND=tensorflow",
    )


def with_callbacks(
    original: _Fit,
    model: Any,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    change: Callable[[list[Any]], list[Any]],
) -> Any:
    """Calls ``original`` with other callbacks. What the script gave is as it was afterwards."""
    try:
        bound = inspect.signature(original).bind(model, *args, **kwargs)
    except TypeError:
        return original(model, *args, **kwargs)  # it says what is wrong
    with _changed(bound.arguments.get(_CALLBACKS), change) as callbacks:
        bound.arguments[_CALLBACKS] = callbacks
        return original(*bound.args, **bound.kwargs)


@contextmanager
def _changed(given: Any, change: Callable[[list[Any]], list[Any]]) -> Iterator[Any]:
    from ..training.data.keras_in_use import keras

    if not isinstance(given, keras.callbacks.CallbackList):
        yield change([] if given is None else list(given) if isinstance(given, list | tuple) else [given])
        return
    kept = given.callbacks
    given.callbacks = change(list(kept))
    try:
        yield given
    finally:
        given.callbacks = kept


def _with_resume(callbacks: list[Any]) -> list[Any]:
    from ..training.data.keras_in_use import keras
    from ..training.keras.resume import Resume

    has_one = any(isinstance(callback, Resume) for callback in keras.tree.flatten(callbacks))
    return callbacks if has_one else [*callbacks, Resume()]


@contextmanager
def _one_at_a_time() -> Iterator[bool]:
    first = _running.acquire(blocking=False)
    try:
        yield first
    finally:
        if first:
            _running.release()
