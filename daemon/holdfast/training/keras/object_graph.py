"""What can be reached from a training's objects: model, optimizer, losses, metrics, callbacks.

Keras lists the variables that it tracks. A script may keep state elsewhere: in ``tf.Variable`` attributes, in a loss or
a callback, in a variable that a function refers to. So the objects are walked, each once, and what is found is known by
the attributes that lead to it: the shortest path, in an order that depends on the script alone.

Objects of other libraries are left alone. Nothing is called here, and no property is read.
"""

from __future__ import annotations

import contextlib
import dis
import enum
import functools
import types
from argparse import Namespace
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..data.keras_in_use import keras
from ..data.python.references import (
    cells,
    class_attributes,
    is_own,
    is_own_function,
    names_in,
    own_functions,
    references_of,
    slots_of,
    top,
)
from .backends.chosen import backend

MOST_OBJECTS = 200_000
MODEL = "model"
INSIDE = f"{MODEL}."
OF_CLASS = " of its class"
_ATOMS = (type(None), bool, int, float, complex, str, bytes, bytearray, type, types.ModuleType, types.CodeType)
_LEAVES = (*_ATOMS, np.ndarray, np.generic, enum.Enum)
_NOT_ENTERED = {"Node", "KerasTensor", "DTypePolicy", "QuantizedDTypePolicy", "Policy", "Tracker", "CallbackList"}
_NOT_FOLLOWED = {
    *("_nodes", "_nodes_by_depth", "_operations_by_depth", "_inbound_nodes", "_outbound_nodes", "_tracker"),
    *("train_function", "test_function", "predict_function", "_distribute_strategy", "params", "_name_scope_stack"),
    "_jax_state",  # the variables' values
    # Of Keras 2: its graph of layers, what it has compiled, and the data of validation.
    *("_inbound_nodes_value", "_outbound_nodes_value", "_network_nodes", "train_tf_function", "_eval_data_handler"),
    "_steps_per_execution",  # a setting, but in an epoch's last call
    "_eval_epoch_iterator",  # the validation data, whose state is not the model's
    *("token_counts", "token_document_counts"),  # of a lookup layer: empty but while it adapts
}
_LAYERS = "_self_tracked_trackables"  # of Keras 2
# Of a compiled model inside. variables.py finds those that the step of the model around it may use.
_TRAINED = "._trainable_variables"
_OF_ITS_OWN_TRAINING = {
    *("optimizer", "_optimizer", "_compile_config", "_compile_metrics", "_compile_loss", "_loss_tracker"),
    *("compiled_loss", "compiled_metrics"),  # of Keras 2
}


@dataclass(frozen=True)
class Slot:
    """A place that holds a plain Python value: an attribute, or a variable of a function. ``holder`` has it under
    ``key``. ``seen_by`` is an object that has the attribute of its class, and may get one of its own.
    """

    path: str
    holder: Any
    key: Any
    seen_by: Any = None

    def of_object(self) -> Slot:
        """Where ``seen_by`` has its own."""
        return Slot(self.path.removesuffix(OF_CLASS), self.seen_by, self.key)

    def get(self) -> Any:
        """Raises LookupError if it is there no more."""
        if isinstance(self.holder, types.CellType):
            try:
                return self.holder.cell_contents
            except ValueError:
                raise LookupError(self.path) from None
        return (self.holder if isinstance(self.holder, dict) else vars(self.holder))[self.key]

    def set(self, value: Any) -> None:
        if isinstance(self.holder, types.CellType):
            self.holder.cell_contents = value
        elif isinstance(self.holder, dict):
            self.holder[self.key] = value
        else:
            setattr(self.holder, self.key, value)


@dataclass(frozen=True, eq=False)
class Step:
    """From ``holder`` to what it has under ``name``, and the step that led to ``holder``."""

    holder: Any
    name: str
    value: Any
    before: Step | None


