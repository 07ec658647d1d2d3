"""Whether what a walk of object_graph.py found is still where it was found: a script may put others there at any batch.

A walk takes long, and nearly all of what it finds stays where it is. So only what lies on the ways to some of it is
looked at: state that no list of Keras' has.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any

from .backends.chosen import backend
from .object_graph import Step, parts


class Ways:
    """``last_steps`` are the last ones of some ways, which begin at ``roots``."""

    def __init__(self, last_steps: Iterable[Step | None], roots: Iterable[Any]) -> None:
        self._holders: dict[int, tuple[Any, list[Step]]] = {id(root): (root, []) for root in roots}
        seen: set[int] = set()
        for last in last_steps:
            step = last
            while step is not None and id(step) not in seen:
                seen.add(id(step))
                self._holders.setdefault(id(step.holder), (step.holder, []))[1].append(step)
                step = step.before
        self._names = {key: list(_parts(holder)) for key, (holder, _) in self._holders.items()}

    def are_others(self) -> bool:
        return any(self._differ(key, *held) for key, held in self._holders.items())

    def _differ(self, key: int, holder: Any, steps: list[Step]) -> bool:
        now = _parts(holder)
        if list(now) != self._names[key]:
            return True
        return not all(any(_is(part, step.value) for part in now.get(step.name, ())) for step in steps)


def _parts(holder: Any) -> dict[str, list[Any]]:
    """By their names: a method leads to two of the same one."""
    found: dict[str, list[Any]] = {}
    with contextlib.suppress(Exception):  # an object of the script's may refuse to be looked at
        for name, part in parts(holder):
            found.setdefault(name, []).append(part)
    return found


def _is(part: Any, value: Any) -> bool:
    return part is value or (isinstance(part, backend().kinds().views) and bool(part == value))
