"""The objects of one ``fit`` that may hold state, and the variables among them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..data.keras_in_use import keras
from ..pair.pair_files import Place
from . import callback_state, variables
from .backends.chosen import backend
from .layer_state import LayerStates
from .object_graph import INSIDE, MODEL, MOST_OBJECTS, Reached, Step, reach
from .variables import Part
from .ways import Ways


class Watched:
    """A model and the other callbacks of its ``fit``, and all that can be reached from them.

    They are walked once, and again after ``look_again``: what a first step or an epoch's end makes is found then.
    ``look_for_others`` sees whether the script has put others in their place since.
    ``say`` receives what cannot be kept. ``data`` are variables that the data depends on, by stable names; ``not_ours``
    are variables that fetching batches changes: the position in the data restores them.
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
        self._ways: Ways | None = None
        self.layer_states = LayerStates()

    def look_again(self) -> None:
        self._found = self._ways = None

    def look_for_others(self) -> None:
        if self._ways is not None and self._ways.are_others():
            self.look_again()

    @property
    def found(self) -> Reached:
        if self._found is None:
            roots = {MODEL: self.model, **_by_class(self._callbacks)}
            self._found = reach({**roots, "data": self._data})
            self._ways = Ways(self._ways_to_kept(self._found), roots.values())
            self._say_what_is_not_kept(self._found)
        return self._found

    def _ways_to_kept(self, found: Reached) -> list[Step | None]:
        """To variables that no list of Keras' has, and to the callbacks' own values."""
        paths = {part.reached_by for part in self.parts().values()}
        return [step for path, step in found.ways.items() if path in paths or not path.startswith(INSIDE)]

    def parts(self) -> dict[Place, Part]:
        """Every variable, by its place."""
        kept = {path: one for path, one in self.found.variables.items() if self._is_kept(one)}
        return variables.collect(self.model, {**kept, **backend().gradients(self.model, kept)})

    def parts_for(self, values: Iterable[Place]) -> dict[Place, Part]:
        """As ``parts``, with the gradients that a checkpoint of those ``values`` has, and no others."""
        paths = {place.group.removeprefix(variables.REACHED) for place in values if variables.is_reached(place)}
        backend().only_gradients(paths, self.found.variables)
        return self.parts()

    def _is_kept(self, variable: Any) -> bool:
        return variable.dtype != "string" and id(backend().inner(variable)) not in self._not_ours

    def own_callbacks(self) -> dict[str, Any]:
        """Those that offer no state of themselves, by their paths."""
        return {path: one for path, one in _by_class(self._callbacks).items() if not callback_state.offers_state(one)}

    def _say_what_is_not_kept(self, found: Reached) -> None:
        for path in found.tables:
            self._say(f"{path} is a lookup table that can change: what it learns is not kept")
        for path, one in found.unkept.items():
            self._say(
                f"{path} is PyTorch's {type(one).__name__}, whose state is not kept: a resume begins it anew, and is "
                "not exact. Use an optimizer of Keras', or holdfast.session() in a loop of your own"
            )
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
