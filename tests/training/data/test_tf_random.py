"""TensorFlow's random operations with a hidden state are found where they are."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from holdfast.training.data.tf_random import draws_in, draws_in_data

PLAIN = tf.data.Dataset.from_tensor_slices(np.zeros((6, 4, 4, 3), "float32"))


@pytest.mark.parametrize(
    ("draw", "operations"),
    [
        (lambda: tf.random.normal([2]), ["RandomStandardNormal"]),
        (lambda: tf.while_loop(lambda a: a < 1.0, lambda a: a + tf.random.uniform([]), [0.0]), ["RandomUniform"]),
        (lambda: tf.random.categorical([[0.5, 0.5]], 3), ["Multinomial"]),
        (lambda: tf.random.stateless_normal([2], [1, 2]), []),
        (lambda: keras.random.normal([2], seed=3), []),
        (lambda: tf.random.Generator.from_seed(1).normal([2]), []),
    ],
)
def test_only_what_keeps_its_state_in_the_kernel_is_found(draw: Any, operations: list[str]) -> None:
    graph = tf.Graph()
    with graph.as_default():
        draw()
    assert sorted({one.operation for one in draws_in(graph)}) == operations


def test_a_function_in_the_data_that_draws_is_found_wherever_it_stands() -> None:
    flipped = PLAIN.map(tf.image.random_flip_left_right).shuffle(3).batch(2)
    assert draws_in_data(tf.data.Dataset.zip((flipped, PLAIN)).prefetch(1)) == ["RandomUniform"]
    assert draws_in_data(PLAIN.map(lambda x: x + 1).shuffle(3)) == []
    assert draws_in_data(np.zeros(3)) == []
