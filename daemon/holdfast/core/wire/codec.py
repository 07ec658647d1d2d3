"""Messages of one kind of conversation, each one JSON object a line."""

from __future__ import annotations

import dataclasses
import json
from types import UnionType
from typing import Any, ClassVar, Generic, Protocol, TypeVar, get_origin, get_type_hints

from ..errors import HoldfastError

MAX_LINE_BYTES = 1 << 20


class WireError(HoldfastError):
    """The other side sent something that is not a message."""


class Sendable(Protocol):
    """A dataclass with a name for its kind."""

    __dataclass_fields__: ClassVar[dict[str, Any]]
    kind: ClassVar[str]


M = TypeVar("M", bound=Sendable)


class Codec(Generic[M]):
    """For messages that are dataclasses of plain values, one of ``kinds`` each."""

    def __init__(self, kinds: tuple[type[Any], ...]) -> None:
        self._kinds = {cls.kind: cls for cls in kinds}

    def encode(self, message: M) -> bytes:
        return json.dumps({"kind": message.kind, **dataclasses.asdict(message)}).encode() + b"\n"

    def decode(self, line: bytes) -> M:
        """Raises WireError if ``line`` is not one well-formed message."""
        try:
            document = json.loads(line)
            cls = self._kinds[document.pop("kind")]
            message: M = cls(**document)
            _check(message)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise WireError(f"not a message: {line[:80]!r} ({type(error).__name__})") from None
        return message


def _check(message: Any) -> None:
    hints = get_type_hints(type(message))
    for field in dataclasses.fields(message):
        hint = hints[field.name]
        kind = hint if isinstance(hint, UnionType) else get_origin(hint) or hint
        if not isinstance(getattr(message, field.name), kind):
            raise TypeError(field.name)
