"""Trainings that are stopped and started again in one process: real signals, real files, no supervisor.

Starting TensorFlow takes seconds, so a 'restart' here is a new session and a new model in the same process; the tests
under integration/ use real processes.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import holdfast
from holdfast.training.session.open import close_session

if "TF_USE_LEGACY_KERAS" in os.environ:
    import tf_keras as keras
else:
    import keras as keras

_OF_KERAS_2 = keras.__version__.startswith("2.")
Stop = tuple[int, int]
VALIDATION = -1


class StopAt(keras.callbacks.Callback):
    """Sends this process a real SIGTERM after a batch of an epoch; VALIDATION as the batch means: during validation."""

    def __init__(self, stop: Stop | None) -> None:
        super().__init__()
        self.stop = stop
        self.epoch = 0

    def get_state(self) -> None:
        return None

    def set_state(self, state: Any) -> None:
        pass

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.stop == (self.epoch, batch):
            os.kill(os.getpid(), signal.SIGTERM)

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.stop == (self.epoch, VALIDATION):
            os.kill(os.getpid(), signal.SIGTERM)


class Witness(keras.callbacks.Callback):
    """What another callback sees: every batch once, in order, and each epoch's logs."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []
        self.epoch = 0

    def get_state(self) -> list[Any]:
        return self.seen

    def set_state(self, state: list[Any]) -> None:
        self.seen = list(state)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.seen.append(("begin", self.epoch, batch))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.seen.append(("end", self.epoch, batch, {k: float(v) for k, v in (logs or {}).items()}))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.seen.append(("epoch", epoch, {k: float(v) for k, v in (logs or {}).items()}))


@dataclass
class Ended:
    """How a training ended: every variable as bytes, the history, and what a witness saw."""

    code: int | None
    state: dict[str, bytes]
    history: dict[str, list[float]]
    seen: list[Any]


Script = Callable[[list[keras.callbacks.Callback]], tuple[keras.Model, Any]]


def once(script: Script, directory: Path, stop: Stop | None = None, seed: int | None = 3, **resume: Any) -> Ended:
    """One start of ``script``: it gets the callbacks to use and returns its model and history. ``seed`` is the global
    one that it sets; None: it sets none.
    """
    close_session()
    _clear()
    if keras.backend.backend() == "tensorflow":
        _run_as_graphs()
    _set_seed(seed)
    witness = Witness()
    try:
        model, history = as_main(script, [StopAt(stop), witness, holdfast.Resume(directory=directory, **resume)])
    except SystemExit as error:
        return Ended(int(str(error.code)), {}, {}, witness.seen)
    finally:
        close_session()
    return Ended(None, state_of(model), history.history, witness.seen)


def _clear() -> None:
    if _OF_KERAS_2:
        keras.backend.clear_session()
    else:
        keras.utils.clear_session(free_memory=False)


def _run_as_graphs() -> None:
    import tensorflow as tf

    tf.config.run_functions_eagerly(False)


def _set_seed(seed: int | None) -> None:
    if seed is not None:
        keras.utils.set_random_seed(seed)
        return
    if (tf := sys.modules.get("tensorflow")) is not None:
        tf.random.set_seed(None)
    random.seed()
    np.random.seed()


def as_main(script: Callable[..., Any], *arguments: Any) -> Any:
    """Calls it from a main module of its own, as a process would: the line of the test makes no difference."""
    names = {"__name__": "__main__", "script": script, "arguments": arguments}
    exec(compile("result = script(*arguments)", "script.py", "exec"), names)  # noqa: S102
    return names["result"]


def interrupted(script: Script, directory: Path, *stops: Stop, **resume: Any) -> Ended:
    """``script`` stopped at each of ``stops`` and started again; each stop must really stop it, with 75."""
    for stop in stops:
        code = once(script, directory, stop, **resume).code
        assert code == 75, f"the stop at {stop} ended with {code}"
    return once(script, directory, **resume)


def state_of(model: keras.Model) -> dict[str, bytes]:
    of_model = [one for one in model.variables if hasattr(one, "shape")]  # Keras 2 has the words of layers there
    variables = [*of_model, *(variable for metric in model.metrics for variable in metric.variables)]
    if model.optimizer is not None:
        listed = model.optimizer.variables
        variables += listed if isinstance(listed, list | tuple) else listed()  # of a legacy one of Keras 2
    return {f"{i} {_path(v)}": b"".join(map(_bytes, _copies(v))) for i, v in enumerate(variables)}


def _path(variable: Any) -> str:
    return str(getattr(variable, "path", variable.name))


def _copies(variable: Any) -> tuple[Any, ...]:
    """One of each replica."""
    value = variable if callable(variable.value) else variable.value
    copies = getattr(value, "values", None)
    return copies if isinstance(copies, tuple) else (value,)


def _bytes(value: Any) -> bytes:
    return np.asarray(value if _OF_KERAS_2 else keras.ops.convert_to_numpy(value)).tobytes()


def assert_same(left: Ended, right: Ended) -> None:
    assert left.code is right.code is None
    assert [k for k in left.state if left.state[k] != right.state.get(k)] == []
    assert set(left.state) == set(right.state)
    assert left.history == right.history
    assert left.seen == right.seen
