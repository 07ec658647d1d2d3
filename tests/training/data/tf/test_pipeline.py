"""What a pipeline is, told from its graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from holdfast.training.data.tf.pipeline import Pipeline, shuffles_later

NUMBERS = tf.data.Dataset.range(10)


def each(x: Any) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensors(x)


UNORDERED = {
    "map": NUMBERS.map(lambda x: x, num_parallel_calls=2, deterministic=False),
    "interleave": NUMBERS.interleave(each, num_parallel_calls=2, deterministic=False).batch(2),
}


@pytest.mark.parametrize("values", [["a", "b"], [1.0, 2.0]])
def test_an_interleave_over_arrays_of_numbers_or_of_texts_says_whether_it_is_ordered(values: Any) -> None:
    for ordered in (True, False):
        made = tf.data.Dataset.from_tensor_slices(values).interleave(each, num_parallel_calls=2, deterministic=ordered)
        assert Pipeline(made.map(lambda x: x)).is_ordered is ordered


@pytest.mark.parametrize("kind", UNORDERED)
def test_a_pipeline_whose_order_depends_on_threads_is_known(kind: str) -> None:
    assert not Pipeline(UNORDERED[kind]).is_ordered


def test_the_option_of_a_pipeline_makes_its_parallel_parts_unordered() -> None:
    options = tf.data.Options()
    options.deterministic = False
    assert not Pipeline(NUMBERS.map(lambda x: x, num_parallel_calls=2).with_options(options)).is_ordered


def test_what_runs_in_parallel_is_ordered_unless_it_says_otherwise() -> None:
    made = NUMBERS.map(lambda x: x, num_parallel_calls=2).interleave(each, num_parallel_calls=2)
    assert Pipeline(made.shuffle(3, seed=1).batch(2)).is_ordered


def test_operations_that_keep_a_state_are_found() -> None:
    assert Pipeline(NUMBERS.map(lambda x: x + tf.random.uniform((), 0, 9, tf.int64))).stateful == ["RandomUniformInt"]
    assert Pipeline(NUMBERS.map(lambda x: tf.numpy_function(lambda n: n, [x], tf.int64))).stateful == ["PyFunc"]


def test_operations_that_only_read_are_none() -> None:
    scale = tf.Variable(2, dtype=tf.int64)
    pipeline = Pipeline(NUMBERS.map(lambda x: scale * x).filter(lambda x: x > 3))
    assert pipeline.stateful == []
    assert pipeline.reads_variables


def test_an_unseeded_shuffle_is_told_from_a_seeded_one() -> None:
    tf.random.set_seed(None)
    assert Pipeline(NUMBERS.shuffle(3)).unseeded
    assert not Pipeline(NUMBERS.shuffle(3, seed=1)).unseeded
    assert not Pipeline(NUMBERS.batch(2)).unseeded


def test_no_state_is_taken_of_what_writes_files_or_samples(tmp_path: Path) -> None:
    sampled = tf.data.Dataset.sample_from_datasets([NUMBERS, NUMBERS])
    without = (NUMBERS.snapshot(str(tmp_path / "a")), NUMBERS.cache(str(tmp_path / "b")), sampled)
    assert not any(Pipeline(made).has_state for made in without)
    assert Pipeline(NUMBERS.cache().shuffle(3)).has_state


def test_an_order_that_is_kept_in_a_cache_is_known() -> None:
    shuffled = NUMBERS.shuffle(3, seed=1)
    assert Pipeline(shuffled.map(lambda x: x + 1).cache().batch(2)).caches_an_order
    assert not Pipeline(NUMBERS.cache().shuffle(3, seed=1).batch(2)).caches_an_order
    assert not Pipeline(NUMBERS.shuffle(3, seed=1, reshuffle_each_iteration=False).cache()).caches_an_order


def test_a_seeded_shuffle_that_an_opened_iterator_does_not_reach_is_known() -> None:
    shuffled = NUMBERS.shuffle(3, seed=1)
    assert shuffles_later(NUMBERS.concatenate(shuffled.map(lambda x: x + 1)).batch(2))
    assert not shuffles_later(shuffled.concatenate(NUMBERS).batch(2))
    assert not shuffles_later(NUMBERS.concatenate(NUMBERS).shuffle(3, seed=1))
    tf.random.set_seed(None)
    assert not shuffles_later(NUMBERS.concatenate(NUMBERS.shuffle(3)))


def test_elements_sampled_from_several_datasets_have_a_state_where_none_of_these_ends() -> None:
    def sampled(*datasets: tf.data.Dataset) -> tf.data.Dataset:
        return tf.data.Dataset.sample_from_datasets(datasets).take(10).batch(2)

    assert Pipeline(sampled(NUMBERS.repeat(), NUMBERS.repeat())).has_state
    assert not Pipeline(sampled(NUMBERS.repeat(), NUMBERS)).has_state
