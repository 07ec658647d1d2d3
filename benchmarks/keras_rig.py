"""A Keras training whose steps are timed one by one, and the callbacks that are compared on it."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from measure import RIVALS
from supervised import quiet_supervisor

import holdfast
from holdfast.training.session.open import close_session

SHAPES = {1: (145, 4), 10: (646, 2), 100: (2048, 2), 250: (3240, 2), 1000: (4096, 5), 4000: (8192, 5)}
logging.getLogger("absl").setLevel(logging.ERROR)  # Keras advises against HDF5 at each save
warnings.filterwarnings("ignore", module="keras")
Callbacks = list[keras.callbacks.Callback]


def model_of(megabytes: int) -> keras.Model:
    """Weights and Adam's two slots together have about that size: three numbers of four bytes a weight."""
    width, depth = SHAPES[megabytes]
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.layers.Input((width,)), *(keras.layers.Dense(width) for _ in range(depth))])
    model.compile("adam", "mean_squared_error")
    return model


def state_bytes(model: keras.Model) -> int:
    variables = [*model.variables, *model.optimizer.variables]
    return sum(int(np.prod(v.shape)) * np.dtype(v.dtype).itemsize for v in {id(v): v for v in variables}.values())


@dataclass
class Times:
    """Of one ``fit``: when each step began and ended, what the hooks at the epochs' ends took, and all CPU time."""

    steps: list[tuple[float, float]] = field(default_factory=list)
    hooks: list[float] = field(default_factory=list)
    cpu: float = 0.0
    whole: bool = True


class Rig:
    """``steps`` a pass over the data. Every ``fit`` is timed, whatever its callbacks are."""

    def __init__(self, megabytes: int, batch: int, steps: int) -> None:
        self.model = model_of(megabytes)
        self.steps = steps
        width = self.model.input_shape[-1]
        x = np.random.default_rng(0).random((batch, width), "float32")
        quiet = tf.data.Options()
        quiet.autotune.enabled = False  # its thread sleeps for a second, and an epoch's end may wait for it
        self.data = tf.data.Dataset.from_tensors((x, x)).repeat(steps).with_options(quiet)
        self._times = Times()
        self._all_written: Callable[[], bool] = lambda: True
        self.fit([], 1)  # traces the step and makes the slots
        inner = self.model.train_function

        def timed(iterator: Any) -> Any:
            began = time.perf_counter()
            logs = inner(iterator)
            self._times.steps.append((began, time.perf_counter()))
            return logs

        self.model.train_function = timed
        self._time_hooks()
        self.size = state_bytes(self.model)

    def fit(self, callbacks: Callbacks, epochs: int, all_written: Callable[[], bool] = lambda: True) -> Times:
        """``all_written`` is asked at the end of the last step: have all checkpoints but the last one been written?"""
        self._times, self._all_written = Times(), all_written
        self._epochs = epochs
        before = time.process_time()
        self.model.fit(self.data, epochs=epochs, shuffle=False, verbose=0, callbacks=callbacks)
        self._times.cpu = time.process_time() - before
        return self._times

    def _time_hooks(self) -> None:
        original = keras.callbacks.CallbackList.on_epoch_end

        def timed(callbacks: Any, epoch: int, logs: Any = None) -> None:
            if epoch + 1 == self._epochs:
                self._times.whole = self._all_written()
            began = time.perf_counter()
            original(callbacks, epoch, logs)
            self._times.hooks.append(time.perf_counter() - began)

        keras.callbacks.CallbackList.on_epoch_end = timed


@contextlib.contextmanager
def checkpointing(kind: str, folder: Path) -> Iterator[tuple[Callbacks, Callable[[int], bool]]]:
    """The callbacks of that kind, and a function that tells if so many checkpoints are on disk by now."""
    path = Path(tempfile.mkdtemp(dir=folder))
    try:
        if kind in ("holdfast", "holdfast, fsync"):
            with _resume(path, supervised=kind == "holdfast") as found:
                yield found
        else:
            yield _KERAS[kind](path), lambda _: True
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _model_checkpoint(path: Path) -> Callbacks:
    return [keras.callbacks.ModelCheckpoint(str(path / "model.h5"))]


def _backup(path: Path) -> Callbacks:
    return [keras.callbacks.BackupAndRestore(str(path / "backup"))]


def _orbax(path: Path) -> Callbacks:
    return [keras.callbacks.OrbaxCheckpoint(str(path / "orbax"), save_freq="epoch", max_to_keep=1)]


_KERAS: dict[str, Callable[[Path], Callbacks]] = {
    "none": lambda path: [],
    "ModelCheckpoint": _model_checkpoint,
    "BackupAndRestore": _backup,
    "OrbaxCheckpoint": _orbax,
}


@contextlib.contextmanager
def _resume(path: Path, supervised: bool) -> Iterator[tuple[Callbacks, Callable[[int], bool]]]:
    """Alone, it makes every file durable. Under a supervisor whose store is S3 that is the store's part."""
    with contextlib.ExitStack() as held:
        held.callback(close_session)
        if supervised:
            held.enter_context(quiet_supervisor(path))
        run_dir = path / ("00001-bench" if supervised else f"00001-{Path(sys.argv[0]).stem}")
        yield (
            [holdfast.Resume(path, keep=2)],
            lambda count: len(list(run_dir.glob("model-*.json"))) >= min(count, 2),
        )


def with_rivals() -> None:
    """Makes what `make bench` put aside importable: behind all else, so that it replaces nothing."""
    if RIVALS.is_dir():
        sys.path.append(str(RIVALS))
