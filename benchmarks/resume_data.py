"""From the restored model to the first new batch, near an epoch's end against its beginning, for data that has a state;
and what the state adds to the time that a checkpoint holds the training.

    python benchmarks/resume_data.py [--quick]

An epoch has 2,000 batches, and to make one takes 5 ms of a core (a product of matrices in a ``map``; a wait in
``__getitem__``). Each start is a process of its own. What is timed begins with the epoch that is resumed, when all is
restored, and ends with the first new batch: the graph of the training's step is made in it, in both.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure import Spread, Verdict, arguments, conclude, machine, table, turns

BATCHES, SECONDS, IMAGES = 2000, 0.005, 10_000
IMAGES_KIND = "tf.data, 10,000 images in its shuffle"
KINDS = ("tf.data", IMAGES_KIND, "PyDataset")
EVERY, SAVES = 50, 15
ALONE = "TensorFlow's SerializeIterator alone"


# --- the training process --------------------------------------------------------------------------------------------


def child(kind: str, directory: str, stop: int, batches: int) -> None:
    import keras

    import holdfast

    began = [0.0]

    class Watch(keras.callbacks.Callback):
        """Stops the process after a batch, or says when the first new one was done."""

        def get_state(self) -> None:
            return None

        def set_state(self, state: Any) -> None:
            pass

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            began[0] = time.perf_counter()

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if not stop:
                print(json.dumps(time.perf_counter() - began[0]), flush=True)
                os._exit(0)
            if batch + 1 == stop:
                os.kill(os.getpid(), signal.SIGTERM)

    keras.utils.set_random_seed(1)
    model(keras).fit(data(kind, batches), epochs=2, verbose=0, callbacks=[holdfast.Resume(directory), Watch()])


def model(keras: Any) -> Any:
    made = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8), keras.layers.Dense(1)])
    made.compile("sgd", "mse")
    return made


def data(kind: str, batches: int) -> Any:
    import keras
    import numpy as np
    import tensorflow as tf

    if kind == "PyDataset":

        class Slow(keras.utils.PyDataset):
            def __len__(self) -> int:
                return batches

            def __getitem__(self, index: int) -> Any:
                time.sleep(SECONDS)
                return np.full((4, 4), index / batches, "float32"), np.zeros((4, 1), "float32")

        return Slow()
    size = side(tf)

    def slow(x: Any) -> Any:
        square = tf.fill((size, size), tf.reduce_mean(tf.cast(x, tf.float32)))
        return tf.fill((4, 4), 1e-12 * (square @ square)[0, 0]), tf.zeros((4, 1))

    if kind == "tf.data":
        return tf.data.Dataset.range(batches).shuffle(200).map(slow).prefetch(2)
    images = np.random.default_rng(1).integers(0, 255, (IMAGES + batches, 32, 32, 3), "uint8")
    shuffled = tf.data.Dataset.from_tensor_slices(images).shuffle(IMAGES)
    return shuffled.take(batches).map(slow).prefetch(2)


def side(tf: Any) -> int:
    """Of square matrices whose product takes about SECONDS."""
    size = 256
    square = tf.ones((size, size))
    product = tf.function(lambda a: a @ a)
    product(square)
    began = time.perf_counter()
    for _ in range(20):
        product(square)
    return int(size * (SECONDS / ((time.perf_counter() - began) / 20)) ** (1 / 3))


# --- what is measured ------------------------------------------------------------------------------------------------


def run(kind: str, directory: Path, stop: int, batches: int) -> str:
    words = [sys.executable, __file__, "--child", kind, str(directory), str(stop), str(batches)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 75):
        raise SystemExit(done.stderr)
    return done.stdout


def resumed(kind: str, stored: Path, folder: Path, batches: int) -> float:
    """Seconds. The pair is as it was for the next one."""
    copy = folder / "resumed"
    shutil.copytree(stored, copy)
    try:
        return float(run(kind, copy, 0, batches))
    finally:
        shutil.rmtree(copy)


def held(rounds: int, folder: Path) -> dict[str, float]:
    """Median seconds of the hook at a checkpoint, with data whose state is kept and with data that has none; and of the
    operation that takes the state.
    """
    import keras
    import tensorflow as tf

    import holdfast
    from holdfast.training.session.open import close_session

    class Timed(holdfast.Resume):
        times: list[float]

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            while batch % EVERY == 0 and any(one.name == "holdfast-writer" for one in threading.enumerate()):
                time.sleep(0.01)  # else this checkpoint is put off
            began = time.perf_counter()
            super().on_train_batch_begin(batch, logs)
            self.times.append(time.perf_counter() - began)

    samples = (tf.random.uniform((4000, 4)), tf.zeros((4000, 1)))
    kinds: dict[str, Callable[[], Any]] = {
        "holdfast.dataset": lambda: holdfast.dataset(*samples, batch_size=4, seed=1),
        "tf.data": lambda: tf.data.Dataset.from_tensor_slices(samples).shuffle(200).batch(4).prefetch(2),
    }
    large = keras.Sequential([keras.Input((4,)), *(keras.layers.Dense(512) for _ in range(4)), keras.layers.Dense(1)])
    large.compile("adam", "mse")
    alone = iter(kinds["tf.data"]())
    found: dict[str, list[float]] = {kind: [] for kind in (*kinds, ALONE)}
    for turn, kind in turns(tuple(kinds), rounds + 1):
        timed = Timed(folder / f"held-{turn}-{len(kind)}", every=EVERY, keep=1)
        timed.times = []
        large.fit(kinds[kind](), epochs=1, verbose=0, callbacks=[timed])
        if turn:
            found[kind] += sorted(timed.times)[-SAVES:]  # the hook takes microseconds where nothing is saved
            found[ALONE] += [_serialized(tf, alone) for _ in range(SAVES)]
    close_session()
    return {kind: Spread.of(times).median for kind, times in found.items()}


def _serialized(tf: Any, iterator: Any) -> float:
    """Seconds of TensorFlow's operation."""
    next(iterator)
    began = time.perf_counter()
    tf.raw_ops.SerializeIterator(resource_handle=iterator._iterator_resource)
    return time.perf_counter() - began


