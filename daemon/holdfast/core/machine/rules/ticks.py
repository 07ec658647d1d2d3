"""What is done when its time comes."""

from __future__ import annotations

from dataclasses import replace

from ..effects import Kill, Restore, Say, Terminate
from ..events import Tick
from ..state import NO_TRAINING_TIME, Phase, State, Step
from .endings import abandon


def is_due(at: float | None, now: float) -> bool:
    return at is not None and now >= at


def while_alive(state: State, event: Tick, now: float) -> Step:
    if is_due(state.kill_at, now):
        return replace(state, kill_at=None), (Say("killing", "the command hangs: SIGKILL", warning=True), Kill())
    if not is_due(state.warn_at, now):
        return state, ()
    if state.bringing:  # its pair is still on the way
        return replace(state, warn_at=now + NO_TRAINING_TIME), ()
    asks = "has its fit of Keras not begun yet?" if state.rules.auto else "does the script use holdfast.Resume?"
    text = (
        f"no training of this command has reported to holdfast for {NO_TRAINING_TIME / 60:.0f} min: {asks} Without it "
        "nothing is saved"
    )
    return replace(state, warn_at=None), (Say("no-training", text, warning=True),)


def while_draining(state: State, event: Tick, now: float) -> Step:
    if is_due(state.term_at, now):
        said = Say("terminating", "the command did not stop in time: SIGTERM", warning=True)
        state = replace(state, ending=False, term_at=None, kill_at=now + state.rules.term_time)
        return state, (said, Terminate())
    if is_due(state.kill_at, now):
        return replace(state, kill_at=None), (Say("killing", "the command does not end: SIGKILL", warning=True), Kill())
    return abandon(state, "no time is left") if is_due(state.deadline, now) else (state, ())


def while_flushing(state: State, event: Tick, now: float) -> Step:
    return abandon(state, "no time is left") if is_due(state.deadline, now) else (state, ())


def in_backoff(state: State, event: Tick, now: float) -> Step:
    if not is_due(state.retry_at, now):
        return state, ()
    state = replace(state, phase=Phase.RESTORING, restore_asked=True, retry_at=None)
    return state, () if state.bringing else (Restore(state.avoid),)