@dataclass
class Reached:
    """``variables`` of Keras and its backend, and ``layers``, by their paths; ``slots`` of the script's own objects.
    ``ways``: the last step to each variable, and to each object that has slots, by their paths.
    """

    variables: dict[str, Any] = field(default_factory=dict)
    layers: dict[str, keras.layers.Layer] = field(default_factory=dict)
    tables: dict[str, Any] = field(default_factory=dict)
    unkept: dict[str, Any] = field(default_factory=dict)
    slots: list[Slot] = field(default_factory=list)
    ways: dict[str, Step | None] = field(default_factory=dict)
    whole: bool = True


def reach(roots: Mapping[str, Any], most: int = MOST_OBJECTS) -> Reached:
    """Everything that can be reached from ``roots``. ``whole`` is False if there were more than ``most`` objects."""
    found, seen = Reached(), _Seen()
    waiting: deque[tuple[str, Any, Step | None]] = deque((name, root, None) for name, root in roots.items())
    # What an optimizer knows once it is built: each has another path before that.
    later: deque[tuple[str, Any, Step | None]] = deque()
    while waiting or later:
        path, value, step = (waiting or later).popleft()
        if not seen.adds(value):
            continue
        if len(seen) > most:
            found.whole = False
            break
        with contextlib.suppress(Exception):  # an object of the script's may refuse to be looked at
            trained = isinstance(value, keras.optimizers.Optimizer)
            slots = len(found.slots)
            for name, part in _look(found, path, value, path not in roots):
                further = (f"{path}{name}", part, Step(value, name, part, step))
                (later if trained and name == _TRAINED else waiting).append(further)
            if path in found.variables or len(found.slots) > slots:
                found.ways[path] = step
    return found


def _look(found: Reached, path: str, value: Any, inside: bool) -> list[tuple[str, Any]]:
    """Notes what ``value`` is; returns what it leads to."""
    kinds = backend().kinds()
    if isinstance(value, (keras.Variable, *kinds.variables)):
        found.variables[path] = backend().as_variable(value)
        return []
    if isinstance(value, keras.layers.Layer):
        found.layers[path] = value
    elif isinstance(value, kinds.tables):
        found.tables[path] = value
    elif isinstance(value, kinds.unkept):
        found.unkept[path] = value
    found.slots += _slots(path, value)
    alone = inside and path.startswith(INSIDE) and isinstance(value, keras.Model)
    return [part for part in parts(value) if not (alone and part[0][1:] in _OF_ITS_OWN_TRAINING)]


def parts(value: Any) -> list[tuple[str, Any]]:
    """What it leads to, with names that begin as in a path: ``.factor``, ``[0]``."""
    return [(name, part) for name, part in _parts(value) if not _is_leaf(part)]


def _is_leaf(value: Any) -> bool:
    try:
        return isinstance(value, (*_LEAVES, *backend().kinds().leaves))
    except Exception:  # a proxy that stands for nothing yet, say
        return True


class _Seen:
    """Objects, each known by what it is: a Keras variable is the backend's variable inside of it."""

    def __init__(self) -> None:
        self._ids: set[int] = set()
        self._alive: list[Any] = []  # an id is taken again once its object is gone

    def adds(self, value: Any) -> bool:
        own = {id(value)} | ({id(backend().inner(value))} if isinstance(value, keras.Variable) else set())
        if own & self._ids:
            return False
        self._ids |= own
        self._alive.append(value)
        return True

    def __len__(self) -> int:
        return len(self._alive)


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from ((f"[{_key(key, number)}]", part) for number, (key, part) in enumerate(list(value.items())))
    elif isinstance(value, list | tuple | deque):
        yield from ((f"[{number}]", part) for number, part in enumerate(list(value)))
    elif isinstance(value, types.FunctionType):
        yield from ((f":{one.name}", one.value) for one in references_of(value))
    elif isinstance(value, types.MethodType):
        yield from (("", value.__self__), ("", value.__func__))
    elif isinstance(value, functools.partial):
        yield from ((".func", value.func), (".args", value.args), (".keywords", value.keywords))
    elif isinstance(getattr(value, "__dict__", {}).get("_python_function"), types.FunctionType):  # a tf.function
        yield "", vars(value)["_python_function"]
    elif _is_entered(value):
        yield from ((f".{name}", part) for name, part in _attributes(value))
        yield from (
            (f".{name}", part) for _, name, part in class_attributes(type(value), getattr(value, "__dict__", {}))
        )
        yield from ((f".{name}", function) for name, function in own_functions(type(value)))


