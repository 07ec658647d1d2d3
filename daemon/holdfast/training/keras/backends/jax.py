"""Keras on JAX (see protocol.py).

Within an epoch the state is not in the variables: ``fit`` hands arrays from step to step, and each step takes over the
memory of those that it is given. So a snapshot is a copy of them that is begun before the next step.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import jax
import keras
import numpy as np
from keras import tree

from ...data.position import DataPosition
from ...data.python.arrays import ArraysPosition
from ...data.python.generator import GeneratorPosition
from ...data.python.py_dataset import PyDatasetPosition
from .drawn_in_python import BatchHandover
from .drawn_in_python import draws_in_data as draws_in_data
from .drawn_in_python import validation_data as validation_data
from .protocol import Handover, HiddenDraw, Kinds, Say, Step

name = "jax"
ends: tuple[type[BaseException], ...] = (StopIteration,)

_KINDS = Kinds(tensors=(jax.Array,), leaves=(jax.Array,))
_SEED = "global_random_seed"


_OTHER_FIT = (
    "holdfast.Resume on JAX serves Keras' own fit, and this model has another: use holdfast.session() in it, or set "
    "KERAS_BACKEND=tensorflow"
)
_OLDER = "holdfast.Resume on JAX needs Keras 3.15 or later, and this is {}: pip install --upgrade keras"
_APART = (
    "this process has joined a cluster of {}, and nothing distributes this fit over it, so that each would train "
    "a model of its own: keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))"
)
_NNX = "holdfast.Resume does not serve the NNX mode of Keras: unset KERAS_NNX_ENABLED"
_SHARDED = (
    "holdfast.Resume on JAX serves keras.distribution.DataParallel, and this fit is distributed by {}: its state is on "
    "no machine whole. Use DataParallel, or train in a loop of your own with holdfast.session()"
)
_WORKERS = (
    "on JAX the workers of a PyDataset keep batches that were made as fit began, and give them an epoch late: give it "
    "workers=1, as their place in the data cannot be kept"
)
_OTHER_DATA = (
    "holdfast.Resume on JAX serves arrays, Python generators, keras.utils.PyDataset and tf.data so far, and Keras "
    "reads this fit's data by a {}: give one of these, or set KERAS_BACKEND=tensorflow"
)


def refusal(model: keras.Model, epoch_iterator: Any) -> str | None:
    adapter = getattr(epoch_iterator, "data_adapter", None)
    if adapter is None:
        return _OTHER_FIT
    if "__next__" not in vars(type(epoch_iterator)):  # it hands each step its batches
        return _OLDER.format(keras.__version__)
    if getattr(keras.config, "is_nnx_enabled", bool)():
        return _NNX
    distribution = keras.distribution.distribution()
    if distribution is None and processes() > 1:
        return _APART.format(processes())
    if distribution is not None and not isinstance(distribution, keras.distribution.DataParallel):
        return _SHARDED.format(type(distribution).__name__)
    if getattr(adapter, "enqueuer", None) is not None:
        return _WORKERS
    return None if _serves(epoch_iterator) is not None else _OTHER_DATA.format(type(adapter).__name__)


def processes() -> int:
    return int(jax.process_count())


def kinds() -> Kinds:
    return _KINDS


def attributes(holder: Any) -> Mapping[str, Any]:
    own: dict[str, Any] = vars(holder)
    return own


# --- variables


def as_variable(value: Any) -> Any:
    return value


def inner(variable: Any) -> Any:
    return variable


def copies(variable: Any) -> tuple[Any, ...]:
    return (variable,)


def gradients(model: keras.Model, found: Mapping[str, Any]) -> Mapping[str, Any]:
    return {}


def only_gradients(paths: Collection[str], found: Mapping[str, Any]) -> None:
    """Steps leave none."""


def live_values(model: keras.Model) -> Mapping[int, Any]:
    """Keras' trainer puts them back as an epoch ends, or as a callback asks for it."""
    return {id(variable): value for variable, value in _live(model)}


def readable(model: keras.Model) -> AbstractContextManager[Any]:
    numbers = [(variable, value) for variable, value in _live(model) if not variable.shape]
    return keras.StatelessScope(numbers)  # type: ignore[no-any-return]


