"""The state that an object tells itself, by ``get_state()`` and ``set_state(state)``: it is taken at its word."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ....core.errors import InvalidPair
from ...pair.plain import from_plain, to_plain_part


class NotTold(Exception):
    """The line says why."""


def tells(thing: Any) -> bool:
    return callable(getattr(thing, "get_state", None)) and callable(getattr(thing, "set_state", None))


class ToldState:
    """Of ``root``. Raises NotTold as it is made if there is none to be had; what comes later is named once."""

    changes = False
    generators: Sequence[Any] = ()

    def __init__(self, root: Any, say: Callable[[str], None]) -> None:
        self._root = root
        self._say = say
        self._last = self._told()

    def read(self) -> dict[str, Any]:
        try:
            self._last = self._told()
        except NotTold as error:
            self._say(str(error))
        return self._last

    small = read

    def put(self, saved: Mapping[str, Any]) -> None:
        """Raises InvalidPair if ``root`` refuses it."""
        if "told" not in saved:
            return
        try:
            self._root.set_state(from_plain(saved["told"]))
        except Exception as error:
            name = type(self._root).__name__
            raise InvalidPair(f"{name}.set_state() raised {type(error).__name__}: {error}") from None

    def _told(self) -> dict[str, Any]:
        try:
            return {"told": to_plain_part(self._root.get_state())}
        except Exception as error:  # of the script's, whatever it is: the training must not die of it
            name = type(self._root).__name__
            raise NotTold(f"{name} has no state: its get_state() raised {type(error).__name__}: {error}") from None
