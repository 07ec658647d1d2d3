"""Several machines that train one model together: what becomes of their command where one of them is lost."""

from __future__ import annotations

from dataclasses import replace

from ..effects import Kill, Restore, Say
from ..events import ChildExited, GangBroken
from ..state import Phase, State, Step


def broken(state: State, event: GangBroken, now: float) -> Step:
    """What is left of the command waits for the rank that is gone, or dies of it at a moment of its framework's."""
    state = replace(state, term_at=None, kill_at=None)
    return state, (Say("gang-broken", f"{event.text}: the other ranks are ended", warning=True), Kill())


def lost(state: State, event: ChildExited, now: float) -> Step:
    """An interruption, and no failure of the command: all ranks begin again from the newest checkpoint.

    A rank that is lost again before a batch is new may be lost each time, as where its memory does not suffice: the
    others do the same batches again after a while only. It never ends them: another machine may come.
    """
    losses = state.losses + 1
    if losses == 1:
        state = replace(state, phase=Phase.RESTORING, restore_asked=True, losses=losses)
        return state, (Restore(state.avoid),)
    wait = state.rules.backoff.delay(losses - 1, event.chance)
    text = f"a rank was lost {losses} times without a new batch ({event.lost}): starting again in {wait:.1f} s"
    state = replace(state, phase=Phase.BACKOFF, losses=losses, retry_at=now + wait)
    return state, (Say("gang-broken", text, warning=True),)
