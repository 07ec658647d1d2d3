"""Loss and metrics of a run's checkpoints, over batches and over time, with so many points as can be seen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ...core.checkpoint_name import CheckpointName
from ...core.history.event import Event, finite
from ...core.history.starts import Start
from ...core.manifest import Manifest

MOST_SERIES = 24
MOST_POINTS = 400


class Point(NamedTuple):
    """``at``: seconds since 1970; ``fit``: which of the run's fits it is of, from 1 on."""

    step: int
    at: float
    value: float
    fit: int = 1


def series(starts: Sequence[Start], manifests: Iterable[Manifest]) -> dict[str, list[Point]]:
    """The points of each metric by its name, in the order of their steps; the loss is first.

    What a later start did again counts once, as it was done last. What a checkpoint's event does not say (those of
    early versions) is in its manifest, if that is still there.
    """
    told = {manifest.name: manifest.metrics for manifest in manifests}
    found: dict[str, dict[int, Point]] = {}
    for event in (event for start in starts for event in start.events if event.kind == "saved"):
        name = CheckpointName.parse(event.text("checkpoint"))
        if name is None:
            continue
        for metric, value in _metrics(name, event, told.get(name, {})).items():
            number = finite(value)
            if number is not None and (metric in found or len(found) < MOST_SERIES):
                found.setdefault(metric, {})[name.step] = Point(name.step, event.at, number, event.count("fit") or 1)
    in_order = sorted(found, key=lambda metric: (metric != "loss", metric != "val_loss", metric))
    return {metric: sorted(found[metric].values()) for metric in in_order}


def _metrics(name: CheckpointName, event: Event, told: Mapping[str, object]) -> Mapping[str, object]:
    metrics = event.mapping("metrics") or told
    loss = {} if name.loss == "none" or not name.finite else {"loss": float(name.loss)}
    return {**loss, **metrics}


def thinned(points: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """So many points at most: of each stretch the first, the least, the greatest and the last. No spike is lost."""
    if len(points) <= most:
        return list(points)
    stretches = max(1, most // 4)
    found: list[Point] = []
    for number in range(stretches):
        part = points[number * len(points) // stretches : (number + 1) * len(points) // stretches]
        least, greatest = min(part, key=lambda p: p.value), max(part, key=lambda p: p.value)
        found += sorted({part[0], least, greatest, part[-1]})
    return found
