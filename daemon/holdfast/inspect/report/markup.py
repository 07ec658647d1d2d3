"""HTML in which nothing from a store can be but text: what is no Markup is escaped, and so is every attribute."""

from __future__ import annotations

import html
from collections.abc import Iterable


class Markup(str):
    """HTML that ``tag`` made."""

    __slots__ = ()


_VOID = frozenset(("meta", "br", "rect", "line", "path", "polyline", "circle"))


def tag(name: str, /, *children: str | Iterable[str], **attributes: str | float | None) -> Markup:
    """An element. ``class_`` is the attribute ``class``, ``view_box`` is ``viewBox``; one that is None is left out."""
    given = "".join(
        f' {_NAMES.get(key, key.rstrip("_").replace("_", "-"))}="{html.escape(_value(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inside = joined(*children)
    return Markup(f"<{name}{given}/>" if name in _VOID and not inside else f"<{name}{given}>{inside}</{name}>")


def joined(*children: str | Iterable[str]) -> Markup:
    parts: list[str] = []
    for child in children:
        if isinstance(child, Markup):
            parts.append(child)
        elif isinstance(child, str):
            parts.append(html.escape(visible(child)))
        else:
            parts += [joined(one) for one in child]
    return Markup("".join(parts))


def visible(text: str) -> str:
    """Control characters, and those that turn the direction of text, escaped; lines stay lines."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def _value(value: str | float) -> str:
    return visible(value) if isinstance(value, str) else f"{value:.6g}"


_NAMES = {"view_box": "viewBox", "preserve": "preserveAspectRatio", "vector_effect": "vector-effect"}