def _live(model: keras.Model) -> Iterator[tuple[Any, Any]]:
    state = getattr(model, "_jax_state", None)
    if not state or model._jax_state_synced:
        return
    optimizer = getattr(model, "optimizer", None)
    variables = {
        "trainable_variables": model.trainable_variables,
        "non_trainable_variables": model.non_trainable_variables,
        "optimizer_variables": [] if optimizer is None else optimizer.variables,
        "metrics_variables": model.metrics_variables,
    }
    for group, values in state.items():
        yield from zip(variables[group], values or (), strict=False)  # as Keras itself puts them back


def read(held: Any) -> Any:
    """The copy is only begun here; a next step that takes over the memory waits for it. (A ``jnp.copy`` is compiled for
    each shape, and waits itself.)
    """
    value = held._value if isinstance(held, keras.Variable) else held
    if value is None:  # asked for its value, such a variable would give its initial one
        raise RuntimeError(f"the value of {held.path} is in no variable now")
    if not value.is_fully_replicated:
        raise RuntimeError(f"{getattr(held, 'path', 'a variable')} is on no device whole")
    whole = value if len(value.sharding.device_set) == 1 else value.addressable_data(0)
    return jax.device_put(whole, whole.sharding, may_alias=False)


def assign(variable: Any, copy: Any, value: np.ndarray) -> None:
    variable.assign(value)


def scope(model: keras.Model) -> AbstractContextManager[Any]:
    return nullcontext()


# --- other state


def random_state() -> Any:
    """There is none: seed generators are variables."""
    return None


def set_random_state(state: Any) -> None:
    raise ValueError("JAX has no global random state")


def seed() -> int | None:
    try:
        from keras.src.backend.common import global_state
    except ImportError:
        return None
    found = global_state.get_global_attribute(_SEED)
    return found if isinstance(found, int) else None


def array_of(tensor: Any) -> np.ndarray | None:
    return np.asarray(tensor)


def tensor_of(value: Any) -> Any:
    return jax.numpy.asarray(value)


# --- data


def _serves(epoch_iterator: Any) -> Callable[[Any, Any, Say], DataPosition] | None:
    if ArraysPosition.serves(epoch_iterator):
        return lambda x, iterator, say: ArraysPosition(iterator, "get_jax_iterator")
    if GeneratorPosition.serves(getattr(epoch_iterator, "data_adapter", None)):
        return GeneratorPosition
    if PyDatasetPosition.serves(epoch_iterator):
        return PyDatasetPosition
    if type(getattr(epoch_iterator, "data_adapter", None)).__name__ == "TFDatasetAdapter":
        return _tf_data
    return None


def _tf_data(x: Any, epoch_iterator: Any, say: Say) -> DataPosition:
    from .iterated_tf_data import IteratedTfData

    return IteratedTfData(x, epoch_iterator, say)


def position_in(x: Any, epoch_iterator: Any, say: Say, is_stopping: Callable[[], bool]) -> DataPosition:
    make = _serves(epoch_iterator)
    assert make is not None  # else it was refused
    return make(x, epoch_iterator, say)


def spec_of(iterator: Any) -> Any:
    """Keras builds all of a model before its first step."""
    return False


def arrays_of(batch: Any) -> list[np.ndarray]:
    return [np.asarray(part) for whole in tree.flatten(batch) for part in _here(whole)]


def _here(whole: Any) -> Sequence[Any]:
    """What of an array is on this machine's devices."""
    if isinstance(whole, jax.Array):
        return [shard.data for shard in whole.addressable_shards]
    return [whole] if isinstance(whole, np.ndarray) else []


def handover(train_function: Any, iterator: Any) -> Handover | None:
    return BatchHandover()


# --- the step


def build(model: keras.Model, spec: Any, say: Say) -> None:
    """Nothing is left to build."""


def stand_in(train_function: Any, call: Callable[[Step, Any], Any]) -> Any:
    """Keras' function takes the state beside the iterator, and gives the next one."""

    def train(state: Any, iterator: Any) -> Any:
        now = state

        def step(batches: Any) -> Any:
            nonlocal now
            logs, now = train_function(now, batches)
            return logs

        return call(step, iterator), now

    return train


def begins_with_its_batch(model: keras.Model) -> bool:
    """While it waits for its batch, the state is in ``fit``'s hands alone: another thread cannot read it."""
    return False


def runs_eagerly(model: keras.Model) -> bool:
    return bool(model.run_eagerly or not model.jit_compile)


def hidden_draws(train_function: Any) -> Sequence[HiddenDraw]:
    return ()
