"""Drawings of time: a lane for each start, and one bar for all. Graphics stretch; what is read is HTML beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...core.history.spans import KINDS
from ...core.wording import duration_text
from .markup import Markup, tag
from .moments import clock

_WIDTH = 1000.0
_NAMED, _SMALL = 40, 200  # lanes: more are lower, and still more have no names and no texts
_MARKS = {"notice": "notice", "stalled": "hung", "crashed": "crashed", "stored": "stored", "gang-lost": "lost"}


def lanes(summary: Mapping[str, Any]) -> Markup:
    """A lane for each start over the time of the run, in the order of the starts."""
    rows: Sequence[Mapping[str, Any]] = summary["lanes"]
    began, ended = summary["began"], summary["ended"]
    scale = _WIDTH / max(1e-9, ended - began)
    size = "few" if len(rows) <= _NAMED else "many" if len(rows) <= _SMALL else "crowd"
    drawn = [_lane(number, row, began, scale, size) for number, row in enumerate(rows, 1)]
    days = ended - began > 86_400
    axis = tag("div", *(tag("span", clock(began + (ended - began) * i / 4, days)) for i in range(5)), class_="axis")
    return tag("div", drawn, axis, class_=f"lanes {size}")


def _lane(number: int, row: Mapping[str, Any], began: float, scale: float, size: str) -> Markup:
    offset = row["began"] - began
    shapes = _paths(row["spans"], offset, scale) if size == "crowd" else _rects(row, offset, scale)
    marks = [] if size == "crowd" else [_mark(kind, (offset + at) * scale, text) for kind, at, text in row["marks"]]
    strip = tag(
        "svg", shapes, marks, class_="strip", view_box=f"0 0 {_WIDTH:g} 10", preserve="none", role="img",
        aria_label=f"start {number}",
    )  # fmt: skip
    named = size != "crowd" or number % 50 == 1
    others = f" +{len(row['ranks']) - 1}" if len(row["ranks"]) > 1 else ""
    host = tag("span", f" · {row['host']}{others}", class_="host") if row["host"] and size == "few" else ""
    hosts = ", ".join(row["ranks"][:50]) or row["host"]
    name = tag("span", str(number) if named else "", host, class_="name", title=hosts or None)
    return tag("div", name, strip, class_="lane")


def _rects(row: Mapping[str, Any], offset: float, scale: float) -> list[Markup]:
    return [
        tag(
            "rect",
            tag("title", f"{KINDS[kind][0]}: {duration_text(end - begin)}, from {clock(row['began'] + begin, True)}"),
            class_=f"k-{kind}",
            x=round((offset + begin) * scale, 2),
            width=round(max(0.8, (end - begin) * scale), 2),
            height=10,
        )
        for kind, begin, end in row["spans"]
    ]


def _paths(spans: Sequence[Sequence[Any]], offset: float, scale: float) -> list[Markup]:
    found: dict[str, str] = {}
    for kind, begin, end in spans:
        x, width = (offset + begin) * scale, max(0.8, (end - begin) * scale)
        found[kind] = found.get(kind, "") + f"M{x:.1f} 0h{width:.1f}v10h-{width:.1f}z"
    return [tag("path", class_=f"k-{kind}", d=path) for kind, path in found.items()]


def _mark(kind: str, x: float, text: str) -> Markup:
    top = 7 if kind == "stored" else 0
    return tag(
        "line",
        tag("title", f"{_MARKS[kind]}: {text}"),
        class_=f"m-{kind}",
        x1=round(x, 2),
        x2=round(x, 2),
        y1=top,
        y2=10,
    )


def time_bar(seconds: Mapping[str, float]) -> Markup:
    """All time in one bar, and what its parts are."""
    total = sum(seconds.values()) or 1.0
    shown = [(kind, seconds[kind]) for kind in KINDS if seconds.get(kind)]
    bar = tag(
        "div",
        [
            tag("span", class_=f"k-{kind}", style=f"width:{100 * one / total:.3f}%", title=_part(kind, one, total))
            for kind, one in shown
        ],
        class_="bar",
    )
    rows = [
        tag(
            "tr",
            tag("td", tag("i", class_=f"swatch k-{kind}"), f" {KINDS[kind][0]}"),
            tag("td", duration_text(one), class_="number"),
            tag("td", f"{100 * one / total:.1f} %", class_="number"),
            tag("td", KINDS[kind][1], class_="meaning"),
        )
        for kind, one in shown
    ]
    return tag("div", bar, tag("div", tag("table", rows, class_="legend"), class_="scroll"))


def _part(kind: str, seconds: float, total: float) -> str:
    return f"{KINDS[kind][0]}: {duration_text(seconds)}, {100 * seconds / total:.1f} %"
