"""The ``.h5`` of a pair: Keras' own model file where the model can be stored whole, else a Keras weights file.

It is written from a snapshot, by any thread: inside a StatelessScope Keras' writer reads the snapshot's values, and the
scope belongs to the thread. It is read for arrays only: no layer, no configuration and no code comes out of a file.
"""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from ..core.errors import one_line
from .pair import Place
from .variables import MODEL, OPTIMIZER

WHOLE, WEIGHTS = "model", "weights"


class _NotStorable(Exception):
    """Keras cannot store this model whole; the text says why."""


_not_whole: weakref.WeakSet[Any] = weakref.WeakSet()


def write(
    path: Path,
    model: keras.Model,
    variables: Mapping[Place, Any],
    values: Mapping[Place, Any],
    say: Callable[[str], None],
) -> str:
    """Writes ``path`` and returns the kind of file that it became: WHOLE, or WEIGHTS where Keras can't store it so.

    ``say`` is told why, once for a model, unless it is subclassed: then nothing else is to be expected. Raises OSError.
    """
    if model not in _not_whole:
        try:
            if _write_whole(path, model, [(variables[place], value) for place, value in values.items()]):
                return WHOLE
        except _NotStorable as error:
            say(f"the model cannot be stored whole, so its .h5 is a weights file: {error}")
        path.write_bytes(b"")
        _not_whole.add(model)
    _write_weights(path, model, variables, values)
    return WEIGHTS


def _write_whole(path: Path, model: keras.Model, mapping: list[tuple[Any, Any]]) -> bool:
    """False for a subclassed model. Raises _NotStorable for another that Keras cannot store, and OSError."""
    if type(model).get_config is keras.Model.get_config and not isinstance(model, keras.Sequential):
        return False
    try:
        model.to_json()
    except Exception as error:  # the layers' own code, which may raise anything: a layer that cannot be described
        raise _NotStorable(_reason(error)) from error
    try:
        with _quiet(), keras.StatelessScope(state_mapping=mapping):
            model.save(str(path))
    except OSError as error:
        if error.errno is not None:
            raise  # the disk's trouble, not the model's
        raise _NotStorable(_reason(error)) from error
    except (TypeError, ValueError, KeyError, NotImplementedError, RuntimeError) as error:  # beyond what HDF5 can hold
        raise _NotStorable(_reason(error)) from error
    return True


def _reason(error: Exception) -> str:
    return one_line(f"{type(error).__name__}: {error}")


def _write_weights(path: Path, model: keras.Model, variables: Mapping[Place, Any], values: Mapping[Place, Any]) -> None:
    """The layout that ``model.load_weights`` reads: a group a layer, with the names in an attribute."""
    held = {id(variables[place]): value for place, value in values.items()}
    with h5py.File(path, "w") as file:
        weights = file.create_group("model_weights")
        weights.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        weights.attrs["keras_version"] = keras.__version__.encode()
        weights.attrs["backend"] = keras.backend.backend().encode()
        for name, own in _layers(model):
            _write_group(weights.create_group(name), [(v.path, held[id(v)]) for v in own if id(v) in held])
        optimizer = getattr(model, "optimizer", None)
        if optimizer is not None:
            slots = [(v.path, held[id(v)]) for v in optimizer.variables if id(v) in held]
            _write_group(file.create_group("optimizer_weights"), slots)


def _write_group(group: h5py.Group, named: list[tuple[str, Any]]) -> None:
    group.attrs["weight_names"] = [name.encode() for name, _ in named]
    for name, value in named:
        array = np.asarray(value)
        if array.dtype.kind in "fiub" and name not in group:  # the others (bfloat16, say) go into the .pkl
            group.create_dataset(name, data=array)


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


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keras advises against HDF5 at each save; here it is the format on purpose."""
    logger, thread = logging.getLogger("absl"), os.getpid()

    def keep(record: logging.LogRecord) -> bool:
        return not (record.process == thread and "HDF5 file" in record.getMessage())

    logger.addFilter(keep)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.removeFilter(keep)
