"""The state of the other callbacks in the list.

Keras' own are known here by name. A user's callback may offer ``get_state()`` and ``set_state(state)`` with values that
are plain or NumPy arrays; what others count and collect is found by own_values.py. What can't be kept is named, once.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ...core.errors import InvalidPair
from ..data.keras_in_use import keras
from ..data.python.references import is_own, top
from ..pair.plain import from_plain, to_plain_part
from .object_graph import Slot, names_set_by_libraries

# Attributes that change during a training.
_OF_KERAS = ("keras", "tf_keras", "builtins")
_KEPT: dict[str, tuple[str, ...]] = {
    "EarlyStopping": ("wait", "stopped_epoch", "best", "best_weights", "best_epoch"),
    "ReduceLROnPlateau": ("wait", "best", "cooldown_counter"),
    "ModelCheckpoint": (
        *("best", "_current_epoch", "_last_batch_seen", "_batches_seen_since_last_saving"),
        "epochs_since_last_save",
    ),
    "TensorBoard": ("_global_train_batch", "_global_test_batch", "_previous_epoch_iterations"),
    "SwapEMAWeights": ("_ema_weights_in_model",),
    "History": ("epoch", "history"),
    "BackupAndRestore": ("_last_batch_seen", "_current_epoch"),
    "OrbaxCheckpoint": ("best", "_last_batch_seen", "_batches_seen_since_last_saving", "_total_batches_seen"),
}
# Settings that others may change in a training.
_SETTINGS = {
    "EarlyStopping": ("patience", "min_delta", "baseline", "start_from_epoch"),
    "ReduceLROnPlateau": ("patience", "min_delta", "factor", "min_lr", "cooldown"),
}
_WRITTEN = "best_written"


class _Amount(Slot):
    """A setting to which Keras gives a sign, once it knows whether more is better."""

    def get(self) -> Any:
        return abs(super().get())

    def set(self, value: Any) -> None:
        is_less = getattr(getattr(self.holder, "monitor_op", None), "__name__", "") == "less"
        super().set(-value if is_less else value)


def settings(path: str, callback: Any) -> Iterator[Slot]:
    """Numbers of a callback that classes of libraries set: of Keras' own those that are known, of others all but those
    that ``read_states`` has.
    """
    names = _SETTINGS.get(_keras_name(callback) or "", ())
    if not names and any(not is_own(cls) and top(cls.__module__) not in _OF_KERAS for cls in type(callback).__mro__):
        cls: Any = type(callback)
        theirs = names_set_by_libraries(cls) if is_own(cls) else vars(callback)
        names = tuple(name for name in theirs if type(vars(callback).get(name)) in (bool, int, float))
    kind = {"min_delta": _Amount}
    names = tuple(name for name in names if name not in _KEPT.get(_keras_name(callback) or "", ()))
    yield from (kind.get(name, Slot)(f"{path}.{name}", callback, name) for name in names if name in vars(callback))


def offers_state(callback: Any) -> bool:
    return hasattr(callback, "get_state") and hasattr(callback, "set_state")


def read_states(callbacks: Iterable[Any]) -> list[Any]:
    """Each callback's state as it is now, cheaply: large arrays are not copied."""
    return [_read_state(callback) for callback in callbacks]


def to_entries(callbacks: Iterable[Any], states: list[Any], say: Callable[[str], None]) -> list[dict[str, Any]]:
    """What was read, as plain values: one entry a callback, in the list's order."""
    return [
        {"class": type(callback).__name__, "state": _plain(callback, state, say)}
        for callback, state in zip(callbacks, states, strict=True)
    ]


def set_states(callbacks: Iterable[Any], entries: Any, say: Callable[[str], None], logs: Any = None) -> None:
    """Gives each entry to the callback of its class, the first to the first; what is left over is named.

    ``logs`` are those of the epoch with whose end the model's state is restored, if it is one.
    """
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
            fresh = getattr(callback, "best", None)
            _set(callback, from_plain(state))
            _distrust_best(callback, from_plain(state), fresh, say, logs)
    for name, states in waiting.items():
        if any(state is not None for state in states):
            say(f"the checkpoint holds the state of a {name} that the script no longer uses")


def _best_file(callback: Any) -> str | None:
    """The one that a ModelCheckpoint replaces by each better model; None for others, and for a new file each time."""
    if _keras_name(callback) != "ModelCheckpoint" or not callback.save_best_only or "{" in callback.filepath:
        return None
    return str(callback.filepath)


def _best_written(callback: Any) -> int | None:
    """When, by the file's own time, in ns."""
    path = _best_file(callback)
    with contextlib.suppress(OSError):
        return None if path is None else os.stat(path).st_mtime_ns
    return None


