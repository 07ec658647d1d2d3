"""Times of a report, in UTC: a page is read elsewhere than where the machines are."""

from __future__ import annotations

from datetime import UTC, datetime


def clock(at: float, date: bool = False) -> str:
    """``16:17:06``, or ``22 Nov 16:17``."""
    moment = datetime.fromtimestamp(at, UTC)
    return f"{moment:%d %b %H:%M}" if date else f"{moment:%H:%M:%S}"


def full(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"
