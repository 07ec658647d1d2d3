"""The ``.h5`` of a pair: Keras' own model file where the model can be stored whole, else a Keras weights file.

It is written from a snapshot, by any thread. Keras' own writer could do that inside a StatelessScope, and copies every
array first; so the layout is written here, with what Keras says of the model, and the arrays go to the file uncopied.
It is read for arrays only: no layer, no configuration and no code comes out of a file.
"""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from ..core.errors import one_line
from .layout import Layout
from .pair import Place
from .variables import MODEL, OPTIMIZER

WHOLE, WEIGHTS = "model", "weights"
_MOST_IN_ATTRIBUTE = 64512
_NOT_FOR_HDF5 = (TypeError, ValueError, KeyError, NotImplementedError, RuntimeError)
_ANOTHER_KERAS = (ImportError, AttributeError)


class _NotStorable(Exception):
    """Keras cannot store this model whole; the text says why."""


_not_whole: weakref.WeakSet[Any] = weakref.WeakSet()


def _nothing(place: Place) -> None:
    """The caller keeps what it holds."""


def write(
    path: Path,
    model: keras.Model,
    variables: Mapping[Place, Any],
    values: Mapping[Place, Any],
    say: Callable[[str], None],
    written: Callable[[Place], None] = _nothing,
) -> str:
    """Writes ``path`` and returns the kind of file that it became: WHOLE, or WEIGHTS where Keras can't store it so.

    ``say`` is told why, once for a model, unless it is subclassed: then nothing else is to be expected. ``written`` is
    told of large values that are in the file and needn't be held for its sake any longer. Raises OSError.
    """
    held = _Held(variables, values, written)
    if model not in _not_whole:
        try:
            if _write_whole(path, model, held):
                return WHOLE
        except _NotStorable as error:
            say(f"the model cannot be stored whole, so its .h5 is a weights file: {error}")
        path.write_bytes(b"")
        _not_whole.add(model)
    _write_weights(path, model, held)
    return WEIGHTS


class _Held:
    """The snapshot's values, by the identity of their variable; a variable without one is read as it is."""

    def __init__(
        self, variables: Mapping[Place, Any], values: Mapping[Place, Any], written: Callable[[Place], None]
    ) -> None:
        self._places = {id(variables[place]): place for place in values}
        self._variables = variables
        self._values = values
        self._written = written
        self._others: dict[int, Any] = {}

    def of(self, variable: Any) -> Any:
        place = self._places.get(id(variable))
        if place is not None:
            return self._values[place]
        return self._others.setdefault(id(variable), np.asarray(variable.value))

    def __contains__(self, variable: Any) -> bool:
        return id(variable) in self._places

    def __getitem__(self, key: int) -> Any:
        return self._values[self._places[key]] if key in self._places else self._others[key]

    def scalars(self) -> list[tuple[Any, Any]]:
        found = ((self._variables[place], self._values[place]) for place in self._places.values())
        return [(variable, value) for variable, value in found if len(variable.shape) == 0]

    def written(self, key: int) -> None:
        if key in self._places:
            self._written(self._places[key])


def _write_whole(path: Path, model: keras.Model, held: _Held) -> bool:
    """False for a subclassed model. Raises _NotStorable for another that Keras cannot store, and OSError."""
    if type(model).get_config is keras.Model.get_config and not isinstance(model, keras.Sequential):
        return False
    try:
        model.to_json()
    except Exception as error:  # the layers' own code, which may raise anything: a layer that cannot be described
        raise _NotStorable(_reason(error)) from error
    try:
        with Layout(path) as layout:
            for name, text in _described(model, held).items():
                layout.file.attrs[name] = text
            _lay_out(layout, model, held)
    except OSError as error:
        if error.errno is not None:
            raise  # the disk's trouble, not the model's
        raise _NotStorable(_reason(error)) from error
    except (*_NOT_FOR_HDF5, *_ANOTHER_KERAS) as error:
        raise _NotStorable(_reason(error)) from error
    layout.write(held, held.written)
    return True


