"""Restores a checkpoint into the model that the script built, and builds what only a first step would build."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from ...core.errors import HoldfastError, one_line
from ..data.keras_in_use import keras
from ..pair.pair_files import Place, Saved
from ..pair.plain import from_plain
from . import layer_state, variables
from .backends.chosen import backend
from .variables import MODEL, OPTIMIZER, Part, is_metric, is_of_model_inside, is_reached
from .watched import Watched

Places: TypeAlias = Mapping[Place, Any]


def restore_into(watched: Watched, saved: Saved, say: Callable[[str], None]) -> None:
    """Raises HoldfastError if the checkpoint does not fit the model."""
    model = watched.model
    if layer_state.restore(watched.found.layers, saved.facts.get("layers", {}), say):
        watched.look_again()
    here = watched.parts_for(saved.values)
    if all(place in here for place in saved.values if place.group == MODEL):
        variables.build_optimizers(model, anyway=True)
        here = watched.parts_for(saved.values)
    if _build_other_optimizers(watched, saved, here):
        watched.look_again()
        here = watched.parts_for(saved.values)
    traced = any(place not in here for place in saved.values) or _lacks_a_build(model)
    if traced:
        _build_as_a_step_would(model, saved, say)
        watched.look_again()
        here = watched.parts_for(saved.values)
    matching = matching_values(saved, here)
    _say_what_is_left_out(saved, here, matching, say)
    variables.assign(here, matching, say)
    if layer_state.refresh(watched.found.layers.values()) and traced:
        model.make_train_function(force=True)  # the trace has the values from before


def _build_other_optimizers(watched: Watched, saved: Saved, here: Places) -> bool:
    """Of models that the script's own objects train: the pair has their slots, which their first step would make."""
    lacking = [value[0] for place, value in saved.values.items() if is_reached(place) and place not in here]
    models = [
        layer
        for path, layer in watched.found.layers.items()
        if isinstance(layer, keras.Model) and any(one.startswith(f"{path}.optimizer.") for one in lacking)
    ]
    for model in models:
        variables.build_optimizers(model)
    return bool(models)


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


def _build_as_a_step_would(model: keras.Model, saved: Saved, say: Callable[[str], None]) -> None:
    plain = saved.facts.get("spec")
    if plain is None:
        if not model.built:
            raise HoldfastError(
                "the model is built by its first batch, and holdfast cannot describe such a batch: build the model "
                "before fit, by keras.Input as the first layer or by a call on a batch of data"
            )
        return
    backend().build(model, from_plain(plain), say)
    if any(place.group == OPTIMIZER and place not in variables.collect(model) for place in saved.values):
        variables.build_optimizers(model, anyway=True)  # else the model's own step leaves the compiled one unused
