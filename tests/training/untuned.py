"""Pipelines of ``tf.data`` that nothing tunes while they run.

An iterator that is dropped waits for the thread that tunes its pipeline, and that may sleep for as long as the iterator
has lived; a training drops several. Tuning is to decide how much is drawn ahead, and not what is drawn. The trainings
of tests/integration, in processes of their own, are tuned.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def tune_no_pipeline() -> None:
    """For the rest of this process."""
    options = tf.data.Options()
    options.autotune.enabled = False
    iterate, distribute = tf.data.Dataset.__iter__, tf.distribute.Strategy.experimental_distribute_dataset

    def untuned(dataset: tf.data.Dataset) -> Any:
        return iterate(dataset.with_options(options))

    def distributed(strategy: tf.distribute.Strategy, dataset: tf.data.Dataset, *how: Any) -> Any:
        return distribute(strategy, dataset.with_options(options), *how)

    tf.data.Dataset.__iter__ = untuned
    tf.distribute.Strategy.experimental_distribute_dataset = distributed
