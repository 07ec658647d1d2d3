"""One Keras, in a process of its own, for backends.py: prints what a checkpoint and a batch cost there, as JSON.

    python benchmarks/backend_rig.py [--quick]

Environment: KERAS_BACKEND; KERAS=2 for tf_keras. Times are seconds. A step is counted from one batch's end to the
next one's, for no step function of a backend is touched.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from measure import Spread, arguments, differences, turns
from supervised import quiet_supervisor

import holdfast
from training import WIDTHS, keras

NONE, OURS, KERAS = "none", "holdfast", "ModelCheckpoint"
logging.getLogger("absl").setLevel(logging.ERROR)  # Keras advises against HDF5 at each save
warnings.filterwarnings("ignore")


class Ends(keras.callbacks.Callback):  # type: ignore[misc]
    """When each batch ended."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.times.append(time.perf_counter())


class Rig:
    def __init__(self, megabytes: int, batch: int, steps: int) -> None:
        width, depth = WIDTHS[megabytes]
        keras.utils.set_random_seed(1)
        layers = [keras.layers.Input((width,)), *(keras.layers.Dense(width) for _ in range(depth))]
        self.model = keras.Sequential(layers)
        self.model.compile("adam", "mean_squared_error")
        self.x = np.random.default_rng(0).random((batch * steps, width), "float32")
        self.batch, self.steps = batch, steps
        self.fit([], 1)

    def fit(self, callbacks: list[Any], epochs: int) -> list[float]:
        """The end of each batch. Each fit has the same data, and trains on from the last one's weights."""
        ends = Ends()
        given = {"batch_size": self.batch, "epochs": epochs, "shuffle": False, "verbose": 0}
        self.model.fit(self.x, self.x, callbacks=[ends, *callbacks], **given)
        return ends.times


def fit(rig: Rig, kind: str, epochs: int, every: str | int = "epoch") -> list[float]:
    folder = Path(tempfile.mkdtemp(prefix="holdfast-bench-"))
    try:
        if kind == OURS:
            with quiet_supervisor(folder):
                return rig.fit([holdfast.Resume(folder, keep=2, every=every)], epochs)
        if kind == KERAS:
            return rig.fit([keras.callbacks.ModelCheckpoint(str(folder / "model.h5"))], epochs)
        return rig.fit([], epochs)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def held(rig: Rig, rounds: int, epochs: int = 4) -> dict[str, Spread]:
    """What the first two steps after a checkpoint, and the gap before them, take beyond two usual steps."""
    found: dict[str, list[float]] = {NONE: [], OURS: [], KERAS: []}
    for turn, kind in turns(tuple(found), rounds + 1):
        ends = fit(rig, kind, epochs)
        usual = Spread.of(differences(ends[2:], ends[1:-1])).median
        firsts = [rig.steps * epoch for epoch in range(1, epochs)]
        if turn:
            found[kind] += [ends[first + 1] - ends[first - 1] - 2 * usual for first in firsts]
    base = Spread.of(found[NONE]).median
    return {kind: Spread.of([value - base for value in values]) for kind, values in found.items()}


def a_batch(rig: Rig, rounds: int) -> tuple[Spread, Spread]:
    """A batch without holdfast, and what it adds when nothing is saved."""
    found: dict[str, list[float]] = {NONE: [], OURS: []}
    for turn, kind in turns(tuple(found), rounds + 1):
        ends = fit(rig, kind, 1)
        if turn:
            found[kind].append(Spread.of(differences(ends[2:], ends[1:-1])).median)
    return Spread.of(found[NONE]), Spread.of(differences(found[OURS], found[NONE]))


def main() -> None:
    quick = arguments(__doc__).quick
    checkpoint = held(Rig(100, 64, 8), 2 if quick else 7)
    small = a_batch(Rig(1, 1, 500), 3 if quick else 21)
    usual = a_batch(Rig(1, 4096, 40), 3 if quick else 21)
    held_ = {kind: vars(spread) for kind, spread in checkpoint.items()}
    print(json.dumps({"held": held_, "batch": [[vars(one) for one in pair] for pair in (small, usual)]}))


if __name__ == "__main__":
    main()
