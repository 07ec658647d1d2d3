"""The training that the benchmarks start as a script: no data to load, a state of a chosen size.

Environment: KERAS_BACKEND, KERAS (2 for tf_keras), MEGABYTES, STEPS (an epoch), EPOCHS, PLAIN (without holdfast),
STAMP (a file for the time at which the first new batch was done, in seconds since 1970), SAY (one line for each batch
with its seconds), ALONE (before all, write a pair without a supervisor, and say how long it takes).
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np

if os.environ.get("KERAS") == "2":
    import tf_keras as keras
else:
    import keras

WIDTHS = {1: (145, 4), 100: (2048, 2), 1000: (4096, 5)}


class Stamp(keras.callbacks.Callback):
    """Real batches only: those that a resumed epoch drops are muted, for this callback is not holdfast's."""

    began = 0.0

    def on_train_batch_begin(self, batch, logs=None):
        self.began = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        if "SAY" in os.environ:
            print(f"batch {time.perf_counter() - self.began:.4f}", flush=True)
        if (path := os.environ.pop("STAMP", None)) is not None:
            Path(path).write_text(str(time.time()))


def write_alone(model: keras.Model, batch: tuple[np.ndarray, np.ndarray]) -> None:
    from tempfile import TemporaryDirectory

    from holdfast.spool import Spool
    from holdfast.training.keras import snapshot
    from holdfast.training.keras.watched import Watched
    from holdfast.training.pair import pair_files
    from holdfast.training.session.base import Session

    model.train_on_batch(*batch)
    for turn in range(3):
        with TemporaryDirectory() as folder:
            session = Session(Spool(Path(folder)), 1, 1, None, durable=False)
            began = time.perf_counter()
            pair_files.write(
                session, snapshot.take(Watched(model), pair_files.Position(0, 1, 1), "bench", {}, {}, print)
            )
            if turn:
                print(f"pair {time.perf_counter() - began:.4f}", flush=True)


def main() -> None:
    width, depth = WIDTHS[int(os.environ["MEGABYTES"])]
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.layers.Input((width,)), *(keras.layers.Dense(width) for _ in range(depth))])
    model.compile("adam", "mean_squared_error")
    x = np.random.default_rng(0).random((32, width), "float32")
    if "ALONE" in os.environ:
        write_alone(model, (x, x))
    callbacks: list[keras.callbacks.Callback] = [Stamp()]
    if "PLAIN" not in os.environ:
        import holdfast

        callbacks.append(holdfast.Resume())
    steps, given = int(os.environ["STEPS"]), {"epochs": int(os.environ["EPOCHS"]), "shuffle": False, "verbose": 0}
    if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
        import tensorflow as tf

        model.fit(tf.data.Dataset.from_tensors((x, x)).repeat(steps), callbacks=callbacks, **given)
    else:
        x = np.tile(x, (steps, 1))
        model.fit(x, x, batch_size=32, callbacks=callbacks, **given)


if __name__ == "__main__":
    main()
