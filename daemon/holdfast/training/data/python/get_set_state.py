"""The state that an object tells itself, by ``get_state()`` and ``set_state(state)``: it is taken at its word."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ....core.errors import InvalidPair, one_line
from ...pair.plain import from_plain, to_plain_part


class NotTold(Exception):
    """The line says why."""


def tells(thing: Any) -> bool:
    return callable(getattr(thing, "get_state", None)) and callable(getattr(thing, "set_state", None))


def told(thing: Any) -> dict[str, Any] | None:
    """As plain values; None where it tells none. Raises NotTold."""
    if not tells(thing):
        return None
    if _repeats_an_interleave(thing):
        raise NotTold(
            "Grain's state of a repeated interleave leaves elements out from the second repetition on (Grain 0.2.18, "
            "docs/determinism.md). Repeating the sources instead has a state that is whole"
        )
    try:
        return {"told": to_plain_part(thing.get_state())}
    except Exception as error:  # of the script's, whatever it is: the training must not die of it
        name = type(thing).__name__
        raise NotTold(
            f"{name} has no state: its get_state() raised {type(error).__name__}: {one_line(str(error))}"
        ) from None


def _repeats_an_interleave(thing: Any, repeats: bool = False) -> bool:
    """Of Grain's iterators, each of which knows those that it draws from."""
    kind = type(thing)
    if not kind.__module__.startswith("grain."):
        return False
    if repeats and "Interleave" in kind.__name__:
        return True
    repeats = repeats or "Repeat" in kind.__name__
    return any(_repeats_an_interleave(one, repeats) for one in getattr(thing, "_parents", None) or ())


def put_told(thing: Any, state: Mapping[str, Any]) -> None:
    """What ``told`` gave. Raises NotTold if ``thing`` refuses it."""
    try:
        thing.set_state(from_plain(state["told"]))
    except Exception as error:
        name = type(thing).__name__
        raise NotTold(f"{name}.set_state() raised {type(error).__name__}: {one_line(str(error))}") from None


class ToldState:
    """Of ``root``. Raises NotTold as it is made if there is none to be had; what comes later is named once."""

    changes = False
    generators: Sequence[Any] = ()

    def __init__(self, root: Any, say: Callable[[str], None]) -> None:
        self._root = root
        self._say = say
        self._last = told(root) or {}

    def read(self) -> dict[str, Any]:
        try:
            self._last = told(self._root) or {}
        except NotTold as error:
            self._say(str(error))
        return self._last

    small = read

    def check(self, saved: Mapping[str, Any]) -> None:
        """Only ``root`` can tell, by being set to it; then it is set back. Raises InvalidPair."""
        if "told" not in saved:
            return
        before = self.read()
        try:
            self.put(saved)
        finally:
            try:
                put_told(self._root, before)
            except NotTold as error:
                self._say(f"{error}, with the state that it had told just before: it may begin with another one")

    def put(self, saved: Mapping[str, Any]) -> None:
        """Raises InvalidPair if ``root`` refuses it."""
        if "told" in saved:
            try:
                put_told(self._root, saved)
            except NotTold as error:
                raise InvalidPair(str(error)) from None
