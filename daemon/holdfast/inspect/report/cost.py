"""What the machines of a run cost, and what an undisturbed machine on demand would have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_NEEDED = ("productive", "validation", "after")
_ONCE = ("startup", "restore", "saving")


@dataclass(frozen=True)
class Prices:
    """Of one machine, for an hour; None where it was not given."""

    spot: float | None = None
    on_demand: float | None = None


def cost(seconds: Mapping[str, float], starts: int, prices: Prices, ranks: int = 1) -> dict[str, Any] | None:
    """``seconds`` by kind, of all ``starts``, on ``ranks`` machines at a time. None without a price.

    A machine on demand would have trained what counts, and started, restored and saved once; what it is compared with
    are all hours of the spot machines, at the price of spot machines.
    """
    if prices.spot is None and prices.on_demand is None:
        return None
    hours = ranks * sum(value for kind, value in seconds.items() if kind != "gap") / 3600
    once = sum(seconds.get(kind, 0.0) for kind in _ONCE) / max(1, starts)
    undisturbed = ranks * (sum(seconds.get(kind, 0.0) for kind in _NEEDED) + once) / 3600
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
