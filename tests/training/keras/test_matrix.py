"""Models, optimizers and options of ``fit``: interrupted at a random batch, the ending is the undisturbed one's.

``make test`` runs a few trainings that have several of these at once; ``make test-all`` runs each row by itself, and
models and optimizers in many pairs. The batches are drawn from SEED, which a failing row prints; HOLDFAST_TEST_SEED
replays it.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import holdfast

from ..restarts import VALIDATION, Script, Stop, assert_same, interrupted, once

layers = keras.layers
SEED = int(os.environ.get("HOLDFAST_TEST_SEED", random.SystemRandom().randrange(10**6)))
RNG = np.random.default_rng(2)
SAMPLES, EPOCHS, BATCHES = 48, 3, 6
IMAGES = RNG.random((SAMPLES, 8, 8, 1), "float32")
WORDS = RNG.integers(0, 30, (SAMPLES, 6))
LABELS = RNG.integers(0, 3, SAMPLES)


def convolution() -> tuple[keras.Model, Any, Any]:
    model = keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.RandomFlip(seed=1),
            layers.RandomContrast(0.2, seed=2),
            layers.Conv2D(3, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.SpatialDropout2D(0.2),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    return model, IMAGES, LABELS


def small() -> tuple[keras.Model, Any, Any]:
    """Quick to trace, with a seed generator and statistics."""
    hidden = [layers.Dense(6, "relu"), layers.BatchNormalization(), layers.Dropout(0.2)]
    model = keras.Sequential([layers.Input((8, 8, 1)), layers.Flatten(), *hidden, layers.Dense(3, "softmax")])
    return model, IMAGES, LABELS


def recurrent() -> tuple[keras.Model, Any, Any]:
    model = keras.Sequential(
        [layers.Input((6,)), layers.Embedding(30, 4), layers.LSTM(5, dropout=0.2), layers.Dense(3, "softmax")]
    )
    return model, WORDS, LABELS


def transformer() -> tuple[keras.Model, Any, Any]:
    inputs = keras.Input((6,), dtype="int32")
    x = layers.Embedding(30, 8)(inputs)
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 4, dropout=0.1)(x, x))
    x = layers.LayerNormalization()(x + layers.Dense(8, "gelu")(x))
    return keras.Model(inputs, layers.Dense(3, "softmax")(layers.Flatten()(x))), WORDS, LABELS


class OwnModel(keras.Model):
    """A subclassed model with a nested one, a seed generator and a metric of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = keras.Sequential([layers.Flatten(), layers.Dense(6, "relu"), layers.Dropout(0.3)])
        self.head = layers.Dense(3, "softmax")
        self.noise = keras.random.SeedGenerator(9)
        self.spread = keras.metrics.Mean(name="spread")

    def call(self, inputs: Any, training: bool = False) -> Any:
        x = self.inner(inputs, training=training)
        if training:
            x = x + keras.random.normal(keras.ops.shape(x), stddev=0.01, seed=self.noise)
        self.spread.update_state(keras.ops.std(x))
        return self.head(x)


def subclassed() -> tuple[keras.Model, Any, Any]:
    return OwnModel(), IMAGES, LABELS


def several_inputs_and_outputs() -> tuple[keras.Model, Any, Any]:
    picture, words = keras.Input((8, 8, 1), name="picture"), keras.Input((6,), name="words")
    joined = layers.Concatenate()([layers.Flatten()(picture), layers.Dense(4)(words)])
    outputs = {
        "kind": layers.Dense(3, "softmax", name="kind")(joined),
        "again": layers.Dense(3, "softmax", name="again")(joined),
    }
    model = keras.Model({"picture": picture, "words": words}, outputs)
    return model, {"picture": IMAGES, "words": WORDS.astype("float32")}, {"kind": LABELS, "again": LABELS}


MODELS = [convolution, recurrent, transformer, subclassed, several_inputs_and_outputs]
OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "adam": lambda: keras.optimizers.Adam(amsgrad=True),
    "adamw": lambda: keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(1e-2, 15), weight_decay=0.01),
    "sgd": lambda: keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True),
    "rmsprop": lambda: keras.optimizers.RMSprop(momentum=0.5, centered=True),
    "lion": lambda: keras.optimizers.Lion(1e-3),
    "adafactor": lambda: keras.optimizers.Adafactor(1e-2),
    "accumulating": lambda: keras.optimizers.Adam(gradient_accumulation_steps=4),
    "averaging": lambda: keras.optimizers.Adam(use_ema=True, ema_momentum=0.9),
}


