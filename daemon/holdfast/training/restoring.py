"""Puts what a checkpoint holds into the model that the script built, and builds what only a first step would build."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import keras
import tensorflow as tf

from ..core.errors import HoldfastError
from . import spec, variables
from .pair import Saved
from .plain import from_plain
from .variables import is_metric

Say: TypeAlias = Callable[[str], None]


def put_in(model: keras.Model, saved: Saved, say: Say) -> None:
    """Raises HoldfastError if the checkpoint does not fit the model."""
    values = dict(saved.values)
    here = variables.collect(model)
    if any(place not in here for place in values):
        _build_by_tracing(model, saved, say)
        here = variables.collect(model)
    missing_metrics = {place for place in values if is_metric(place) and place not in here}
    if missing_metrics and saved.position.batch:
        say("the metrics of the resumed epoch begin anew: they are made later than can be restored")
    fitting = {place: value for place, value in values.items() if place not in missing_metrics}
    variables.assign(here, fitting, say)


def _build_by_tracing(model: keras.Model, saved: Saved, say: Say) -> None:
    """Creates the variables that the first step would create, by tracing it over no data at all.

    The trace is kept by TensorFlow and serves the training afterwards, so nothing is traced twice.
    """
    plain = saved.facts.get("spec")
    if plain is None:
        return
    empty = spec.empty_dataset(from_plain(plain))
    try:
        model.train_function(iter(empty))
    except (StopIteration, tf.errors.OutOfRangeError):
        pass
    except Exception as error:
        raise HoldfastError(
            f"the model cannot be built to receive its checkpoint: {error}; build it before fit, by "
            "keras.Input as the first layer or by a call on a batch of data"
        ) from error
    if model.run_eagerly:
        _build_eager_model(model, empty, say)
    variables.build_optimizers(model)


def _build_eager_model(model: keras.Model, empty: Any, say: Say) -> None:
    """An eager function makes nothing without data; as a graph its step can be traced. Else metrics begin anew."""
    try:
        tf.function(model.train_step).get_concrete_function(empty.element_spec)
    except Exception as error:
        say(f"the model's eager step could not be traced ({type(error).__name__}) to restore its metrics")
