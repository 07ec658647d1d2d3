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
    """An interruption, and no failure of the command: all ranks begin again from the newest checkpoint."""
    state = replace(state, phase=Phase.RESTORING, restore_asked=True)
    return state, (Restore(state.avoid),)
