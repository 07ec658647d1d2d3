"""What the machines of a run cost, and what an undisturbed machine on demand would have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...core.history.spans import Span
from ...core.history.starts import Start

_NEEDED = ("productive", "validation", "after")
_ONCE = ("startup", "restore", "saving")


@dataclass(frozen=True)
class Prices:
    """Of one machine, for an hour; None where it was not given."""

    spot: float | None = None
    on_demand: float | None = None


def cost(starts: Sequence[Start], drawn: Sequence[Sequence[Span]], prices: Prices) -> dict[str, Any] | None:
    """``drawn`` are the spans of each start. None without a price.

    A machine on demand would have trained what counts, and started, restored and saved once; what it is compared with
    are all hours of the spot machines, at the price of spot machines.
    """
    if prices.spot is None and prices.on_demand is None:
        return None
    hours = sum(start.machine_seconds for start in starts) / 3600
    needed = _of_all_ranks(starts, drawn, _NEEDED)
    undisturbed = (needed + _of_all_ranks(starts, drawn, _ONCE) / max(1, len(starts))) / 3600
    spot = None if prices.spot is None else hours * prices.spot
    on_demand = None if prices.on_demand is None else undisturbed * prices.on_demand
    saved = None if spot is None or on_demand is None else on_demand - spot
    return {
        "price_spot": prices.spot,
        "price_on_demand": prices.on_demand,
        "hours": hours,
        "spot": spot,
        "undisturbed_hours": undisturbed,
        "on_demand": on_demand,
        "saved": saved,
        "saved_share": saved / on_demand if saved is not None and on_demand else None,
    }


def _of_all_ranks(starts: Sequence[Start], drawn: Sequence[Sequence[Span]], kinds: tuple[str, ...]) -> float:
    """Seconds of so many machines as trained together."""
    return sum(
        start.ranks * sum(span.seconds for span in lane if span.kind in kinds)
        for start, lane in zip(starts, drawn, strict=True)
    )
