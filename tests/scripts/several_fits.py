"""A script with several fits, which prints what it would report after each. Arguments: which fits (a function here).

Environment: HOLD_AT (a fit's name, an epoch and a batch; or a name and nothing, for the point after that fit: stay
there), RAISE (raise there instead, once, as this file tells), DONE (the folder in which a tuner notes what is done).
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np

import holdfast

X = np.random.default_rng(4).random((24, 4), "float32")
DONE = Path(os.environ.get("DONE", "done"))


class Hold(keras.callbacks.Callback):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.epoch = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        at(f"{self.name},{self.epoch},{batch}")


def at(where: str) -> None:
    if os.environ.get("HOLD_AT") != where:
        return
    once = os.environ.get("RAISE")
    if once is None:
        print("holding", flush=True)
        time.sleep(60)
    elif not os.path.exists(once):
        Path(once).touch()
        raise RuntimeError("once")


def build(units: int = 3, rate: float = 0.01, dropout: float = 0.2, optimizer: str = "adam") -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(units, "tanh"),
            keras.layers.Dropout(dropout, seed=3),
            keras.layers.Dense(4),
        ]
    )
    chosen = keras.optimizers.Adam(rate) if optimizer == "adam" else keras.optimizers.SGD(rate)
    model.compile(chosen, "mse")
    return model


def train(model: keras.Model, name: str, epochs: int, x: Any = X, seed: int = 4, **given: Any) -> Any:
    callbacks = [Hold(name), holdfast.Resume()]
    data = holdfast.dataset(x, x, batch_size=8, seed=seed)
    return model.fit(data, epochs=epochs, verbose=0, shuffle=False, callbacks=callbacks, **given)


def report(name: str, model: keras.Model, history: Any) -> None:
    state = b"".join(np.asarray(v.value).tobytes() for v in [*model.variables, *model.optimizer.variables])
    score = model.evaluate(X, X, verbose=0)
    losses = [round(loss, 6) for loss in history.history.get("loss", [])]
    print("report", name, hashlib.sha256(state).hexdigest()[:12], f"{score:.6f}", losses, flush=True)


def is_done(name: str) -> bool:
    """A tuner's way: what is done is skipped."""
    return (DONE / name).exists()


def note_done(name: str) -> None:
    DONE.mkdir(exist_ok=True)
    (DONE / name).touch()


def pretrain() -> None:
    model = build()
    report("first", model, train(model, "first", 3))
    at("between")
    report("second", model, train(model, "second", 2))
    at("after")


def two_models() -> None:
    teacher, pupil = build(5), build(5)
    report("teacher", teacher, train(teacher, "teacher", 3))
    at("between")
    report("pupil", pupil, train(pupil, "pupil", 3))
    report("teacher", teacher, teacher.history)
    at("after")


def folds() -> None:
    for fold in range(3):
        model = build()
        report(f"fold{fold}", model, train(model, f"fold{fold}", 2, X[fold * 8 : fold * 8 + 16]))
        at(f"after{fold}")


def tuner() -> None:
    for number, dropout in enumerate([0.1, 0.2, 0.3]):
        if not is_done(f"trial{number}"):
            model = build(dropout=dropout)
            report(f"trial{number}", model, train(model, f"trial{number}", 2))
            note_done(f"trial{number}")
            at(f"after{number}")


def ensemble() -> None:
    """Members that differ in nothing but their turn of the loop, and are seeded by nobody."""
    for member in range(3):
        if not is_done(f"member{member}"):
            model = build()
            report(f"member{member}", model, train(model, f"member{member}", 2))
            note_done(f"member{member}")
            at(f"after{member}")


def equal() -> None:
    for _ in range(3):
        model = build()
        report("equal", model, train(model, "equal", 2))
        at("after")


def retry() -> None:
    model = build()
    for attempt in range(3):
        try:
            history = train(model, "retried", 4)
        except RuntimeError:
            print(f"attempt {attempt} failed", flush=True)
        else:
            report("retried", model, history)
            break


def stage() -> None:
    number = int(sys.argv[2])
    keras.utils.set_random_seed(number)
    model = build()
    report(f"stage{number}", model, train(model, f"stage{number}", 1 + number, X * number))
    at(f"after{number}")


if sys.argv[1] != "ensemble":
    keras.utils.set_random_seed(7)
{f.__name__: f for f in (pretrain, two_models, folds, tuner, ensemble, equal, retry, stage)}[sys.argv[1]]()
