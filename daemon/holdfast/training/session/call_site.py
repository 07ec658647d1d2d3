"""Where in the script a training is started: the calls that lead there, and how far the loops around them are.

Together they tell one execution of a line from another, in this process and in a later one ("execution indexing", Xin,
Sumner and Zhang, PLDI 2008). A loop counts by the values of its variables, if its body uses them: ``for fold in
range(5)`` starts five trainings, and ``for attempt in range(3)`` tries one three times.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import linecache
import os
import re
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any

import numpy as np

_MOST_FRAMES = 40
_REPORTS = {"print", "log", "debug", "info", "warning", "error", "exception", "critical", "write"}
_CELL_COUNT = re.compile(r"<ipython-input-\d+-")

_Loop = ast.For | ast.AsyncFor | ast.comprehension


def call_site(frame: FrameType | None, without: Iterable[str]) -> dict[str, Any]:
    """``site``, ``text``, ``lines`` and ``loops`` of the calls that lead to ``frame``, as plain values.

    Frames of the packages ``without`` are left out, and those that called the ``__main__`` module: a notebook's, or a
    profiler's.
    """
    frames = [one for one in _script_frames(frame) if _module(one).partition(".")[0] not in without]
    return {
        "site": [[_module(one), one.f_code.co_name] for one in frames],
        "text": digest([_text(one) for one in frames]),
        "lines": [one.f_lineno for one in frames],
        "loops": [loop for one in frames for loop in _loops(one)],
    }


def digest(value: Any) -> str:
    return hashlib.sha256(repr(value).encode(errors="replace")).hexdigest()[:16]


def _script_frames(frame: FrameType | None) -> list[FrameType]:
    found: list[FrameType] = []
    while frame is not None and len(found) < _MOST_FRAMES:
        found.append(frame)
        frame = frame.f_back
    mains = [i for i, one in enumerate(found) if one.f_code.co_name == "<module>" and _module(one) == "__main__"]
    return found[: mains[0] + 1] if mains else found


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__"))


def _text(frame: FrameType) -> str:
    """The line, and for the main module its file, which in a notebook is one of the cell's own."""
    path = frame.f_code.co_filename
    line = linecache.getline(path, frame.f_lineno, frame.f_globals).strip()
    file = _CELL_COUNT.sub("", os.path.basename(path)) if _module(frame) == "__main__" else ""
    return f"{file}:{line}"


def _loops(frame: FrameType) -> Iterator[list[Any]]:
    path, line = frame.f_code.co_filename, frame.f_lineno
    for first, last, names in _loops_of(path, tuple(linecache.getlines(path, frame.f_globals))):
        if first <= line <= last:
            here = [name for name in names if name in frame.f_locals]
            yield from ([name, digest(_plain(frame.f_locals[name]))] for name in here)


@functools.lru_cache(maxsize=64)
def _loops_of(path: str, lines: tuple[str, ...]) -> list[tuple[int, int, list[str]]]:
    """The first and the last line of each loop's body, and the variables that are set for each turn and used there."""
    try:
        tree = ast.parse("".join(lines))
    except (SyntaxError, ValueError, RecursionError):  # a notebook's magic, say
        return []
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.For | ast.AsyncFor):
            used = {name for statement in node.body for name in _used(statement)}
            span = node.body[0].lineno, node.body[-1].end_lineno or node.body[-1].lineno
            found.append((*span, [name for name in _targets(node) if name in used]))
        elif isinstance(node, ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp):
            names = [name for one in node.generators for name in _targets(one)]
            found.append((node.lineno, node.end_lineno or node.lineno, names))
    return found


def _targets(loop: _Loop) -> list[str]:
    return [node.id for node in ast.walk(loop.target) if isinstance(node, ast.Name)]


def _used(node: ast.AST) -> Iterator[str]:
    """Names that are read; not for what is said about it, nor once something was raised."""
    if isinstance(node, ast.ExceptHandler) or (isinstance(node, ast.Call) and _name(node.func) in _REPORTS):
        return
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        yield node.id
    for child in ast.iter_child_nodes(node):
        yield from _used(child)


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _plain(value: Any) -> Any:
    """What stands for the same value in a later process."""
    if value is None or isinstance(value, bool | int | float | str | bytes | np.generic):
        return value.item() if isinstance(value, np.generic) else value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, np.ndarray):
        return value.shape, value.dtype.str, value.flat[:: max(1, value.size // 32)].tobytes()
    if isinstance(value, dict):
        return [(str(key), _plain(item)) for key, item in value.items()]
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in (sorted(value, key=repr) if isinstance(value, set | frozenset) else value)]
    kind = value if isinstance(value, type) or hasattr(value, "__qualname__") else type(value)
    return kind.__module__, kind.__qualname__
