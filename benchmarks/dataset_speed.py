"""How fast ``fit`` trains from ``holdfast.dataset``, against the same arrays given to ``fit`` directly.

    python benchmarks/dataset_speed.py [--rounds 15]

Both are timed in turn, epoch by epoch, in one process; the ratio is that of the medians (1 is equal, more is faster).
The models are small on purpose: the less a step costs, the more the data's own cost shows.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np

import holdfast


def dense() -> keras.Model:
    return keras.Sequential([keras.layers.Input((64,)), keras.layers.Dense(32, "relu"), keras.layers.Dense(10)])


def convolution() -> keras.Model:
    layers = keras.layers
    return keras.Sequential(
        [layers.Input((28, 28, 1)), layers.Conv2D(8, 3, activation="relu"), layers.Flatten(), layers.Dense(10)]
    )


def measure(build, shape: tuple[int, ...], samples: int, rounds: int) -> tuple[float, float]:
    """Median seconds an epoch: from arrays, from the dataset."""
    rng = np.random.default_rng(0)
    x, y = rng.random((samples, *shape), "float32"), rng.integers(0, 10, samples)
    model = build()
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    ours = holdfast.dataset(x, y, batch_size=64, seed=1)
    times: dict[str, list[float]] = {"arrays": [], "dataset": []}
    for turn in range(rounds + 1):
        for kind in ("arrays", "dataset") if turn % 2 else ("dataset", "arrays"):
            given = {"x": x, "y": y, "batch_size": 64} if kind == "arrays" else {"x": ours, "shuffle": False}
            began = time.perf_counter()
            model.fit(**given, epochs=3, verbose=0)
            times[kind].append((time.perf_counter() - began) / 3)
    return statistics.median(times["arrays"][1:]), statistics.median(times["dataset"][1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    print("| model | arrays, s an epoch | holdfast.dataset | ratio | to reach 0.95 |")
    print("| --- | --- | --- | --- | --- |")
    for build, shape, samples in ((dense, (64,), 60_000), (convolution, (28, 28, 1), 20_000)):
        arrays, dataset = measure(build, shape, samples, rounds)
        ratio = arrays / dataset
        verdict = "reached" if ratio >= 0.95 else "not reached"
        print(f"| {build.__name__} | {arrays:.3f} | {dataset:.3f} | {ratio:.2f} | {verdict} |")


if __name__ == "__main__":
    main()
