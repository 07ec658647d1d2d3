"""The ``.h5`` of a pair: Keras' own model file where the model can be stored whole, else a Keras weights file.

It is written from a snapshot, by any thread. Keras' own writer could do that inside a StatelessScope, and copies every
array first; so the layout is written here, with what Keras says of the model, and the arrays go to the file uncopied.
It is read for arrays only: no layer, no configuration and no code comes out of a file.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ...core.errors import one_line
from ..data.keras_in_use import keras
from ..pair.h5_writer import Layout, as_array, holds_numbers, widened
from ..pair.pair_files import Place, Written
from .model_config import NotStorable, described
from .variables import listed_in, path_of, value_of

WHOLE, WEIGHTS = "model", "weights"
_MOST_IN_ATTRIBUTE = 64512
_NOT_FOR_HDF5 = (TypeError, ValueError, KeyError, NotImplementedError, RuntimeError)
_ANOTHER_KERAS = (ImportError, AttributeError)


_not_whole: weakref.WeakSet[Any] = weakref.WeakSet()


def write(
    path: Path,
    model: keras.Model,
    variables: Mapping[Place, Any],
    values: Mapping[Place, Any],
    say: Callable[[str], None],
    most_dirty: int | None = None,
    over: Path | None = None,
) -> Written:
    """Writes ``path``. The kind of file that it became is WHOLE, or WEIGHTS where Keras can't store it so.

    Which value stands under which dataset is noted as it is written: two variables may have one name. What is missing
    there goes into the ``.pkl``. ``say`` receives why a model is not stored whole, once, unless it is subclassed: then
    nothing else is to be expected. ``most_dirty`` and ``over`` are as in ``Layout.write``. Raises OSError.
    """
    held = _Held(variables, values)
    if model not in _not_whole:
        try:
            if (layout := _lay_out_whole(path, model, held)) is not None:
                return Written(WHOLE, held.standing(layout), layout.write(held, most_dirty, over), layout.pieces)
        except NotStorable as error:
            say(f"the model cannot be stored whole, so its .h5 is a weights file: {error}")
        path.write_bytes(b"")
        _not_whole.add(model)
    layout = _lay_out_weights(path, model, held)
    return Written(WEIGHTS, held.standing(layout), layout.write(held, most_dirty, over), layout.pieces)


class _Held:
    """The snapshot's values, by the identity of their variable; a variable without one is read as it is."""

    def __init__(self, variables: Mapping[Place, Any], values: Mapping[Place, Any]) -> None:
        self._places = {id(variables[place]): place for place in values}
        self._variables = variables
        self._values = values
        self._others: dict[int, Any] = {}

    def of(self, variable: Any) -> Any:
        place = self._places.get(id(variable))
        if place is not None:
            return widened(as_array(self._values[place]))
        return self._others.setdefault(id(variable), widened(as_array(value_of(variable))))

    def __contains__(self, variable: Any) -> bool:
        return id(variable) in self._places

    def __getitem__(self, key: int) -> Any:
        return widened(as_array(self._values[self._places[key]])) if key in self._places else self._others[key]

    def scalars(self) -> list[tuple[Any, Any]]:
        found = ((self._variables[place], self._values[place]) for place in self._places.values())
        return [(variable, value) for variable, value in found if len(variable.shape) == 0]

    def standing(self, layout: Layout) -> dict[Place, str]:
        return {place: layout.names[key] for key, place in self._places.items() if key in layout.names}


def _lay_out_whole(path: Path, model: keras.Model, held: _Held) -> Layout | None:
    """None for a subclassed model. Raises NotStorable for another that Keras cannot store, and OSError."""
    if type(model).get_config is keras.Model.get_config and not isinstance(model, keras.Sequential):
        return None
    try:
        with keras.StatelessScope(held.scalars()):  # this thread sees the snapshot's learning rate
            model.to_json()
            about = described(model)
    except NotStorable:
        raise
    except Exception as error:  # the script's own code may raise anything: what cannot be described
        raise NotStorable(_reason(error)) from error
    try:
        with Layout(path) as layout:
            for name, text in about.items():
                layout.file.attrs[name] = text
            _lay_out(layout, model, held)
    except OSError as error:
        if error.errno is not None:
            raise  # the disk's trouble, not the model's
        raise NotStorable(_reason(error)) from error
    except (*_NOT_FOR_HDF5, *_ANOTHER_KERAS) as error:
        raise NotStorable(_reason(error)) from error
    return layout


