"""Restores a checkpoint into the model that the script built, and builds what only a first step would build."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import keras
import tensorflow as tf

from ...core.errors import HoldfastError, one_line
from ..pair.pair import Place, Saved
from ..pair.plain import from_plain
from . import layer_state, spec, variables
from .variables import OPTIMIZER, Part, is_metric, is_of_model_inside, is_reached
from .watched import Watched

Places: TypeAlias = Mapping[Place, Any]


def restore_into(watched: Watched, saved: Saved, say: Callable[[str], None]) -> None:
    """Raises HoldfastError if the checkpoint does not fit the model."""
    model = watched.model
    if layer_state.restore(watched.found.layers, saved.facts.get("layers", {}), say):
        watched.look_again()
    here = watched.parts()
    traced = any(place not in here for place in saved.values) or _lacks_a_build(model)
    if traced:
        _build_by_tracing(model, saved, say)
        watched.look_again()
        here = watched.parts()
    matching = matching_values(saved, here)
    _say_what_is_left_out(saved, here, matching, say)
    variables.assign(here, matching, say)
    if layer_state.refresh(watched.found.layers.values()) and traced:
        model.make_train_function(force=True)  # the trace has the values from before


def _say_what_is_left_out(saved: Saved, here: Places, matching: Places, say: Callable[[str], None]) -> None:
    missing = [place for place in saved.values if place not in matching]
    if saved.position.batch and any(is_metric(place) for place in missing):
        say("the metrics of the resumed epoch begin anew: they are made later than can be restored")
    for place in filter(is_reached, missing):
        path = one_line(saved.values[place][0])[:200]
        say(f"the checkpoint holds the variable {path}, and this script has none there")
    for group in dict.fromkeys(place.group for place in missing if not is_metric(place) and not is_reached(place)):
        say(f"{group}: its state is not restored, because this script does not use it")
    if "layers" not in saved.facts:  # an older pair
        return
    for place in here:
        if is_reached(place) and place not in saved.values and "@" not in place.group and saved.position.step:
            say(f"the checkpoint has no value for the variable {here[place].path}: it begins anew")


def _lacks_a_build(model: keras.Model) -> bool:
    """Has it something without variables that the first step makes all the same? (``metrics=[]`` is such a thing.)"""
    return not all(getattr(metric, "built", True) for metric in model.metrics)


def matching_values(saved: Saved, here: Mapping[Place, Part]) -> dict[Place, tuple[str, Any]]:
    """The checkpoint's values, without those that the model may lack: of metrics that are made later, of the optimizers
    of nested models, which an earlier training may have built, and of what else the script's objects held.
    """
    may_lack = {p for p in saved.values if is_metric(p) or is_of_model_inside(p) or is_reached(p)}
    return {place: value for place, value in saved.values.items() if place in here or place not in may_lack}


def _build_by_tracing(model: keras.Model, saved: Saved, say: Callable[[str], None]) -> None:
    """Creates the variables that the first step would create, by tracing it over no data at all.

    The trace is kept by TensorFlow and serves the training afterwards, so nothing is traced twice.
    """
    plain = saved.facts.get("spec")
    if plain is None:
        if not model.built:
            raise HoldfastError(
                "the model is built by its first batch, and holdfast cannot describe such a batch: build the model "
                "before fit, by keras.Input as the first layer or by a call on a batch of data"
            )
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
    if any(place.group == OPTIMIZER and place not in variables.collect(model) for place in saved.values):
        variables.build_optimizers(model)  # else the model's own step leaves the compiled one unused


def _build_eager_model(model: keras.Model, empty: Any, say: Callable[[str], None]) -> None:
    """An eager function makes nothing without data; as a graph its step can be traced. Else metrics begin anew."""
    try:
        tf.function(model.train_step).get_concrete_function(empty.element_spec)
    except Exception as error:
        say(f"the model's eager step could not be traced ({type(error).__name__}) to restore its metrics")
