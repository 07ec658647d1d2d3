"""The age that a run may reach: ``--max-hours``, counted from the run's birth.

The birth is ``created`` in the store's run.json, so the count goes over all machines that the run has had, and over
the time in which it had none. It is wall time: what a limit is for is a bill, or a deadline.
"""

from __future__ import annotations

from datetime import UTC, datetime

from ...core.errors import Exit, HoldfastError
from ...core.runs import RunId
from ...store import Store
from ...store.catalog import birth


class TooOld(HoldfastError):
    """The run is as old as it may become."""

    exit_code = Exit.FAILED


def seconds_left(store: Store, run: RunId, max_hours: float, now: datetime) -> float:
    """Raises TooOld, or StoreError. A run whose birth was not recorded is taken for new."""
    left = max_hours * 3600 - (now - (_created(store, run) or now)).total_seconds()
    if left <= 0:
        raise TooOld(
            f"run {run} is older than --max-hours {max_hours:g}: nothing is started. Its checkpoints are in the store; "
            "a higher --max-hours resumes from them"
        )
    return left


def _created(store: Store, run: RunId) -> datetime | None:
    try:
        born = datetime.fromisoformat(birth(store, run)["created"])
    except (ValueError, TypeError, KeyError):
        return None
    return born if born.tzinfo else born.replace(tzinfo=UTC)
