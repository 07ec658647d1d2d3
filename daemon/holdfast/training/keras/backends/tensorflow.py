"""Keras on TensorFlow (see protocol.py). ``fit`` makes a ``tf.data.Dataset`` of whatever it is given."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import tensorflow as tf

from ....core.errors import HoldfastError
from ...data import tf_random
from ...data.keras_in_use import keras
from ...data.kinds import position_in as position_in
from ...data.validation import ValidationData
from ...pair.plain import from_plain, to_plain
from . import tf_spec
from .protocol import Handover, HeldOut, HiddenDraw, Kinds, Say, Step
from .tf_handover import TfHandover, is_possible

name = "tensorflow"
ends: tuple[type[BaseException], ...] = (StopIteration, tf.errors.OutOfRangeError)

_KINDS = Kinds(
    variables=(tf.Variable,),
    tensors=(tf.Tensor,),
    leaves=(tf.DType, tf.Tensor, tf.TensorShape),
    tables=(tf.lookup.experimental.MutableHashTable, tf.lookup.experimental.DenseHashTable),
    entered=(tf.Module, tf.random.Generator),
)
_UNSEEDED = 87654321  # TensorFlow's own default


def refusal(model: keras.Model, epoch_iterator: Any) -> str | None:
    return None


def processes() -> int:
    return 1


def kinds() -> Kinds:
    return _KINDS


def attributes(holder: Any) -> Mapping[str, Any]:
    own: dict[str, Any] = vars(holder)
    return own


# --- variables


def as_variable(value: Any) -> Any:
    return value


def inner(variable: Any) -> Any:
    return variable._value if isinstance(variable, keras.Variable) else variable


def copies(variable: Any) -> tuple[Any, ...]:
    """The TensorFlow variables behind it."""
    value = variable if isinstance(variable, tf.Variable) else variable.value
    found = getattr(value, "values", None)
    return tuple(found) if isinstance(found, tuple | list) and found else (value,)


def gradients(model: keras.Model, found: Mapping[str, Any]) -> Mapping[str, Any]:
    return {}


def only_gradients(paths: Collection[str], found: Mapping[str, Any]) -> None:
    """Steps leave none."""


def live_values(model: keras.Model) -> Mapping[int, Any]:
    return {}


def readable(model: keras.Model) -> AbstractContextManager[Any]:
    return nullcontext()


def read(held: Any) -> Any:
    """TensorFlow copies the buffer on the next write, so this costs next to nothing.

    On a GPU it would hold device memory for as long as the snapshot lives, so there it is copied to the host.
    """
    value = held.read_value() if hasattr(held, "read_value") else held
    return value.numpy() if "GPU" in getattr(value, "device", "") else value


def assign(variable: Any, copy: Any, value: np.ndarray) -> None:
    (copy if hasattr(copy, "assign") else variable).assign(value)


def scope(model: keras.Model) -> AbstractContextManager[Any]:
    return model.distribute_strategy.scope()  # type: ignore[no-any-return]


# --- other state


def random_state() -> Any:
    from tensorflow.python.ops import stateful_random_ops

    generator = getattr(stateful_random_ops, "global_generator", None)
    return None if generator is None else to_plain(generator.state.numpy())


def set_random_state(state: Any) -> None:
    tf.random.get_global_generator().state.assign(from_plain(state))


def seed() -> int | None:
    found = int(tf.compat.v1.get_seed(1)[0] or 0)
    return None if found == _UNSEEDED else found


def array_of(tensor: Any) -> np.ndarray | None:
    return np.asarray(tensor) if hasattr(tensor, "numpy") and tensor.dtype != tf.string else None


def tensor_of(value: Any) -> Any:
    return tf.constant(value)


# --- data


def validation_data(given: Any, x: Any, epoch_iterator: Any, say: Say) -> HeldOut:
    return ValidationData(given, x, epoch_iterator, say)


def draws_in_data(x: Any) -> Sequence[str]:
    return tf_random.draws_in_data(x)


def spec_of(iterator: Any) -> Any:
    try:
        return tf_spec.to_plain(iterator.element_spec)
    except (TypeError, AttributeError):
        return False


def arrays_of(batch: Any) -> list[np.ndarray]:
    """Also of ragged and sparse ones."""
    parts = tf.nest.flatten(batch, expand_composites=True)
    return [np.asarray(part) for part in parts if isinstance(part, tf.Tensor | np.ndarray) and part.dtype != tf.variant]


def handover(train_function: Any, iterator: Any) -> Handover | None:
    return TfHandover(iterator.element_spec) if is_possible(train_function, iterator) else None


# --- the step


def build(model: keras.Model, spec: Any, say: Say) -> None:
    """Creates the variables that the first step would create, by tracing it over no data at all.

    The trace is kept by TensorFlow and serves the training afterwards, so nothing is traced twice.
    """
    empty = tf_spec.empty_dataset(spec)
    try:
        model.train_function(iter(empty))
    except ends:
        pass
    except Exception as error:
        raise HoldfastError(
            f"the model cannot be built to receive its checkpoint: {error}; build it before fit, by "
            "keras.Input as the first layer or by a call on a batch of data"
        ) from error
    if model.run_eagerly:
        _build_eager_model(model, empty, say)


def _build_eager_model(model: keras.Model, empty: Any, say: Say) -> None:
    """An eager function makes nothing without data; as a graph its step can be traced. Else metrics begin anew."""
    try:
        tf.function(model.train_step).get_concrete_function(empty.element_spec)
    except Exception as error:
        say(f"the model's eager step could not be traced ({type(error).__name__}) to restore its metrics")


def stand_in(train_function: Any, call: Callable[[Step, Any], Any]) -> Any:
    return lambda iterator: call(train_function, iterator)


def begins_with_its_batch(model: keras.Model) -> bool:
    """An eager step, or one that XLA has compiled whole, begins when its batch is there. Of any other graph TensorFlow
    runs at once what needs no batch: it counts the iteration, draws a seed, decays weights. Several replicas fetch
    batches ahead.
    """
    if model.distribute_strategy.num_replicas_in_sync != 1:
        return False
    return bool(model.run_eagerly or model.jit_compile)


def runs_eagerly(model: keras.Model) -> bool:
    return bool(model.run_eagerly or tf.config.functions_run_eagerly())


def hidden_draws(train_function: Any) -> Sequence[HiddenDraw]:
    return [HiddenDraw(*draw) for graph in _graphs(train_function) for draw in tf_random.draws_in(graph)]


def _graphs(train_function: Any) -> Sequence[Any]:
    """Keras' train function holds those that TensorFlow traced."""
    found = []
    for cell in getattr(train_function, "__closure__", None) or ():
        functions = getattr(cell.cell_contents, "_list_all_concrete_functions", None)
        found += [function.graph for function in functions()] if functions is not None else []
    return found
