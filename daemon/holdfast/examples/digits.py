"""Handwritten digits: a small convolutional network that can be interrupted at any moment.

    holdfast run --store s3://bucket/runs --run digits -- python -m holdfast.examples.digits --epochs 3

The data is real and needs no network: ``digits.csv.gz`` is the test set of E. Alpaydin and C. Kaynak's Optical
Recognition of Handwritten Digits, https://doi.org/10.24432/C50P49 (UCI Machine Learning Repository, CC BY 4.0). It has
1,797 lines, each of 8 × 8 values from 0 to 16 and the digit. ``--mnist`` takes MNIST through ``keras.datasets``, which
downloads it. All that holdfast asks of a script is the import, the dataset and the callback.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

import holdfast

INITIAL_RATE, FACTOR, EPOCHS_PER_STEP = 1e-3, 0.75, 10


def step_decay(epoch: int) -> float:
    """1e-3 at first, three quarters of it after every 10 epochs."""
    return INITIAL_RATE * FACTOR ** (epoch // EPOCHS_PER_STEP)


def load_digits() -> tuple[np.ndarray, np.ndarray]:
    rows = np.loadtxt(Path(__file__).with_name("digits.csv.gz"), delimiter=",", dtype="int64")
    return rows[:, :-1].reshape(-1, 8, 8, 1).astype("float32") / 16, rows[:, -1]


def load_mnist() -> tuple[np.ndarray, np.ndarray]:
    (images, labels), _ = keras.datasets.mnist.load_data()
    return images[..., None].astype("float32") / 255, labels.astype("int64")


def build(shape: tuple[int, ...]) -> keras.Model:
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input(shape),
            layers.RandomTranslation(0.1, 0.1, seed=3),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.BatchNormalization(),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Dropout(0.25, seed=4),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.5, seed=5),
            layers.Dense(10, activation="softmax"),
        ]
    )


def elapsed(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min {rest} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--mnist", action="store_true", help="train on MNIST (downloads it)")
    arguments = parser.parse_args()
    began = time.monotonic()

    keras.utils.set_random_seed(arguments.seed)
    images, labels = load_mnist() if arguments.mnist else load_digits()
    held_out = len(images) // 5
    train = holdfast.dataset(images[held_out:], labels[held_out:], batch_size=arguments.batch_size, seed=arguments.seed)

    model = build(images.shape[1:])
    model.compile(keras.optimizers.Adam(INITIAL_RATE), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(
        train,
        epochs=arguments.epochs,
        validation_data=(images[:held_out], labels[:held_out]),
        callbacks=[keras.callbacks.LearningRateScheduler(step_decay), holdfast.Resume()],
        shuffle=False,  # the dataset does it
        verbose=2,
    )

    loss, accuracy = model.evaluate(images[:held_out], labels[:held_out], verbose=0)
    print(f"evaluation: loss {loss:.4f}, accuracy {accuracy:.2%}")
    print(f"elapsed: {elapsed(time.monotonic() - began)}")


if __name__ == "__main__":
    main()
