"""What a checkpoint costs on a GPU, and whether a resumed training ends as an undisturbed one there.

    python benchmarks/gpu.py [--backend torch|jax] [--sizes 1000 8000] [--seconds 230]

Keras with PyTorch or JAX, h5py and holdfast are all it needs. Prints: for a convolutional model and a transformer, with
deterministic settings, the variables that differ between two undisturbed trainings, and from an interrupted one; for
states of so many MB the longest step with a checkpoint, less a usual one, and the hook alone, for holdfast.Resume and
for Keras' ModelCheckpoint; the peak of the device's memory; the time until a later process trains on. What is left when
the seconds are over is left out, and named.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

DETERMINISTIC = {
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "XLA_FLAGS": "--xla_gpu_deterministic_ops=true --xla_gpu_autotune_level=0",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}
STEPS, STOP_AT, EVERY = 24, 10, 4
SAVES = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found = [name for name in ("torch", "jax") if importlib.util.find_spec(name) is not None]
    parser.add_argument("--backend", choices=("torch", "jax"), default=(found or ["torch"])[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=[1000, 8000], metavar="MB")
    parser.add_argument("--seconds", type=float, default=230.0)
    parser.add_argument("--work", nargs="*", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        print(json.dumps(work(*given.work)))
        return
    until = time.monotonic() + given.seconds
    flags = " ".join([os.environ.get("XLA_FLAGS", ""), DETERMINISTIC["XLA_FLAGS"]]).strip()
    own = {**DETERMINISTIC, "XLA_FLAGS": flags, "KERAS_BACKEND": given.backend}
    run = Runs({**os.environ, **own}, until)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(f"{given.backend} on {run('device', folder).get('device', 'nothing that answers')}\n", flush=True)
        for kind in ("convolutional", "transformer"):
            drill(run, kind, folder)
        for size in given.sizes:
            cost(run, size, folder)


class Runs:
    """Starts a process for each part; nothing once the time is over."""

    def __init__(self, environment: dict[str, str], until: float) -> None:
        self._environment = environment
        self._until = until

    def __call__(self, *words: Any) -> dict[str, Any]:
        left = self._until - time.monotonic()
        command = [sys.executable, __file__, "--work", *map(str, words)]
        try:
            ended = subprocess.run(
                command, env=self._environment, capture_output=True, text=True, timeout=max(left, 0.1), check=False
            )
        except subprocess.TimeoutExpired:
            return {"left_out": True}
        if ended.returncode == 75:
            return {}
        if ended.returncode:
            sys.exit(ended.stderr[-3000:])
        answer: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
        return answer


def drill(run: Runs, kind: str, folder: Path) -> None:
    one, two = (run("train", kind, folder / f"{kind}-{name}", -1) for name in ("one", "two"))
    run("train", kind, folder / f"{kind}-stopped", STOP_AT)
    resumed = run("train", kind, folder / f"{kind}-stopped", -1)
    for what, other in (("a second undisturbed training", two), ("an interrupted training", resumed)):
        if any("left_out" in answer for answer in (one, other)):
            print(f"{kind}: {what}: left out, the time was over")
            continue
        differ = [name for name, value in one["end"].items() if other["end"].get(name) != value]
        print(f"{kind}: {what}: {'identical' if not differ else 'differs in ' + ', '.join(differ)}", flush=True)


def cost(run: Runs, size: int, folder: Path) -> None:
    """holdfast first, as the time may end; what is on the disk goes as soon as it can, for it is tens of gigabytes."""
    for saver in ("Resume", "ModelCheckpoint"):
        place = folder / f"{size}-{saver}"
        found = run("cost", saver, size, place)
        if "left_out" in found:
            print(f"{size} MB, {saver}: left out, the time was over")
        else:
            print(
                f"{size} MB, {saver}: a step {found['step']:.4f} s, held {found['held']:.3f} s, "
                f"hook {found['hook']:.3f} s, "
                f"device memory at most {found['memory'] / 1e6:.0f} MB",
                flush=True,
            )
        if saver == "Resume":
            again = run("cost", "again", size, place)
            start = f"{again['start']:.2f} s" if "start" in again else "left out"
            print(f"{size} MB: until a later process trains on: {start}", flush=True)
        shutil.rmtree(place, ignore_errors=True)


# --- in a process of its own


def work(part: str, *words: str) -> dict[str, Any]:
    import keras

    if keras.backend.backend() == "torch":
        import torch

        torch.use_deterministic_algorithms(True)
    parts = {"device": device, "train": train, "cost": measure}
    return parts[part](*words)


def device(folder: str) -> dict[str, Any]:
    import keras

    if keras.backend.backend() == "torch":
        import torch

        return {"device": torch.cuda.get_device_name() if torch.cuda.is_available() else "the CPU"}
    import jax

    return {"device": jax.devices()[0].device_kind}


def train(kind: str, folder: str, stop: str) -> dict[str, Any]:
    import keras
    import numpy as np

    import holdfast

    class Stop(keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if batch == int(stop):
                os.kill(os.getpid(), signal.SIGTERM)

    keras.utils.set_random_seed(1)
    rng = np.random.default_rng(0)
    layers = keras.layers
    if kind == "convolutional":
        x = rng.random((STEPS * 16, 32, 32, 3), "float32")
        body = [layers.Conv2D(32, 3), layers.BatchNormalization(), layers.ReLU(), layers.Conv2D(64, 3, strides=2)]
        model = keras.Sequential(
            [keras.Input(x.shape[1:]), *body, layers.GlobalAveragePooling2D(), layers.Dropout(0.2)]
        )
        model.add(layers.Dense(10))
    else:
        x = rng.integers(0, 1000, (STEPS * 16, 64))
        inputs = keras.Input((64,), dtype="int32")
        hidden = layers.Embedding(1000, 64)(inputs)
        attended = layers.MultiHeadAttention(4, 16, dropout=0.1)(hidden, hidden)
        hidden = layers.LayerNormalization()(layers.Add()([hidden, attended]))
        model = keras.Model(
            inputs, layers.Dense(10)(layers.GlobalAveragePooling1D()(layers.Dense(128, "gelu")(hidden)))
        )
    y = rng.integers(0, 10, len(x))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(x, y, batch_size=16, epochs=2, verbose=0, callbacks=[Stop(), holdfast.Resume(folder)])
    return {"end": {v.path: np.asarray(v).tobytes().hex() for v in [*model.variables, *model.optimizer.variables]}}


def measure(saver: str, size: str, folder: str) -> dict[str, Any]:
    import keras
    import numpy as np

    import holdfast

    hooks: list[float] = []
    ends: list[float] = []
    first: list[float] = []

    class Resume(holdfast.Resume):  # type: ignore[misc]
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            began = time.perf_counter()
            super().on_train_batch_begin(batch, logs)
            hooks.append(time.perf_counter() - began)

    class Keras(keras.callbacks.ModelCheckpoint):  # type: ignore[misc]
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            began = time.perf_counter()
            super().on_train_batch_end(batch, logs)
            hooks.append(time.perf_counter() - began)

    class Clock(keras.callbacks.Callback):  # type: ignore[misc]
        def get_state(self) -> None:
            """Its times are of this process alone."""

        def set_state(self, state: None) -> None:
            pass

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            first.append(time.perf_counter())

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            float((logs or {}).get("loss", 0))  # what the device still computes is waited for
            ends.append(time.perf_counter())

    width = 1024
    rows = int(size) * 1_000_000 // (3 * 4 * width)  # Adam keeps two slots for each weight
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((4,), dtype="int32"), keras.layers.Embedding(rows, width)])
    model.add(keras.layers.GlobalAveragePooling1D())
    model.add(keras.layers.Dense(1))
    model.compile("adam", "mse")
    steps = EVERY * SAVES + 2
    x, y = np.arange(steps * 8 * 4).reshape(-1, 4) % rows, np.zeros((steps * 8, 1))
    named = os.path.join(folder, "{batch}.keras")
    os.makedirs(folder, exist_ok=True)
    own = Keras(named, save_freq=EVERY) if saver == "ModelCheckpoint" else Resume(folder, every=EVERY, keep=1)
    epochs = 2 if saver == "again" else 1
    began = time.perf_counter()
    model.fit(x, y, batch_size=8, epochs=epochs, shuffle=False, verbose=0, callbacks=[own, Clock()])
    if saver == "again":
        return {"start": first[0] - began}
    took = [after - before for before, after in itertools.pairwise(ends)]
    usual = statistics.median(took)
    return {"step": usual, "held": max(took[1:]) - usual, "hook": max(hooks[1:]), "memory": peak()}


def peak() -> int:
    import keras

    if keras.backend.backend() == "torch":
        import torch

        return int(torch.cuda.max_memory_allocated()) if torch.cuda.is_available() else 0
    import jax

    return int((jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0))


if __name__ == "__main__":
    main()
