"""What every test that trains in this process pays for once."""

from __future__ import annotations

import gc

import keras  # noqa: F401
import tensorflow as tf

# These graphs are small and run a few times: optimizing them takes longer than they do.
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})

# TensorFlow's modules are a million objects that live as long as the process. Tracing a graph makes many new ones, so
# the collector comes often, and went through all of these each time.
gc.collect()
gc.freeze()
gc.set_threshold(50_000, 20, 20)