def _write_best(callback: Any, path: str) -> bool:
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        save = callback.model.save_weights if callback.save_weights_only else callback.model.save
        save(path, overwrite=True)
    except Exception:  # whatever the callback's own save would raise
        return False
    return True


def _distrust_best(callback: Any, state: Any, fresh: Any, say: Callable[[str], None], logs: Any) -> None:
    """A best value whose model is not in its file any more must not keep the next best model out of it."""
    path = _best_file(callback)
    if path is None or callback.best is None or callback.best == fresh:  # a threshold of the script's has no file
        return
    here, then = _best_written(callback), state.get(_WRITTEN) if isinstance(state, dict) else None
    if here is not None and not (type(then) is int and here < then):
        return
    what = "is missing" if here is None else "is older than the checkpoint"
    if isinstance(logs, dict) and logs.get(callback.monitor) == callback.best and _write_best(callback, path):
        say(f"{path} {what}: it is written again, as the checkpoint is of that best model")
        return
    say(
        f"{path} {what}: the best model so far ({callback.monitor} {callback.best:.6g}) is lost, and the next epoch's "
        "counts as the best (files under holdfast.run_dir() / 'artifacts' are kept)"
    )
    callback.best = fresh


def flush_logs(callbacks: Iterable[Any]) -> None:
    """Before a pair: what TensorBoard has been told so far reaches its files."""
    for callback in callbacks:
        if _keras_name(callback) == "TensorBoard":
            for writer in callback._writers.values():
                writer.flush()


def flush(callbacks: Iterable[Any]) -> None:
    """Before the process ends: what a callback has written so far reaches its file."""
    flush_logs(callbacks)
    for callback in callbacks:
        if _keras_name(callback) == "OrbaxCheckpoint":
            callback.wait_until_finished()


def _keras_name(callback: Any) -> str | None:
    """The name of the Keras callback that this one is or derives from."""
    for cls in type(callback).__mro__:
        if cls.__module__.startswith(("keras.", "tf_keras.")) and cls is not keras.callbacks.Callback:
            return cls.__name__
    return None


def _read_state(callback: Any) -> Any:
    if offers_state(callback):
        return callback.get_state()
    name = _keras_name(callback) or ""
    if name in _KEPT:
        state = {key: getattr(callback, key) for key in _KEPT[name] if hasattr(callback, key)}
        return {**state, **({_WRITTEN: written} if (written := _best_written(callback)) is not None else {})}
    if name == "CSVLogger":
        return {"size": _csv_size(callback)}
    return None


def _plain(callback: Any, state: Any, say: Callable[[str], None]) -> Any:
    of_it = f"the state of the callback {type(callback).__name__}"
    try:
        return to_plain_part(state, offers_state(callback), say=lambda text: say(f"in {of_it}, {text}"))
    except TypeError as error:
        say(f"{of_it} is not kept: it holds {error}")
        return None


def _set(callback: Any, state: Any) -> None:
    if offers_state(callback):
        callback.set_state(state)
        return
    kept = _KEPT.get(_keras_name(callback) or "", ())
    if isinstance(state, dict):
        for key, value in state.items():
            if key in kept:
                setattr(callback, key, value)


def _csv_size(callback: Any) -> int:
    if callback.csv_file is not None and not getattr(callback.csv_file, "closed", False):
        callback.csv_file.flush()
    return os.path.getsize(callback.filename) if os.path.exists(callback.filename) else 0


def continue_csv_files(callbacks: Iterable[Any], entries: Any, cut: bool = True) -> None:
    """Before the training begins: a CSVLogger appends, and rows of what will be done again are cut off.

    Not with ``cut=False``: then they are a later fit's, which has written to the same file.
    """
    sizes = [entry["state"] for entry in entries if entry.get("class") == "CSVLogger"]
    for callback, state in zip((c for c in callbacks if _keras_name(c) == "CSVLogger"), sizes, strict=False):
        callback.append = True
        with contextlib.suppress(OSError, TypeError, KeyError):
            if cut and os.path.getsize(callback.filename) > state["size"]:
                os.truncate(callback.filename, state["size"])


def overwrite_steps(callbacks: Iterable[Any]) -> None:
    """As a training resumes: what OrbaxCheckpoint stored after the pair was taken is stored again. It would refuse."""
    for callback in callbacks:
        if _keras_name(callback) == "OrbaxCheckpoint":
            for name in ("save_checkpointables", "save_checkpointables_async"):
                save = getattr(callback.checkpointer, name)
                setattr(callback.checkpointer, name, functools.partial(save, overwrite=True))