def script(
    build: Any = convolution,
    optimizer: str = "adam",
    compile_: dict[str, Any] | None = None,
    others: Callable[[], list[Any]] = list,
    **fit: Any,
) -> Script:
    def run(callbacks: list[keras.callbacks.Callback]) -> tuple[keras.Model, Any]:
        model, x, y = build()
        loss: Any = "sparse_categorical_crossentropy"
        metrics: Any = dict.fromkeys(y, "accuracy") if isinstance(y, dict) else ["accuracy"]
        model.compile(OPTIMIZERS[optimizer](), loss, metrics=metrics, **(compile_ or {}))
        settings = {"epochs": EPOCHS, "verbose": 0, "shuffle": False, "validation_data": (x, y), **fit}
        made = settings.pop("data", lambda: (holdfast.dataset(x, y, batch_size=8, seed=4),))
        data = (x, y) if made is None else made()
        return model, model.fit(*data, callbacks=[*others(), *callbacks], **settings)

    return run


def random_stop(name: str, per_call: int = 1, steps: int = BATCHES) -> Stop:
    chance = random.Random(f"{SEED} {name}")
    batch = chance.choice([*range(per_call - 1, steps, per_call), VALIDATION])
    return chance.randrange(EPOCHS), batch


def check(script: Script, tmp_path: Path, *stops: Stop) -> None:
    print(f"HOLDFAST_TEST_SEED={SEED}: stops at {stops}")
    assert_same(interrupted(script, tmp_path / "stopped", *stops), once(script, tmp_path / "undisturbed"))


def test_several_inputs_and_outputs_with_a_split_for_validation_step_by_step(tmp_path: Path) -> None:
    run = script(several_inputs_and_outputs, compile_={"run_eagerly": True}, **OPTIONS["validation_split"])
    check(run, tmp_path, random_stop("several inputs", steps=6))


@pytest.mark.whole
@pytest.mark.parametrize(
    ("build", "optimizer"),
    [
        (build, optimizer)
        for row, build in enumerate(MODELS)
        for column, optimizer in enumerate(OPTIMIZERS)
        if column % len(MODELS) == row
    ],
)
def test_every_model_and_every_optimizer(tmp_path: Path, build: Any, optimizer: str) -> None:
    """Each model, and each optimizer."""
    check(script(build, optimizer), tmp_path, random_stop(f"{build.__name__} {optimizer}"))


def repeated() -> Any:
    return (holdfast.dataset(IMAGES, LABELS, batch_size=8, seed=4).repeat(),)


def weighted() -> Any:
    return (holdfast.dataset(IMAGES, LABELS, batch_size=8, seed=4, sample_weight=RNG_WEIGHTS),)


RNG_WEIGHTS = np.random.default_rng(8).random(SAMPLES).astype("float32")

OPTIONS: dict[str, dict[str, Any]] = {
    "steps_per_epoch": {"data": repeated, "steps_per_epoch": 4},
    "jit_compile": {"compile_": {"jit_compile": True}},
    "run_eagerly": {"compile_": {"run_eagerly": True}},
    "no validation": {"validation_data": None},
    "validation_split": {"data": None, "validation_split": 0.25, "batch_size": 6, "validation_data": None},
    "validation_freq": {"validation_freq": 2},
    "class_weight": {"class_weight": {0: 1.0, 1: 2.0, 2: 0.5}},
    "sample_weight": {"data": weighted},
    "initial_epoch": {"initial_epoch": 1, "epochs": EPOCHS + 1},
    "weighted metrics": {"compile_": {"weighted_metrics": ["accuracy"]}, "data": weighted},
}


@pytest.mark.whole
@pytest.mark.parametrize("option", OPTIONS)
def test_each_option_of_fit(tmp_path: Path, option: str) -> None:
    settings = dict(OPTIONS[option])
    epoch, batch = random_stop(option, steps=settings.get("steps_per_epoch") or BATCHES)
    if batch == VALIDATION and (settings.get("validation_data", 0) is None or "validation_freq" in settings):
        batch = 2
    if settings.get("initial_epoch"):
        epoch += 1
    check(script(settings.pop("build", small), **settings), tmp_path, (epoch, batch))


