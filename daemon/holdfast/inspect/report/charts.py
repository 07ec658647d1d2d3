"""Curves of metrics as inline SVG: no library, as lines with two labelled axes need none, and so no script in the page.

The drawing stretches to the width that there is; labels are HTML beside it, so they are as large as all other text.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .markup import Markup, tag
from .moments import clock

_WIDTH, _HEIGHT = 1000.0, 300.0
_MOST_MARKS = 60  # more would hide the curve
_LEAST_PAUSE = 0.01  # of the width; a shorter one would only make dots of a line


def charts(summary: Mapping[str, Any]) -> list[Markup]:
    """A figure for each metric, with that of the validation in it: over batches and over time."""
    curves: Mapping[str, Sequence[Sequence[float]]] = summary["curves"]
    groups: dict[str, list[str]] = {}
    for name in curves:
        groups.setdefault(name.removeprefix("val_"), []).append(name)
    return [_figure({name: curves[name] for name in names}, summary) for names in groups.values()]


def _figure(curves: Mapping[str, Sequence[Sequence[float]]], summary: Mapping[str, Any]) -> Markup:
    resumed: Sequence[Sequence[float]] = summary["resumed"]
    legend = [
        tag("span", tag("i", class_=f"swatch s{number}"), f" {name} ", tag("b", f"{points[-1][2]:.4g}"))
        for number, (name, points) in enumerate(curves.items())
    ]
    return tag(
        "figure",
        tag("figcaption", legend),
        _plot(curves, 0, [mark[0] for mark in resumed], (), lambda x: f"{x:.0f}", "batches"),
        _plot(curves, 1, [mark[1] for mark in resumed], summary["pauses"], lambda x: clock(x, True), "time"),
    )


def _plot(
    curves: Mapping[str, Sequence[Sequence[float]]],
    axis: int,
    marks: Sequence[float],
    pauses: Sequence[Sequence[float]],
    label: Any,
    title: str,
) -> Markup:
    """``pauses``: from when to when no machine trained."""
    points = [point for one in curves.values() for point in one]
    left, right = min(p[axis] for p in points), max(p[axis] for p in points)
    low, high = min(p[2] for p in points), max(p[2] for p in points)
    room = 0.0 if high > low else 1.0  # what never changes is a line in the middle
    bottom, x_scale, y_scale = low - room, _WIDTH / (right - left or 1.0), _HEIGHT / (high - low or 2 * room)
    alone = right == left  # one point, in the middle
    if alone:
        left, x_scale = left - _WIDTH / 2, 1.0
    shown = [] if alone else [mark for mark in marks if left <= mark <= right]
    lines = [_vertical((mark - left) * x_scale) for mark in shown] if len(shown) <= _MOST_MARKS else []
    long = [over for began, over in pauses if over - began > _LEAST_PAUSE * (right - left)]
    drawn = [
        _curve(number, [((p[axis] - left) * x_scale, _HEIGHT - (p[2] - bottom) * y_scale) for p in part])
        for number, one in enumerate(curves.values())
        for part in _parts(sorted(one, key=_at(axis)), long)
    ]
    svg = tag(
        "svg", lines, drawn, class_="plot", view_box=f"0 0 {_WIDTH:g} {_HEIGHT:g}", preserve="none", role="img",
        aria_label=f"{', '.join(curves)} over {title}",
    )  # fmt: skip
    return tag(
        "div",
        tag("div", tag("span", f"{high:.4g}"), tag("span", f"{low:.4g}" if high > low else ""), class_="y"),
        svg,
        tag(
            "div",
            tag("span", "" if alone else label(left)),
            tag("span", f"{title}: {label(right)}" if alone else title, class_="title"),
            tag("span", "" if alone else label(right)),
            class_="x",
        ),
        class_="chart",
    )


def _at(axis: int) -> Any:
    return lambda point: point[axis]


def _parts(points: Sequence[Sequence[float]], pauses: Sequence[float]) -> Iterator[Sequence[Sequence[float]]]:
    """What may be joined by a line: points of one fit, without a pause between them. ``pauses``: when each was over."""
    begin = 0
    for number, (one, two) in enumerate(itertools.pairwise(points), 1):
        if one[3] != two[3] or any(one[1] < over <= two[1] for over in pauses):
            yield points[begin:number]
            begin = number
    yield points[begin:]


def _curve(number: int, points: Sequence[tuple[float, float]]) -> Markup:
    """One point alone is a line of no length, which its round ends make a dot."""
    dot = len(points) == 1
    points = [*points, *points] if dot else points
    return tag(
        "polyline",
        class_=f"s{number} dot" if dot else f"s{number}",
        points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points),
        vector_effect="non-scaling-stroke",
    )


def _vertical(x: float) -> Markup:
    return tag(
        "line", class_="resumed", x1=round(x, 1), x2=round(x, 1), y1=0, y2=_HEIGHT, vector_effect="non-scaling-stroke"
    )
