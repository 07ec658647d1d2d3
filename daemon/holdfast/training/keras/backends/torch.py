"""Keras on PyTorch (see protocol.py).

Steps run eagerly and change the variables in place, so a snapshot is a copy. ``fit`` draws each batch itself, and hands
it to the train function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import keras
import numpy as np
import torch
from keras import tree

from ....core.errors import HoldfastError
from ...data.position import DataPosition
from ...data.python import drawn_by_keras
from .drawn_in_python import BatchHandover
from .drawn_in_python import draws_in_data as draws_in_data
from .drawn_in_python import validation_data as validation_data
from .protocol import Handover, HiddenDraw, Kinds, Say, Step
from .torch_spec import described, zeros
from .torch_tensors import Buffer, GeneratorState, Gradient, copy_of, view
from .torch_tensors import attributes as attributes
from .torch_tensors import gradients as gradients
from .torch_tensors import only_gradients as only_gradients
from .torch_tensors import tensor_of as tensor_of

name = "torch"
ends: tuple[type[BaseException], ...] = (StopIteration,)

_SEED = "global_random_seed"

_OTHER_FIT = (
    "holdfast.Resume on PyTorch serves Keras' own fit, and this model has another: use holdfast.session() in it, or "
    "set KERAS_BACKEND=tensorflow"
)
_OLDER = "holdfast.Resume on PyTorch needs Keras 3.15 or later, and this is {}: pip install --upgrade keras"
_WORKERS = (
    "on PyTorch the workers of a PyDataset keep batches that were made as fit began, and give them an epoch late: give "
    "it workers=1, as their place in the data cannot be kept"
)
_OTHER_DATA = (
    "holdfast.Resume on PyTorch serves arrays, Python generators, keras.utils.PyDataset, tf.data and PyTorch's "
    "DataLoader so far, and Keras reads this fit's data by a {}: give one of these, or set KERAS_BACKEND=tensorflow"
)


def refusal(model: keras.Model, epoch_iterator: Any) -> str | None:
    adapter = getattr(epoch_iterator, "data_adapter", None)
    if adapter is None:
        return _OTHER_FIT
    if not hasattr(epoch_iterator, "__next__"):  # it hands each step a batch that is drawn already
        return _OLDER.format(keras.__version__)
    if getattr(adapter, "enqueuer", None) is not None:
        return _WORKERS
    return None if _serves(epoch_iterator) is not None else _OTHER_DATA.format(type(adapter).__name__)


# --- variables


_KINDS = Kinds(
    variables=(torch.nn.Parameter, torch.Generator, Buffer),
    views=(Buffer,),
    tensors=(torch.Tensor,),
    leaves=(torch.dtype, torch.device, torch.Size),
    entered=(torch.nn.Module,),
    unkept=(torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler, torch.amp.GradScaler),
)


def processes() -> int:
    return 1


def kinds() -> Kinds:
    return _KINDS


def as_variable(value: Any) -> Any:
    return GeneratorState(value) if isinstance(value, torch.Generator) else value


def inner(variable: Any) -> Any:
    return variable._value if isinstance(variable, keras.Variable) else variable


def copies(variable: Any) -> tuple[Any, ...]:
    if isinstance(variable, Buffer | Gradient):
        return () if variable.tensor is None else (variable.tensor,)
    return (inner(variable),)


def live_values(model: keras.Model) -> Mapping[int, Any]:
    return {}


def readable(model: keras.Model) -> AbstractContextManager[Any]:
    return nullcontext()


def read(held: Any) -> Any:
    return copy_of(held)


def assign(variable: Any, copy: Any, value: np.ndarray) -> None:
    with torch.no_grad():
        copy.copy_(tensor_of(value))


def scope(model: keras.Model) -> AbstractContextManager[Any]:
    return nullcontext()


# --- other state


def random_state() -> Any:
    """The devices' generators, if any was used. (The host's is with those of Python and NumPy.)"""
    if not torch.cuda.is_initialized():
        return None
    return {"cuda": [state.numpy().tobytes() for state in torch.cuda.get_rng_state_all()]}


def set_random_state(state: Any) -> None:
    """Of as many devices as there are now."""
    states = [torch.frombuffer(bytearray(one), dtype=torch.uint8) for one in state["cuda"]]
    for device, one in enumerate(states[: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(one, device)


def seed() -> int | None:
    try:
        from keras.src.backend.common import global_state
    except ImportError:
        return None
    found = global_state.get_global_attribute(_SEED)
    return found if isinstance(found, int) else None


def array_of(tensor: Any) -> np.ndarray | None:
    return None if tensor.device.type == "meta" or tensor.layout != torch.strided else view(tensor.detach().cpu())


# --- data


def _serves(epoch_iterator: Any) -> Callable[[Any, Any, Say], DataPosition] | None:
    if type(epoch_iterator.data_adapter).__name__ == "TFDatasetAdapter":
        return _tf_data
    return drawn_by_keras.position_of(epoch_iterator)


def _tf_data(x: Any, epoch_iterator: Any, say: Say) -> DataPosition:
    from .iterated_tf_data import TfDataDrawnByKeras

    return TfDataDrawnByKeras(x, epoch_iterator, say)


def position_in(x: Any, epoch_iterator: Any, say: Say, is_stopping: Callable[[], bool]) -> DataPosition:
    make = _serves(epoch_iterator)
    assert make is not None  # else it was refused
    return make(x, epoch_iterator, say)


def spec_of(iterator: Any) -> Any:
    """What a step of the script's own makes (an optimizer's slots, say) is not there before the first one."""
    return iterator.spec()


def arrays_of(batch: Any) -> list[np.ndarray]:
    parts = [part for part in tree.flatten(batch) if isinstance(part, np.ndarray | torch.Tensor)]
    found = [part if isinstance(part, np.ndarray) else array_of(part) for part in parts]
    return [array for array in found if array is not None]


def handover(train_function: Any, iterator: Any) -> Handover | None:
    return BatchHandover()


# --- the step


def build(model: keras.Model, spec: Any, say: Say) -> None:
    """A step on zeros makes what a first one makes. All that it changes is restored afterwards; its gradients and what
    was compiled for it are dropped.
    """
    batch = zeros(spec)
    gradients = {id(one): one.grad for one in model.parameters()}
    try:
        for one in model.parameters():
            one.grad = None  # a step may add to what is there
        model.train()
        model.train_function([batch])
        for one in model.parameters():
            one.grad = gradients.get(id(one))
        model.make_train_function(force=True)
    except Exception as error:
        raise HoldfastError(
            f"the model cannot be built to receive its checkpoint: {error}; build it, and its optimizers, before fit"
        ) from error


class _Drawn:
    """The batches of one call, as an iterator."""

    def __init__(self, batches: list[Any]) -> None:
        self._all = batches
        self._batches = iter(batches)

    def spec(self) -> Any:
        """False where a batch cannot be described."""
        try:
            return described(self._all[0])
        except (TypeError, ValueError, IndexError):
            return False

    def __iter__(self) -> Iterator[Any]:
        return self._batches

    def __next__(self) -> Any:
        return next(self._batches)


def stand_in(train_function: Any, call: Callable[[Step, Any], Any]) -> Any:
    """Keras' function takes a list of batches."""
    return lambda batches: call(lambda iterator: train_function(list(iterator)), _Drawn(batches))


def begins_with_its_batch(model: keras.Model) -> bool:
    """Keras draws it before the boundary, where nothing can be read yet."""
    return False


def runs_eagerly(model: keras.Model) -> bool:
    """What PyTorch has compiled it compiles again once such a setting is another."""
    return True


def hidden_draws(train_function: Any) -> Sequence[HiddenDraw]:
    return ()