@pytest.mark.whole
@pytest.mark.parametrize("steps_per_execution", [2, 4])
def test_several_steps_in_one_execution(tmp_path: Path, steps_per_execution: int) -> None:
    """With 4 the last execution of an epoch is not a full one."""
    run = script(small, compile_={"steps_per_execution": steps_per_execution})
    check(run, tmp_path, (1, 3), (1, VALIDATION))


@pytest.mark.whole
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "bfloat16"])
def test_mixed_precision_with_its_loss_scale(tmp_path: Path, policy: str) -> None:
    with_policy(policy, script(small), tmp_path, random_stop(policy))


def with_policy(policy: str, script: Script, tmp_path: Path, stop: Stop) -> None:
    def run(callbacks: list[keras.callbacks.Callback]) -> tuple[keras.Model, Any]:
        keras.config.set_dtype_policy(policy)  # here, for a start begins with Keras' defaults
        model, history = script(callbacks)
        assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer) == (policy == "mixed_float16")
        return model, history

    before = keras.config.dtype_policy()
    try:
        check(run, tmp_path, stop)
    finally:
        keras.config.set_dtype_policy(before)


CALLBACKS: dict[str, Callable[[Path], list[Any]]] = {
    "EarlyStopping": lambda path: [keras.callbacks.EarlyStopping("val_loss", patience=1, restore_best_weights=True)],
    "ReduceLROnPlateau": lambda path: [keras.callbacks.ReduceLROnPlateau("loss", patience=1, min_delta=9.0)],
    "LearningRateScheduler": lambda path: [keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.7)],
    "ModelCheckpoint": lambda path: [keras.callbacks.ModelCheckpoint(path / "best.keras", save_best_only=True)],
    "SwapEMAWeights": lambda path: [keras.callbacks.SwapEMAWeights(swap_on_epoch=True)],
    "SwapEMAWeights in validation": lambda path: [keras.callbacks.SwapEMAWeights()],
}


def test_averaged_weights_that_a_callback_swaps_with_several_steps_in_one_execution(tmp_path: Path) -> None:
    """With 4 the last execution of an epoch is not a full one."""
    swap = CALLBACKS["SwapEMAWeights"]
    run = script(small, "averaging", {"steps_per_execution": 4}, lambda: swap(tmp_path))
    check(run, tmp_path, (1, VALIDATION))


def test_half_precision_with_accumulated_gradients_and_early_stopping(tmp_path: Path) -> None:
    stop_early = CALLBACKS["EarlyStopping"]
    run = script(small, "accumulating", others=lambda: stop_early(tmp_path))
    with_policy("mixed_float16", run, tmp_path, (1, 2))


@pytest.mark.whole
@pytest.mark.parametrize("kind", CALLBACKS)
def test_the_state_of_all_other_callbacks_at_more_moments(tmp_path: Path, kind: str) -> None:
    optimizer = "averaging" if "EMA" in kind else "adam"
    run = script(small, optimizer, others=lambda: CALLBACKS[kind](tmp_path), epochs=4)
    check(run, tmp_path, (1, VALIDATION), (3, BATCHES - 1))


def test_a_run_that_was_stopped_early_is_not_trained_on(tmp_path: Path) -> None:
    def run(callbacks: list[Any]) -> Any:
        never_better = keras.callbacks.EarlyStopping("loss", patience=1, min_delta=9.0)
        return script(small, others=lambda: [never_better], epochs=9)(callbacks)

    first = once(run, tmp_path)
    assert len(first.history["loss"]) == 2
    next(tmp_path.glob("*/complete.json")).unlink()
    again = once(run, tmp_path)
    assert (again.state, again.history) == (first.state, first.history)


@pytest.mark.whole
def test_a_csv_file_has_each_epoch_once(tmp_path: Path) -> None:
    def logged(folder: Path) -> Script:
        folder.mkdir()
        return script(small, others=lambda: [keras.callbacks.CSVLogger(str(folder / "log.csv"))])

    stopped, undisturbed = tmp_path / "stopped", tmp_path / "undisturbed"
    assert_same(interrupted(logged(stopped), stopped, (1, 2), (2, 1)), once(logged(undisturbed), undisturbed))
    assert (stopped / "log.csv").read_text() == (undisturbed / "log.csv").read_text()