def main() -> None:
    given = arguments(__doc__)
    batches, rounds = (200, 1) if given.quick else (BATCHES, 5)
    first, late = 1, batches * 9 // 10
    print(f"{machine()}.\n")
    rows, middle = [], {}
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as name:
        folder = Path(name)
        for kind in KINDS:
            stored = {stop: folder / f"{len(kind)}-{stop}" for stop in (first, late)}
            for stop, directory in stored.items():
                run(kind, directory, stop, batches)
            found: dict[str, list[float]] = {str(stop): [] for stop in stored}
            for _, stop in turns(tuple(found), rounds):
                found[stop].append(resumed(kind, stored[int(stop)], folder, batches))
            middle[kind] = {int(stop): Spread.of(times).median for stop, times in found.items()}
            rows.append((kind, *(Spread.of(times).text(digits=2) for times in found.values())))
        table(("data", "seconds at the first batch", "at 90 % of the epoch"), rows)
        hook = held(1 if given.quick else 5, folder)
    small = middle[KINDS[0]][first]
    conclude(*(_verdict(kind, small if kind == IMAGES_KIND else of[first], of[late]) for kind, of in middle.items()))
    ratio = hook["tf.data"] / hook["holdfast.dataset"]
    text = f"{ratio:.2f} ({hook['tf.data'] * 1e3:.1f} against {hook['holdfast.dataset'] * 1e3:.1f} ms)"
    limit = f"{ALONE}: {hook[ALONE] * 1e3:.1f} ms, beside the rest"
    conclude(Verdict("held per checkpoint with a small state of data, to without", "1.1 x", text, ratio <= 1.1, limit))


def _verdict(kind: str, first: float, late: float) -> Verdict:
    what = f"restored model to first batch, at 90 % to at the first one, {kind}"
    if kind == IMAGES_KIND:
        what = "restored model to first batch, with 10,000 images in a shuffle, to without them"
        return Verdict(what, "1.5 s more", f"{late - first:.2f} s more", late - first <= 1.5)
    return Verdict(what, "1.5 x", f"{late / first:.2f} x", late <= 1.5 * first)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
    else:
        main()