def _key(key: Any, number: int) -> str:
    """A dict's key if it reads well, else its number there. ``@`` has a meaning in a variable's group."""
    return f"{key!r}".replace("@", "%40") if isinstance(key, str | int) and len(str(key)) < 80 else str(number)


def _is_entered(value: Any) -> bool:
    cls = type(value)
    if top(cls.__module__) in ("keras", "tf_keras"):
        return cls.__name__ not in _NOT_ENTERED
    return is_own(cls) or isinstance(value, (Namespace, types.SimpleNamespace, *backend().kinds().entered))


def _is_the_scripts(name: str, cls: type) -> bool:
    return not name.startswith("_") and name not in names_set_by_libraries(cls)


def _attributes(value: Any) -> list[tuple[str, Any]]:
    """Public ones first, in an order that depends on the script alone."""
    inside = dict(backend().attributes(value)) if hasattr(value, "__dict__") else {}
    inside |= slots_of(value)
    own = is_own(type(value))
    names = [name for name in inside if name not in _NOT_FOLLOWED or (own and _is_the_scripts(name, type(value)))]
    names = [name for name in names if not name.startswith("_self_") or name == _LAYERS]
    return [(name, inside[name]) for name in sorted(names, key=lambda name: (name.startswith("_"), name))]


def _slots(path: str, value: Any) -> Iterator[Slot]:
    """Of the script's own objects and functions; what Keras' classes set themselves is Keras' affair."""
    if isinstance(value, types.FunctionType):
        if is_own_function(value):
            yield from (Slot(f"{path}:{name}", cell, None) for name, cell in cells(value))
            names = [name for name in names_in(value.__code__).variables if name in value.__globals__]
            yield from (Slot(f"{path}:{name}", value.__globals__, name) for name in names)
    elif is_own(type(value)) or isinstance(value, Namespace | types.SimpleNamespace):
        theirs = names_set_by_libraries(type(value))  # type: ignore[arg-type]
        own = [name for name, _ in _attributes(value) if name not in theirs and name in vars(value)]
        yield from (Slot(f"{path}.{name}", value, name) for name in own)
        yield from (
            Slot(f"{path}.{name}{OF_CLASS}", cls, name, value)
            for cls, name, _ in class_attributes(type(value), getattr(value, "__dict__", {}))
        )


@functools.cache
def names_set_by_libraries(cls: type) -> frozenset[str]:
    """Attributes that the code of Keras' classes sets, among those that ``cls`` derives from."""
    foreign = [one for one in cls.__mro__ if not is_own(one) and one is not object]
    codes: list[types.CodeType] = []
    for one in foreign:
        for member in vars(one).values():
            function: Callable[..., Any] = getattr(member, "__func__", getattr(member, "fset", None) or member)
            if isinstance(function, types.FunctionType):
                codes.append(function.__code__)
    return frozenset(name for code in codes for name in _stored_names(code)) | {"_model"}


def _stored_names(code: types.CodeType) -> Iterator[str]:
    """By the instruction that sets an attribute, here and in what is nested."""
    for instruction in dis.get_instructions(code):
        if instruction.opname == "STORE_ATTR":
            yield instruction.argval
        elif isinstance(instruction.argval, types.CodeType):
            yield from _stored_names(instruction.argval)
