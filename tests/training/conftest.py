"""What every test that trains in this process pays for once."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import keras
import pytest

from holdfast.training.session.open import close_session

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    from training.untuned import tune_no_pipeline

    tune_no_pipeline()
    # These graphs are small and run a few times: optimizing them takes longer than they do.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})

# TensorFlow's modules are a million objects that live as long as the process. Tracing a graph makes many new ones, so
# the collector came often, and went through all of these each time.
gc.collect()
gc.freeze()


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """The models and iterators of one test, which refer to themselves, keep their threads no longer than it. A session
    that a stopped training left open would stop the next test's.
    """
    yield
    close_session()
    gc.collect()
