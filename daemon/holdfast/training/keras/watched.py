"""The objects of one ``fit`` that may hold state, and the variables among them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from ..pair.pair import Place
from . import callback_state, variables
from .layer_state import LayerStates
from .object_graph import MODEL, MOST_OBJECTS, Reached, reach
from .variables import Part


class Watched:
    """A model and the other callbacks of its ``fit``, and all that can be reached from them.

    They are walked once, and again after ``look_again``: what a first step or an epoch's end makes is found then.
    ``say`` receives what cannot be kept. ``data`` are variables that the data depends on, by stable names; ``not_ours``
    are those that drawing from it changes, which are restored with its position.
    """

    def __init__(
        self,
        model: keras.Model,
        callbacks: Sequence[Any] = (),
        say: Callable[[str], None] = lambda text: None,
        data: Mapping[str, Any] | None = None,
        not_ours: Sequence[Any] = (),
    ) -> None:
        self.model = model
        self._callbacks = callbacks
        self._say = say
        self._data = dict(data or {})
        self._not_ours = {id(variable) for variable in not_ours}
        self._found: Reached | None = None
        self.layer_states = LayerStates()

    def look_again(self) -> None:
        self._found = None

    @property
    def found(self) -> Reached:
        if self._found is None:
            self._found = reach({MODEL: self.model, **_by_class(self._callbacks), "data": self._data})
            self._say_what_is_not_kept(self._found)
        return self._found

    def parts(self) -> dict[Place, Part]:
        """Every variable, by its place."""
        kept = {path: one for path, one in self.found.variables.items() if self._is_kept(one)}
        return variables.collect(self.model, kept)

    def _is_kept(self, variable: Any) -> bool:
        inner = getattr(variable, "_value", variable)
        return variable.dtype != "string" and id(inner) not in self._not_ours

    def own_callbacks(self) -> set[str]:
        """The paths of those that offer no state of themselves."""
        return {path for path, one in _by_class(self._callbacks).items() if not callback_state.offers_state(one)}

    def _say_what_is_not_kept(self, found: Reached) -> None:
        for path in found.tables:
            self._say(f"{path} is a lookup table that can change: what it learns is not kept")
        for path, variable in found.variables.items():
            if variable.dtype == "string":
                self._say(f"{path} is a variable that holds texts: it is not kept")
        if not found.whole:
            self._say(
                f"the model and the callbacks hold more than {MOST_OBJECTS:,} objects, and no more are searched: a "
                "variable beyond them that Keras does not list is not saved"
            )


def _by_class(callbacks: Sequence[Any]) -> dict[str, Any]:
    """By the names of their classes, and a number from the second of one class on."""
    named: dict[str, Any] = {}
    for callback in callbacks:
        name = type(callback).__name__
        number = sum(type(other).__name__ == name for other in named.values())
        named[f"{name}[{number}]" if number else name] = callback
    return named
