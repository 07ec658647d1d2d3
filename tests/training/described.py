"""All that can be reached from an object, as text by path: two descriptions differ where anything has changed."""

from __future__ import annotations

import re
import types
from typing import Any

import keras
import numpy as np
import tensorflow as tf

_PLAIN = (type(None), bool, int, float, complex, str, bytes)
_NUMBERED = re.compile(r"_\d+(?=')")  # TensorFlow numbers the variables of a process
_CODE = (type, types.FunctionType, types.BuiltinFunctionType, types.ModuleType, types.CodeType)


def described(*roots: Any, identity: bool = True) -> dict[str, str]:
    """``identity``: another object of the same content counts as a change."""
    found: dict[str, str] = {}
    seen: dict[int, str] = {}
    alive: list[Any] = []  # an id is taken again once its object is gone
    waiting = [(f"[{number}]", root) for number, root in enumerate(roots)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, _PLAIN):
            found[path] = repr(value)
        elif isinstance(value, tuple):  # a value: another one of the same parts is the same
            found[path] = type(value).__name__
            waiting += [(f"{path}[{number}]", part) for number, part in enumerate(value)]
        elif id(value) in seen:
            found[path] = f"= {seen[id(value)]}"
        else:
            seen[id(value)] = path
            alive.append(value)
            found[path] = _text(value, identity)
            waiting += [(f"{path}{name}", part) for name, part in _parts(value)]
    return found if identity else {_NUMBERED.sub("_N", path): _NUMBERED.sub("_N", text) for path, text in found.items()}


def changes(before: dict[str, str], after: dict[str, str]) -> list[str]:
    paths = sorted({*before, *after})
    return [f"{p}: {before.get(p)} -> {after.get(p)}" for p in paths if before.get(p) != after.get(p)]


def _text(value: Any, identity: bool) -> str:
    mine = f" {id(value)}" if identity else ""
    if isinstance(value, keras.Variable):
        return f"{value.path} {value.trainable} {value.numpy().tobytes().hex()}{mine}"
    if isinstance(value, tf.Variable):
        return f"{value.name} {value.numpy().tobytes().hex()}"
    if isinstance(value, np.ndarray | np.generic):
        return f"{value.dtype} {value.shape} {value.tobytes().hex()}"
    return f"{type(value).__name__}{mine}"


def _parts(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, (keras.Variable, tf.Variable, np.ndarray, np.generic, *_CODE)):
        return []
    if isinstance(value, types.MethodType):
        return [(".__self__", value.__self__)]
    if type(value).__module__.startswith("tensorflow"):
        return []
    inside = [(f".{name}", part) for name, part in sorted(getattr(value, "__dict__", {}).items())]
    if isinstance(value, dict):
        inside += [
            (f"[{key!r}]" if isinstance(key, _PLAIN) else f"[{n}]", v) for n, (key, v) in enumerate(value.items())
        ]
    elif isinstance(value, list):
        inside += [(f"[{number}]", part) for number, part in enumerate(value)]
    elif isinstance(value, set | frozenset):
        inside += [(".size", len(value))]
    return inside
