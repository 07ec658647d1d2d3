"""A run in one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...core.errors import EXIT_MEANINGS, Exit
from ...core.wording import count, duration_text
from .moments import clock

AT_LEAST = "at least "


def sentence(summary: Mapping[str, Any]) -> str:
    """``complete: 4 starts, 3 interruptions, 0 batches lost, 44 done twice``."""
    if not summary["starts"]:
        return "there are no events of this run in the store"
    state, batches, progress = summary["state"], summary["batches"], summary["progress"]
    least = {number: AT_LEAST if number in batches["at_least"] else "" for number in ("lost", "again")}
    parts = [
        (AT_LEAST if summary["unseen"] else "")
        + count(summary["starts"], "start")
        + (f" on {count(summary['hosts'], 'machine')}" if summary["hosts"] else ""),
        count(len(summary["interruptions"]), "interruption"),
        count(summary["crashes"], "crash", "crashes") if summary["crashes"] else "",
        _lost(summary, least["lost"]),
        f"{least['again']}{batches['again']} done twice",
    ]
    head = {
        "complete": "complete",
        "running": f"running: {progress['text']}" if progress else "running",
        "interrupted": "interrupted, to be continued",
        "silent": f"not heard of for {duration_text(summary['made'] - summary['ended'])}",
        "failed": _failed(summary),
    }[state]
    return f"{head}: {', '.join(part for part in parts if part)}"


def _lost(summary: Mapping[str, Any], least: str) -> str:
    """A machine at work, or killed just now, has done more than the store has heard of."""
    lost = count(summary["batches"]["lost"], "batch", "batches")
    if summary["state"] == "running":
        return f"{lost} not stored yet as of {clock(summary['ended'])} UTC"
    return f"{least}{lost} lost"


def _failed(summary: Mapping[str, Any]) -> str:
    if summary["failure"]:
        return f"failed: {summary['failure']}"
    code = summary["lanes"][-1]["exit_code"]
    try:
        return f"ended with exit {code} ({EXIT_MEANINGS[Exit(code)]})"
    except (ValueError, KeyError):
        return f"ended with exit {code}"
