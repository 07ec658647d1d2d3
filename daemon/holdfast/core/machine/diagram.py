"""The diagram of the phases in docs/supervision.md: the machine itself is asked what leads from one to the next."""

from __future__ import annotations

import re

from ..errors import Exit
from .events import (
    ChildExited,
    Event,
    Finalized,
    LeaseLost,
    NoticeStands,
    RebalanceRecommended,
    Restored,
    RestoreFailed,
    SpawnFailed,
    StopRequested,
    Tick,
    TrainingStarted,
)
from .scenarios import (
    ALL,
    TRIED,
    after_events,
)
from .table import TABLE, Outcome, Phase, Rules, State, step


def _label(state: State, event: Event) -> str:
    if isinstance(event, StopRequested):
        return "third signal" if state.stops >= 2 else "signal"
    if isinstance(event, ChildExited | SpawnFailed):
        return _end_label(state, event)
    if isinstance(event, Tick):
        return "it is time" if state.phase is Phase.BACKOFF else "no time is left"
    if isinstance(event, Restored):
        return "already complete" if event.complete else "too old" if event.over else "restored"
    if isinstance(event, Finalized):
        return "ended as it should" if step(state, event, 0.0)[0].phase is Phase.DONE else "ended otherwise"
    return {
        NoticeStands: "notice",
        RebalanceRecommended: "rebalance",
        RestoreFailed: "cannot be restored",
        TrainingStarted: "training begins",
        LeaseLost: "lease lost",
    }.get(type(event)) or re.sub(r"(?<!^)(?=[A-Z])", " ", type(event).__name__).lower()


def _end_label(state: State, event: ChildExited | SpawnFailed) -> str:
    if state.phase is Phase.DRAINING:
        return "lease lost" if state.outcome is Outcome.FENCED else "the command ends"
    if isinstance(event, SpawnFailed):
        return "no such program" if event.for_good else "failure"
    return f"exit {event.code}" if event.code in (0, Exit.STOPPED) else "unusable pair" if state.unusable else "failure"


def edges() -> dict[tuple[Phase, Phase], list[str]]:
    """From phase to phase, with what leads there."""
    found: dict[tuple[Phase, Phase], list[str]] = {}
    for situation in ALL:
        state = situation.state(Rules(rebalance="drain"))
        for event in TRIED:
            if (state.phase, type(event)) not in TABLE:
                continue
            after = after_events(state, event)[0].phase
            if after is not state.phase:
                labels = found.setdefault((state.phase, after), [])
                if (label := _label(state, event)) not in labels:
                    labels.append(label)
    return found


def diagram() -> str:
    """For mermaid."""
    lines = ["stateDiagram-v2", f"    [*] --> {State().phase.value}"]
    order = list(Phase)
    for (before, after), labels in sorted(edges().items(), key=lambda edge: [order.index(phase) for phase in edge[0]]):
        lines.append(f"    {before.value} --> {after.value}: {', '.join(labels)}")
    lines += [f"    {phase.value} --> [*]" for phase in (Phase.DONE, Phase.FAILED)]
    return "\n".join(["```mermaid", *lines, "```"])
