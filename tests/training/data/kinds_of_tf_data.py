"""Pipelines of ``tf.data`` that scripts make themselves, for the conformance suite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from .conformance import INPUTS, NUMBERS, SAMPLES, SIZE, Kind

AUTOTUNE = tf.data.AUTOTUNE


def samples() -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices((INPUTS, NUMBERS))


def of_tutorials() -> tf.data.Dataset:
    """As in every tutorial: without a seed of its own."""
    mapped = samples().cache().shuffle(30).map(lambda x, y: (2 * x, y), num_parallel_calls=AUTOTUNE)
    return mapped.batch(SIZE).prefetch(AUTOTUNE)


def of_unknown_length() -> tf.data.Dataset:
    return samples().shuffle(20).filter(lambda x, y: x[0] >= 0).batch(SIZE)


def reads_a_variable() -> tf.data.Dataset:
    scale = tf.Variable(2.0)
    return samples().shuffle(20).map(lambda x, y: (scale * x, y)).batch(SIZE)


def twice_an_epoch() -> tf.data.Dataset:
    return samples().take(SAMPLES // 2).shuffle(20).repeat(2).batch(SIZE)


def interleaved() -> tf.data.Dataset:
    halves = tf.data.Dataset.range(2).interleave(
        lambda i: samples().shard(2, i), num_parallel_calls=2, deterministic=True
    )
    return halves.apply(tf.data.experimental.assert_cardinality(SAMPLES)).shuffle(20).batch(SIZE)


def sampled() -> tf.data.Dataset:
    halves = [samples().shard(2, i).shuffle(10) for i in range(2)]
    sampled = tf.data.Dataset.sample_from_datasets(halves)
    return sampled.apply(tf.data.experimental.assert_cardinality(SAMPLES)).batch(SIZE)


def balanced() -> tf.data.Dataset:
    halves = [samples().shard(2, i).shuffle(10).repeat() for i in range(2)]
    return tf.data.Dataset.sample_from_datasets(halves, weights=[0.5, 0.5]).take(SAMPLES).batch(SIZE)


def augmented() -> tf.data.Dataset:
    """By a layer, which draws from a variable of its own."""
    noise = keras.layers.GaussianNoise(0.1)
    return samples().shuffle(20).batch(SIZE).map(lambda x, y: (noise(x, training=True), y)).prefetch(1)


def of_a_generator() -> tf.data.Dataset:
    chance = tf.random.Generator.from_seed(1)
    return samples().shuffle(20).map(lambda x, y: (x + chance.uniform(x.shape), y)).batch(SIZE)


def with_tf_random() -> tf.data.Dataset:
    return samples().shuffle(20).map(lambda x, y: (x + tf.random.uniform(x.shape), y)).batch(SIZE)


def through_python() -> tf.data.Dataset:
    def same(x: Any, y: Any) -> Any:
        return tf.ensure_shape(tf.numpy_function(np.copy, [x], tf.float32), x.shape), y

    return samples().shuffle(20).map(same).batch(SIZE)


# Their functions hold a state beside the order, which decides whether a sample comes twice.
DRAWING = {
    "a layer": augmented,
    "tf.random.Generator": of_a_generator,
    "tf.random": with_tf_random,
    "numpy_function": through_python,
}


def _kind(make: Callable[[], Any], *but: str, only_seeded: bool = False) -> Kind:
    return Kind(lambda: {"x": make()}, lambda: {"x": make().repeat()}, but, only_seeded)


KINDS = {
    "tf.data, shuffled": _kind(of_tutorials),
    "tf.data of unknown length": _kind(of_unknown_length),
    "tf.data that reads a variable": _kind(reads_a_variable),
    "tf.data, interleaved": _kind(interleaved),
    "tf.data that a layer augments": _kind(augmented),
    # An epoch is more than a pass, and a shuffle below a repeat as validation data is named.
    "tf.data, sampled from endless data": _kind(balanced, "in validation", only_seeded=True),
    "tf.data, twice in an epoch": _kind(twice_an_epoch, "in validation", only_seeded=True),
    # Its state is not taken; drawn again, an order that nobody seeded is another one, which a line says.
    "tf.data, sampled": _kind(sampled, only_seeded=True),
}
