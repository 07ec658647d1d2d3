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
    try:
        return {"told": to_plain_part(thing.get_state())}
    except Exception as error:  # of the script's, whatever it is: the training must not die of it
        name = type(thing).__name__
        raise NotTold(
            f"{name} has no state: its get_state() raised {type(error).__name__}: {one_line(str(error))}"
        ) from None


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

    def put(self, saved: Mapping[str, Any]) -> None:
        """Raises InvalidPair if ``root`` refuses it."""
        if "told" in saved:
            try:
                put_told(self._root, saved)
            except NotTold as error:
                raise InvalidPair(str(error)) from None
