"""Three tiny fits of 18, 18 and 24 batches, one after the other, on the backend of Keras that the environment chooses.

Environment: PACE (seconds that a batch takes), AUTO (which fits are left to ``--auto``: "all", or "some" of them).
"""

from __future__ import annotations

import importlib
import itertools
import os
import time
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf

KERAS_2 = "TF_USE_LEGACY_KERAS" in os.environ
keras: Any = importlib.import_module("tf_keras" if KERAS_2 else "keras")
BACKEND = "tensorflow" if KERAS_2 else keras.config.backend()
layers = keras.layers
RNG = np.random.default_rng(0)
X = RNG.random((48, 4), "float32")
Y = X.sum(1, keepdims=True)
ARRAYS = {"x": X, "y": Y, "batch_size": 8}
LEFT_TO_AUTO = itertools.cycle({"all": [True], "some": [False, True]}.get(os.environ.get("AUTO", ""), [False]))


class Pace(keras.callbacks.Callback):
    """Leaves time to strike."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        time.sleep(float(os.environ.get("PACE", "0")))


class Apart(keras.Model):
    """Its two layers learn in one step, each by an optimizer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.drop, self.head = layers.Dense(6, "relu"), layers.Dropout(0.3), layers.Dense(1)
        self.of_head = keras.optimizers.SGD(0.05, momentum=0.9)

    def call(self, x: Any, training: bool = False) -> Any:
        return self.head(self.drop(self.hidden(x), training=training))


class OnTensorFlow(Apart):
    def train_step(self, data: Any) -> Any:
        x, y = data
        with tf.GradientTape(persistent=True) as tape:
            loss = tf.reduce_mean((self(x, training=True) - y) ** 2)
        for optimizer, layer in ((self.optimizer, self.hidden), (self.of_head, self.head)):
            weights = layer.trainable_variables
            optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        return {"error": loss}


class OnPyTorch(Apart):
    def train_step(self, data: Any) -> Any:
        import torch

        x, y = data
        self.zero_grad()
        loss = self.compute_loss(y=y, y_pred=self(x, training=True))
        loss.backward()
        with torch.no_grad():
            for optimizer, layer in ((self.optimizer, self.hidden), (self.of_head, self.head)):
                optimizer.apply([v.value.grad for v in layer.trainable_weights], layer.trainable_weights)
        self.zero_grad()
        return {"error": loss}


class OnJAX(Apart):
    """The second optimizer's variables are the model's, so that Keras hands them from step to step with its others."""

    def build(self, shape: Any) -> None:
        self.hidden.build(shape)
        self.head.build((None, 6))
        self.of_head.build(self.head.trainable_variables)
        self.slots = self.of_head.variables

    def train_step(self, state: Any, data: Any) -> Any:
        import jax

        weights, others, of_hidden, metrics = state
        x, y = data
        # The compiled optimizer was built for all weights; those of the head it gets no gradients for.
        gradients_of = jax.value_and_grad(self.compute_loss_and_updates, has_aux=True)
        given = (weights, others, metrics, x, y, None, True, of_hidden)
        (_, (loss, _, others, metrics)), gradients = gradients_of(*given)
        places = {id(variable): place for place, variable in enumerate(self.non_trainable_variables)}
        slots = [others[places[id(variable)]] for variable in self.slots]
        two = len(self.hidden.trainable_variables)
        still = [jax.numpy.zeros_like(one) for one in gradients[two:]]
        head, slots = self.of_head.stateless_apply(slots, gradients[two:], weights[two:])
        moved, of_hidden = self.optimizer.stateless_apply(of_hidden, [*gradients[:two], *still], weights)
        for variable, value in zip(self.slots, slots, strict=True):
            others[places[id(variable)]] = value
        return {"error": loss}, ([*moved[:two], *head], others, of_hidden, metrics)


def small() -> Any:
    hidden = [layers.Dense(6, "relu"), layers.BatchNormalization(), layers.Dropout(0.3)]
    return keras.Sequential([layers.Input((4,)), *hidden, layers.Dense(1)])


def half() -> Any:
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        return small()
    finally:
        keras.mixed_precision.set_global_policy("float32")


def fit(model: Any, optimizer: Any = "adam", epochs: int = 1, callbacks: Any = (), **data: Any) -> None:
    model.compile(optimizer, "mse")
    trained = model.fit(epochs=epochs, verbose=0, callbacks=[*callbacks, Pace(), *resume()], **data)
    print("trained", trained.epoch, trained.history, flush=True)


def resume() -> list[Any]:
    if next(LEFT_TO_AUTO):
        return []
    import holdfast

    return [holdfast.Resume()]


keras.utils.set_random_seed(1)
if KERAS_2:
    keras.backend.experimental.enable_tf_random_generator()

stopping = keras.callbacks.EarlyStopping(patience=2, min_delta=1.0, restore_best_weights=True)
plateau = keras.callbacks.ReduceLROnPlateau(patience=1, min_delta=1.0)
pipeline = tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(48, seed=5).batch(8)
fit(small(), epochs=4, callbacks=[stopping, plateau], validation_data=(X[:16], Y[:16]), x=pipeline)
fit({"tensorflow": OnTensorFlow, "torch": OnPyTorch, "jax": OnJAX}[BACKEND](), epochs=3, **ARRAYS)
accumulating = {} if KERAS_2 else {"gradient_accumulation_steps": 2}
fit(half(), keras.optimizers.Adam(**accumulating), epochs=4, **ARRAYS)