@pytest.mark.whole
def test_tensorboard_continues_its_steps(tmp_path: Path) -> None:
    def logged(folder: Path) -> Script:
        return script(small, others=lambda: [keras.callbacks.TensorBoard(str(folder / "logs"), update_freq=1)])

    stopped, undisturbed = tmp_path / "stopped", tmp_path / "undisturbed"
    assert_same(interrupted(logged(stopped), stopped, (1, 2)), once(logged(undisturbed), undisturbed))
    assert steps_logged(stopped / "logs") == steps_logged(undisturbed / "logs")


def steps_logged(folder: Path) -> list[tuple[str, int]]:
    found = []
    for path in sorted(folder.glob("train/*")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            found += [(value.tag, event.step) for value in event.summary.value if value.tag.startswith("batch_")]
    return sorted(found)


@pytest.mark.whole
def test_two_fits_in_one_script(tmp_path: Path) -> None:
    """Train a head, then all of it at a lower rate: each fit is resumed where it was, none is redone."""
    done: list[str] = []

    def run(callbacks: list[keras.callbacks.Callback]) -> tuple[keras.Model, Any]:
        done.clear()
        model, x, y = small()
        data = holdfast.dataset(x, y, batch_size=8, seed=4)
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        model.layers[1].trainable = False
        stop, witness, resume = callbacks
        first = model.fit(data, epochs=2, verbose=0, shuffle=False, callbacks=[resume])
        done.append(str(first.history["loss"]))
        model.layers[1].trainable = True
        model.compile(keras.optimizers.SGD(1e-3, momentum=0.9), "sparse_categorical_crossentropy", metrics=["accuracy"])
        second = model.fit(
            data, epochs=3, verbose=0, shuffle=False, callbacks=[stop, witness, holdfast.Resume(tmp_path)]
        )
        done.append(str(second.history["loss"]))
        return model, second

    undisturbed = once(run, tmp_path / "undisturbed")
    expected = list(done)
    assert_same(interrupted(run, tmp_path / "stopped", (0, 1), (1, 3)), undisturbed)
    assert done == expected


def test_two_optimizers_of_one_model(tmp_path: Path) -> None:
    class Pair(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = layers.Dense(4, "relu"), layers.Dense(3, "softmax")
            self.second = keras.optimizers.RMSprop(1e-2)

        def call(self, inputs: Any) -> Any:
            return self.two(self.one(keras.ops.reshape(inputs, (-1, 64))))

        def train_step(self, batch: Any) -> Any:
            x, y = batch
            with tf.GradientTape() as tape:
                loss = self.compute_loss(x, y, self(x, training=True))
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply(gradients[:2], self.trainable_variables[:2])
            self.second.apply(gradients[2:], self.trainable_variables[2:])
            return {"loss": loss, "scaled": 2 * loss}

    def run(callbacks: list[keras.callbacks.Callback]) -> tuple[keras.Model, Any]:
        model = Pair()
        model.compile("adam", "sparse_categorical_crossentropy")
        data = holdfast.dataset(IMAGES, LABELS, batch_size=8, seed=4)
        return model, model.fit(data, epochs=EPOCHS, verbose=0, shuffle=False, callbacks=callbacks)

    check(run, tmp_path, (1, 2))


@pytest.mark.whole
@pytest.mark.parametrize("trial", range(2))
def test_random_interruptions_never_lead_to_another_ending(tmp_path: Path, trial: int) -> None:
    chance = random.Random(f"{SEED} {trial}")
    moments = [(e, b) for e in range(EPOCHS) for b in [*range(BATCHES), VALIDATION]]
    order = sorted(chance.sample(moments, 4), key=lambda m: (m[0], BATCHES if m[1] == VALIDATION else m[1]))
    print(f"HOLDFAST_TEST_SEED={SEED}: stops at {order}")
    build = chance.choice(MODELS)
    assert_same(interrupted(script(build), tmp_path / "stopped", *order), once(script(build), tmp_path / "undisturbed"))