def _described(model: keras.Model, held: _Held) -> dict[str, Any]:
    """What Keras' reader wants to know of a model, as its writer puts it into the file's attributes.

    Some of that is in variables (the learning rate): the scope, which is this thread's, shows the snapshot's values.
    """
    from keras.src.legacy.saving import json_utils, saving_options, saving_utils

    with keras.StatelessScope(held.scalars()), saving_options.keras_option_scope(use_legacy_config=True):
        told = saving_utils.model_metadata(model, include_optimizer=True)
        return {
            name: json.dumps(value, default=json_utils.get_json_type).encode()
            if isinstance(value, dict | list | tuple)
            else value
            for name, value in told.items()
        }


def _lay_out(layout: Layout, model: keras.Model, held: _Held) -> None:
    """A group a layer, in the order of their names, and one for the optimizer: as ``keras.Model.save`` does."""
    weights = layout.file.create_group("model_weights")
    _name_layers(weights, model)
    *layers, top = _layers(model)
    for name, own in [*sorted(layers, key=lambda layer: layer[0]), top]:
        _write_group(layout, weights.create_group(name), own, held)
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None and optimizer.variables:
        _write_group(layout, layout.file.create_group("optimizer_weights"), optimizer.variables, held)


def _reason(error: Exception) -> str:
    return one_line(f"{type(error).__name__}: {error}")


def _write_weights(path: Path, model: keras.Model, held: _Held) -> None:
    """The layout that ``model.load_weights`` reads: a group a layer, with the names in an attribute."""
    with Layout(path) as layout:
        weights = layout.file.create_group("model_weights")
        _name_layers(weights, model)
        for name, own in _layers(model):
            _write_group(layout, weights.create_group(name), [v for v in own if v in held], held, numbers_only=True)
        optimizer = getattr(model, "optimizer", None)
        if optimizer is not None:
            group = layout.file.create_group("optimizer_weights")
            _write_group(layout, group, [v for v in optimizer.variables if v in held], held, numbers_only=True)
    layout.write(held, held.written)


def _name_layers(group: h5py.Group, model: keras.Model) -> None:
    _write_names(group, "layer_names", [layer.name for layer in model.layers])
    group.attrs["backend"] = keras.backend.backend().encode()
    group.attrs["keras_version"] = keras.__version__.encode()


def _write_group(
    layout: Layout, group: h5py.Group, own: Iterable[Any], held: _Held, numbers_only: bool = False
) -> None:
    _write_names(group, "weight_names", [variable.path for variable in own])
    for variable in own:
        if numbers_only and (variable.path in group or np.asarray(held.of(variable)).dtype.kind not in "fiub"):
            continue  # the others (bfloat16, say) go into the .pkl
        layout.plan(group, variable.path, id(variable), held.of(variable))


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


def index(path: Path, model: keras.Model, variables: Mapping[Place, Any]) -> dict[Place, str]:
    """Which variable stands under which dataset of the file. What is not found there goes into the ``.pkl``."""
    names: dict[int, str] = {}
    for layer, own in _layers(model):
        for variable in own:
            names.setdefault(id(variable), f"model_weights/{layer}/{variable.path}")
    optimizer = getattr(model, "optimizer", None)
    for variable in optimizer.variables if optimizer is not None else ():
        names.setdefault(id(variable), f"optimizer_weights/{variable.path}")
    found: dict[Place, str] = {}
    taken: set[str] = set()
    with h5py.File(path, "r") as file:
        for place, variable in variables.items():
            name = names.get(id(variable), "")
            if place.group in (MODEL, OPTIMIZER) and name not in taken and _matches(file, name, variable):
                taken.add(name)
                found[place] = name
    return found


def _matches(file: h5py.File, name: str, variable: Any) -> bool:
    dataset = file.get(name) if name else None
    return (
        isinstance(dataset, h5py.Dataset)
        and dataset.shape == tuple(variable.shape)
        and str(dataset.dtype) == keras.backend.standardize_dtype(variable.dtype)
    )
