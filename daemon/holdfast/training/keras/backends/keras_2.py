"""Keras 2, the package ``tf_keras`` (see protocol.py). What is not here is as in Keras 3 on TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tf_keras.src import backend as tf_keras_backend

from ...data import tf_random
from ...data.keras_in_use import keras
from ...data.position import DataPosition
from ...data.python.python_position import has_strategy
from ...session.random_state import set_state_of, state_of
from . import keras_2_adapters, tensorflow
from .keras_2_data import Epochs, LateIterator, ValidationOfKeras2, position
from .protocol import Handover, HeldOut, HiddenDraw, Say, Step
from .tensorflow import array_of as array_of
from .tensorflow import arrays_of as arrays_of
from .tensorflow import as_variable as as_variable
from .tensorflow import assign as assign
from .tensorflow import attributes as attributes
from .tensorflow import build as build
from .tensorflow import copies as copies
from .tensorflow import draws_in_data as draws_in_data
from .tensorflow import ends as ends
from .tensorflow import gradients as gradients
from .tensorflow import kinds as kinds
from .tensorflow import live_values as live_values
from .tensorflow import only_gradients as only_gradients
from .tensorflow import processes as processes
from .tensorflow import read as read
from .tensorflow import readable as readable
from .tensorflow import runs_eagerly as runs_eagerly
from .tensorflow import scope as scope
from .tensorflow import seed as seed
from .tensorflow import spec_of as spec_of
from .tensorflow import tensor_of as tensor_of
from .tf_handover import TfHandover, is_drawn_from_host

name = "tf_keras"

_OWN_STEP = "Model.make_train_function.<locals>.train_function"
_OTHER_FIT = "holdfast.Resume serves Keras 2's own fit, and this model has another: use holdfast.session() in it"
_SEVERAL = (
    "holdfast.Resume serves one device in Keras 2, and this model is under a distribution strategy: use Keras 3, or a "
    "loop of your own with holdfast.session()"
)
_AUTOTUNED = (
    "holdfast.Resume does not serve steps_per_execution='auto', which changes with the speed of the machine: give "
    "compile a number"
)


def refusal(model: keras.Model, epoch_iterator: Any) -> str | None:
    if not isinstance(epoch_iterator, Epochs):
        return _OTHER_FIT
    if has_strategy(epoch_iterator):
        return _SEVERAL
    if model.autotune_steps_per_execution:
        return _AUTOTUNED
    return keras_2_adapters.refusal(epoch_iterator.data_adapter, epoch_iterator.has_workers)


# --- variables


def inner(variable: Any) -> Any:
    """Under mixed precision a layer has its variables in something that casts them."""
    return getattr(variable, "_variable", variable)


# --- other state


def random_state() -> Any:
    """TensorFlow's, and the one that gives layers their seeds once the script has set a seed."""
    generator = _seeds_of_layers()
    return {
        "tensorflow": tensorflow.random_state(),
        "layers": None if generator is None else state_of(generator),
    }


def set_random_state(state: Any) -> None:
    if state["tensorflow"] is not None:
        tensorflow.set_random_state(state["tensorflow"])
    generator = _seeds_of_layers()
    if state["layers"] is not None and generator is not None:
        set_state_of(generator, state["layers"])


def _seeds_of_layers() -> Any:
    return getattr(tf_keras_backend._SEED_GENERATOR, "generator", None)


# --- data


def position_in(x: Any, epoch_iterator: Any, say: Say, is_stopping: Callable[[], bool]) -> DataPosition:
    return position(x, epoch_iterator, say, is_stopping)


def validation_data(given: Any, x: Any, epoch_iterator: Any, say: Say) -> HeldOut:
    return ValidationOfKeras2(given, x, epoch_iterator, say)


def handover(train_function: Any, iterator: Any) -> Handover | None:
    step = getattr(train_function, "python_function", train_function)
    if getattr(step, "__qualname__", "") != _OWN_STEP or not is_drawn_from_host(iterator):
        return None
    return TfHandover(iterator.element_spec)


# --- the step


def stand_in(train_function: Any, call: Callable[[Step, Any], Any]) -> Any:
    def train(iterator: Any) -> Any:
        if not isinstance(iterator, LateIterator):
            return call(train_function, iterator)
        logs = call(train_function, iterator.opened())
        iterator.stepped()
        return logs

    return train


def begins_with_its_batch(model: keras.Model) -> bool:
    return tensorflow.begins_with_its_batch(model)


def hidden_draws(train_function: Any) -> Sequence[HiddenDraw]:
    functions: Any = getattr(train_function, "_list_all_concrete_functions", list)()
    return [HiddenDraw(*draw) for one in functions for draw in tf_random.draws_in(one.graph)]
