"""What becomes of pairs: saved, stored, lost, skipped, left."""

from __future__ import annotations

from dataclasses import replace

from ...checkpoint_name import CheckpointName
from ..effects import Say, Upload
from ..events import PairLeftBehind, PairLost, PairSkipped, PairSpooled, PairStored, SavingFailed
from ..state import Outcome, State, Step
from .endings import finalize, order_of


def saved(state: State, event: PairSpooled, now: float) -> Step:
    if state.outcome is Outcome.FENCED or state.scanned:  # the scan of the spool has the last word
        return state, ()
    name = CheckpointName.parse(event.name)
    saved_step = max(state.saved_step, name.step if name else 0)
    state = replace(state, owed=state.owed | {event.name}, saved_step=saved_step, save_failed=False)
    return state, (Upload(event.name),)


def save_failed(state: State, event: SavingFailed, now: float) -> Step:
    return replace(state, save_failed=True), ()


def stored(state: State, event: PairStored, now: float) -> Step:
    newest = max(state.newest_stored, order_of(event.name))
    lost = None if state.lost is not None and newest > state.lost else state.lost
    return when_stored(replace(state, owed=state.owed - {event.name}, newest_stored=newest, lost=lost))


def lost(state: State, event: PairLost, now: float) -> Step:
    """A pair older than one that is stored is no loss."""
    order = order_of(event.name)
    lost = state.lost if order < state.newest_stored else max(order, state.lost or order)
    state, effects = when_stored(replace(state, owed=state.owed - {event.name}, lost=lost))
    return state, (Say("pair-lost", f"{event.name} cannot be stored: {event.error}", warning=True), *effects)


def skipped(state: State, event: PairSkipped, now: float) -> Step:
    return when_stored(replace(state, owed=state.owed - {event.name}))


def left_behind(state: State, event: PairLeftBehind, now: float) -> Step:
    state, effects = when_stored(replace(state, owed=state.owed - {event.name}, left_behind=True))
    text = f"{event.name}: there is no time to store it; it stays in the work dir"
    return state, (Say("left-behind", text, warning=True), *effects)


def when_stored(state: State) -> Step:
    if state.scanned and not state.owed and not state.finalizing:
        return finalize(state)
    return state, ()