def _lay_out(layout: Layout, model: keras.Model, held: _Held) -> None:
    """A group a layer, in the order of their names, and one for the optimizer: as ``keras.Model.save`` does."""
    weights = layout.file.create_group("model_weights")
    _name_layers(weights, [layer.name for layer in model.layers])
    *layers, top = _layers(model)
    for name, own in [*sorted(layers, key=lambda layer: layer[0]), top]:
        _write_group(layout, weights.create_group(name), own, held)
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None and (own := listed_in(optimizer)):
        _write_group(layout, layout.file.create_group("optimizer_weights"), own, held, of_layer=False)


def _reason(error: Exception) -> str:
    return one_line(f"{type(error).__name__}: {error}")


def _lay_out_weights(path: Path, model: keras.Model, held: _Held) -> Layout:
    """The layout that ``model.load_weights`` reads: a group a layer, with the names in an attribute.

    A subclassed model may have layers, and a layer variables, of one name: the first stands in the file. What does not
    fit into it is left out, whatever the reason. Only what stands there is named: Keras counts the names, so it refuses
    such a file and takes no variable for another.
    """
    layers: dict[str, list[Any]] = {}
    for name, own in _layers(model):
        layers.setdefault(name, []).extend(own)
    with Layout(path) as layout:
        weights = layout.file.create_group("model_weights")
        there = {name for name, own in layers.items() if _write_what_fits(layout, weights, name, own, held)}
        named = dict.fromkeys(layer.name for layer in model.layers if layer.weights)
        _name_layers(weights, [name for name in named if name in there])
        optimizer = getattr(model, "optimizer", None)
        if optimizer is not None:
            own = listed_in(optimizer)
            _write_what_fits(layout, layout.file, "optimizer_weights", own, held, of_layer=False)
    return layout


def _write_what_fits(
    layout: Layout, parent: h5py.Group, name: str, own: Iterable[Any], held: _Held, of_layer: bool = True
) -> bool:
    """False if there can be no such group. What does not fit into it is left out."""
    try:
        group = parent.create_group(name)
        fitting = [path_of(v) for v in own if v in held and _fits(layout, group, v, held, of_layer)]
        _write_names(group, "weight_names", fitting)
    except _NOT_FOR_HDF5:
        return False
    return True


def _fits(layout: Layout, group: h5py.Group, variable: Any, held: _Held, of_layer: bool) -> bool:
    value = as_array(held.of(variable))
    try:
        if path_of(variable) in group or not holds_numbers(value):
            return False
        layout.plan(group, path_of(variable), id(variable), value, of_layer and _is_frozen(variable))
    except _NOT_FOR_HDF5:
        return False
    return True


def _name_layers(group: h5py.Group, names: Iterable[str]) -> None:
    _write_names(group, "layer_names", names)
    group.attrs["backend"] = keras.backend.backend().encode()
    group.attrs["keras_version"] = keras.__version__.encode()


def _write_group(layout: Layout, group: h5py.Group, own: Iterable[Any], held: _Held, of_layer: bool = True) -> None:
    _write_names(group, "weight_names", [path_of(variable) for variable in own])
    for variable in own:
        settled = of_layer and _is_frozen(variable)
        layout.plan(group, path_of(variable), id(variable), held.of(variable), settled)


def _is_frozen(variable: Any) -> bool:
    """No optimizer's: those are all 'not trainable', and change."""
    return not getattr(variable, "trainable", True)


def _write_names(group: h5py.Group, attribute: str, names: Iterable[str]) -> None:
    """In several numbered attributes where one is too small. Raises RuntimeError for a name too long for any."""
    encoded = [name.encode() for name in names]
    if any(len(name) > _MOST_IN_ATTRIBUTE for name in encoded):
        raise RuntimeError(f"HDF5 holds no name of more than {_MOST_IN_ATTRIBUTE} bytes")
    pieces = [np.asarray(encoded)]
    while any(piece.nbytes > _MOST_IN_ATTRIBUTE for piece in pieces):
        pieces = np.array_split(np.asarray(encoded), len(pieces) + 1)
    if len(pieces) == 1:
        group.attrs[attribute] = encoded
    else:
        for number, piece in enumerate(pieces):
            group.attrs[f"{attribute}{number}"] = piece


def _layers(model: keras.Model) -> Iterator[tuple[str, list[Any]]]:
    """Each layer's variables as Keras' HDF5 layout groups them."""
    for layer in model.layers:
        yield layer.name, [*layer.trainable_weights, *layer.non_trainable_weights]
    inner = {id(v) for layer in model.layers for v in layer.weights}
    yield "top_level_model_weights", [v for v in model.weights if id(v) not in inner]
