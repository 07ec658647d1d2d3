"""What holds a training's state on PyTorch, and its copies for a pair."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import ml_dtypes
import numpy as np
import torch

_NARROW = {  # NumPy's view of what it has no type of its own for
    torch.bfloat16: (torch.int16, ml_dtypes.bfloat16),
    torch.float8_e4m3fn: (torch.uint8, ml_dtypes.float8_e4m3fn),
    torch.float8_e5m2: (torch.uint8, ml_dtypes.float8_e5m2),
}


def attributes(holder: Any) -> Mapping[str, Any]:
    """A module keeps modules, parameters and buffers in dicts of their own."""
    own: dict[str, Any] = vars(holder)
    if not isinstance(holder, torch.nn.Module):
        return own
    apart = {name: own.get(name) or {} for name in ("_parameters", "_buffers", "_modules")}
    found = {name: value for name, value in own.items() if name not in apart}
    buffers = {name: Buffer(holder, name) for name, one in apart.pop("_buffers").items() if one is not None}
    for more in (*apart.values(), buffers):
        found |= more
    found.pop("_torch_params", None)  # Keras' own list of the variables' values
    return found


@dataclass(frozen=True)
class Buffer:
    """What a module has under a name, statistics of a normalization, say: it may put another tensor there each step."""

    module: Any
    name: str

    @property
    def tensor(self) -> Any:
        """None where it has none now."""
        return self.module._buffers.get(self.name)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.tensor.shape)

    @property
    def dtype(self) -> Any:
        return getattr(self.tensor, "dtype", None)


class Gradient:
    """What a parameter has in ``.grad``: a step may put another tensor there, or none."""

    def __init__(self, parameter: Any) -> None:
        self._parameter = parameter

    @property
    def tensor(self) -> Any:
        found = self._parameter.grad
        return found if found is None or found.layout == torch.strided else found.to_dense()

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._parameter.shape)

    @property
    def dtype(self) -> Any:
        return self._parameter.dtype


def gradients(model: keras.Model, found: Mapping[str, Any]) -> Mapping[str, Any]:
    """Those that a step may add to. Keras' own begins without."""
    dropped = set(map(id, model.parameters())) if _steps_as_keras_does(model) else set()
    have = {path: one for path, one in _parameters(found).items() if one.grad is not None and id(one) not in dropped}
    return {f"{path}{_GRADIENT}": Gradient(one) for path, one in have.items()}


def only_gradients(paths: Collection[str], found: Mapping[str, Any]) -> None:
    for path, one in _parameters(found).items():
        one.grad = torch.zeros_like(one) if f"{path}{_GRADIENT}" in paths else None


_GRADIENT = ".grad"


def _parameters(found: Mapping[str, Any]) -> dict[str, Any]:
    inside = {path: one._value if isinstance(one, keras.Variable) else one for path, one in found.items()}
    return {path: one for path, one in inside.items() if isinstance(one, torch.nn.Parameter)}


def _steps_as_keras_does(model: keras.Model) -> bool:
    ours = [getattr(getattr(model, name), "__func__", None) for name in _OF_A_STEP]
    return ours == [getattr(keras.Model, name) for name in _OF_A_STEP]


_OF_A_STEP = ("train_step", "make_train_function", "zero_grad")


class GeneratorState:
    """What a ``torch.Generator`` draws next, as a variable."""

    dtype = torch.uint8
    device = torch.device("cpu")

    def __init__(self, generator: Any) -> None:
        self._generator = generator
        self.shape = tuple(generator.get_state().shape)

    def detach(self) -> Any:
        return self._generator.get_state()

    def copy_(self, state: Any) -> None:
        self._generator.set_state(state)


def copy_of(held: Any) -> Any:
    """On the host, into memory of NumPy's."""
    if held.device.type == "cpu":
        return np.array(view(held.detach()))
    return OnDevice(held.detach())


class OnDevice:
    """A copy in the device's own memory, while that has room for it. The thread that writes the pair fetches it."""

    def __init__(self, tensor: Any) -> None:
        self.shape = tuple(tensor.shape)
        self.dtype = np.dtype(keras.backend.standardize_dtype(tensor.dtype))
        self._copy = tensor.clone() if _has_room(tensor) else tensor.cpu()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return view(self._copy.cpu())


def _has_room(tensor: Any) -> bool:
    if tensor.device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(tensor.device)
    cached = torch.cuda.memory_reserved(tensor.device) - torch.cuda.memory_allocated(tensor.device)
    return bool(free + cached > 2 * tensor.nbytes)


def view(tensor: Any) -> np.ndarray:
    """Of a tensor on the host, without a copy."""
    if tensor.dtype not in _NARROW:
        return np.asarray(tensor)
    bits, dtype = _NARROW[tensor.dtype]
    return np.asarray(tensor.view(bits)).view(dtype)


def tensor_of(value: Any) -> Any:
    array = np.asarray(value)
    for narrow, (bits, dtype) in _NARROW.items():
        if array.dtype == dtype:
            return torch.as_tensor(array.view(str(bits).removeprefix("torch."))).view(narrow)
    return torch.as_tensor(array)
