"""What the script's classes and functions lead to besides an object's attributes: variables of a module, closures.

Nothing is called here.
"""

from __future__ import annotations

import dis
import functools
import os
import sys
import types
from collections.abc import Container, Iterable, Iterator
from typing import Any, NamedTuple

_FOREIGN = {
    *sys.stdlib_module_names,
    *("keras", "tf_keras", "tensorflow", "numpy", "jax", "jaxlib", "torch", "h5py", "ml_dtypes", "google", "absl"),
    *("optree", "pandas", "scipy", "sklearn", "matplotlib", "tensorboard", "orbax", "wandb", "mlflow", "tqdm", "rich"),
    "holdfast",
} - {"__main__"}
_SETS = ("STORE_GLOBAL", "STORE_DEREF")


class OutsideName(NamedTuple):
    """``holder`` (a cell, or a dict of variables) has ``value`` under ``key``. ``sets``: the function replaces it."""

    name: str
    holder: Any
    key: Any
    value: Any
    sets: bool = False


def top(module: str | None) -> str:
    return (module or "").split(".")[0]


def is_own(cls: type) -> bool:
    """Is it the script's, or a package's that is none of the well-known libraries?"""
    return top(cls.__module__) not in _FOREIGN


def is_own_function(function: types.FunctionType) -> bool:
    return top(function.__module__) not in _FOREIGN


def is_scripts(cls: type) -> bool:
    """Is it the script's, and of no package that is installed?"""
    file = getattr(sys.modules.get(cls.__module__), "__file__", None) or ""
    return is_own(cls) and not {"site-packages", "dist-packages"}.intersection(file.split(os.sep))


def slots_of(value: Any) -> dict[str, Any]:
    """Attributes that the script's classes keep apart from ``__dict__``."""
    found = {}
    for cls in filter(is_own, type(value).__mro__):
        slots = cls.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if isinstance(cls.__dict__.get(name), types.MemberDescriptorType) and hasattr(value, name):
                found[name] = getattr(value, name)
    return found


def class_attributes(cls: type, but: Container[str]) -> Iterator[tuple[type, str, Any]]:
    """Of the classes that are the script's: values, ``but`` those that an object has own ones of."""
    for one in filter(is_own, cls.__mro__):
        for name, member in vars(one).items():
            is_value = not (name.startswith("__") or hasattr(type(member), "__get__") or isinstance(member, type))
            if is_value and name not in but:
                yield one, name, member


def own_functions(cls: type) -> Iterator[tuple[str, types.FunctionType]]:
    """Those of the classes that are the script's: they may refer to variables outside."""
    for one in cls.__mro__:
        if is_own(one):
            for name, member in vars(one).items():
                function = getattr(member, "__func__", getattr(member, "fget", member))
                if isinstance(function, types.FunctionType):
                    yield name, function


def references_of(function: types.FunctionType) -> Iterator[OutsideName]:
    """What a function of the script's refers to: closed over, as defaults, and global."""
    if not is_own_function(function):
        return
    names, attributes, sets = names_in(function.__code__)
    for name, cell in cells(function):
        try:
            yield OutsideName(name, cell, None, cell.cell_contents, name in sets)
        except ValueError:
            continue  # not bound yet
    for number, value in enumerate(function.__defaults__ or ()):
        yield OutsideName(f"default{number}", function.__defaults__, number, value)
    for name, value in (function.__kwdefaults__ or {}).items():
        yield OutsideName(name, function.__kwdefaults__, name, value)
    variables = function.__globals__
    for name in names:
        value = variables.get(name)
        if isinstance(value, types.ModuleType):
            if top(value.__name__) not in _FOREIGN:
                of_module = vars(value)
                inside = [one for one in attributes if one in of_module]
                yield from (OutsideName(f"{name}.{one}", of_module, one, of_module[one]) for one in inside)
        elif value is not None:
            yield OutsideName(name, variables, name, value, name in sets)


def cells(function: types.FunctionType) -> Iterable[tuple[str, types.CellType]]:
    return zip(function.__code__.co_freevars, function.__closure__ or (), strict=False)


class NamesInCode(NamedTuple):
    variables: tuple[str, ...]
    attributes: tuple[str, ...]
    sets: frozenset[str]


@functools.cache
def names_in(code: types.CodeType) -> NamesInCode:
    """The global variables, and the attributes of whatever, that code refers to, and the variables outside of it that
    it sets; what is nested in it too.
    """
    variables: dict[str, None] = {}
    attributes: dict[str, None] = {}
    sets: set[str] = set()
    for instruction in dis.get_instructions(code):
        if instruction.opname in _SETS:
            sets.add(instruction.argval)
        if instruction.opname in ("LOAD_GLOBAL", "STORE_GLOBAL", "LOAD_NAME"):
            variables[instruction.argval] = None
        elif instruction.opname in ("LOAD_ATTR", "LOAD_METHOD", "STORE_ATTR"):
            attributes[instruction.argval] = None
        elif isinstance(instruction.argval, types.CodeType):
            inner = names_in(instruction.argval)
            variables |= dict.fromkeys(inner.variables)
            attributes |= dict.fromkeys(inner.attributes)
            sets |= inner.sets
    return NamesInCode(tuple(variables), tuple(attributes), frozenset(sets))
