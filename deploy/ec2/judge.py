"""What the machines of check-on-aws must have told: each stopped well, and no batch was lost or done twice."""

from __future__ import annotations

import re
from typing import Any

LOSSES = ("left-behind", "pair-lost", "save-failed", "unstored", "abandoned", "fenced", "crashed", "passed-over")
"""Events of a machine that lost something, or nearly did."""


class Failed(Exception):
    """The check did not pass; one line for a person."""


def judge(machines: list[list[dict[str, Any]]], interruptions: int) -> None:
    """``machines`` are their events, in order; all but the last were interrupted. Raises Failed."""
    expect(len(machines), interruptions + 1, "the machines that trained")
    executed, before = 0, ""
    for number, events in enumerate(machines, 1):
        last = number == len(machines)
        ended = one(events, "exited", number)
        expect(ended["code"], 0 if last else 75, f"the exit code of machine {number}'s training")
        executed += ended["executed"]
        if before:
            restored = one(events, "restored", number)["checkpoint"]
            expect(restored, before, f"the checkpoint that machine {number} resumed from")
        before = next((event["checkpoint"] for event in reversed(events) if event["event"] == "stored"), "")
        expect(executed, step(before), f"the batches executed up to the last checkpoint of machine {number}")
        lost = [event["event"] for event in events if event["event"] in LOSSES]
        expect(lost, [], f"losses of machine {number}")
        if not last:
            noticed = [event for event in events if event["event"] == "notice" and "spot notice" in event["what"]]
            expect(bool(noticed), True, f"whether machine {number} saw a spot notice")
    one(machines[-1], "training-finished", len(machines))


def one(events: list[dict[str, Any]], kind: str, number: int) -> dict[str, Any]:
    """The only event of its kind."""
    found = [event for event in events if event["event"] == kind]
    expect(len(found), 1, f"how often machine {number} told {kind!r}")
    return found[0]


def step(checkpoint: str) -> int:
    """model-EPOCH-STEP-…; -1 for a name that is none."""
    found = re.match(r"model-\d+-(\d+)-", checkpoint)
    return int(found[1]) if found else -1


def expect(found: object, wanted: object, what: str) -> None:
    if found != wanted:
        raise Failed(f"{what}: {found!r} instead of {wanted!r}")
