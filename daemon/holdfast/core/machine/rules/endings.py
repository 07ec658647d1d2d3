"""How a run ends: what is left is looked for and stored, then the code is decided."""

from __future__ import annotations

from dataclasses import replace

from ...checkpoint_name import CheckpointName
from ...errors import Exit
from ...wording import count
from ..effects import DropUploads, Effect, ExitWith, Finalize, Kill, Say, ScanSpool, Upload
from ..events import Finalized, LeaseLost, SpoolScanned
from ..state import Outcome, Phase, State, Step


def order_of(name: str) -> tuple[int, int]:
    parsed = CheckpointName.parse(name)
    return parsed.order if parsed is not None else (0, 0)


def flush(state: State, outcome: Outcome) -> Step:
    return replace(state, phase=Phase.FLUSHING, outcome=outcome), (ScanSpool(),)


def scanned(state: State, event: SpoolScanned, now: float) -> Step:
    new = sorted(event.owed - state.owed)
    state = replace(state, owed=state.owed | event.owed, scanned=True)
    if not state.owed:
        return finalize(state)
    return state, tuple(Upload(name) for name in new)


def finalize(state: State) -> Step:
    return replace(state, finalizing=True), (
        Finalize(complete=state.outcome is Outcome.COMPLETE and not is_missing(state)),
    )


def finalized(state: State, event: Finalized, now: float) -> Step:
    """Ends. Where the store refuses ``complete.json`` for good it does not wait: an idle machine costs money."""
    if not event.refusal:
        return end(state, code_of(state))
    state = replace(state, unmarked=True)
    said = Say("unmarked", f"the run cannot be marked complete: {event.refusal}", warning=True)
    return end(state, code_of(state), said)


def is_missing(state: State) -> bool:
    """Does the store lack a state that it should have? After a stop it needs the newest one only."""
    if state.save_failed or state.lost is not None:
        return True
    if state.outcome is Outcome.COMPLETE:
        return state.left_behind or bool(state.owed) or (state.seen_training and _has_nothing(state))
    return any(CheckpointName.parse(name) is None or order_of(name) > state.newest_stored for name in state.owed)


def code_of(state: State) -> Exit:
    if state.outcome is Outcome.FENCED:
        return Exit.FENCED
    if state.outcome is Outcome.FAILED:
        return state.fault or Exit.FAILED
    if is_missing(state):
        return Exit.FAILED if _has_nothing(state) else Exit.UNSTORED
    if state.unmarked:
        return Exit.UNSTORED
    return Exit.COMPLETE if state.outcome is Outcome.COMPLETE else Exit.STOPPED


def _has_nothing(state: State) -> bool:
    """A command that ended by itself and could never save: no pair to resume from is here or in the store."""
    never = state.saved_step == 0 and state.resumed is None and state.newest_stored == (0, 0)
    return state.outcome is Outcome.COMPLETE and never and not state.owed and state.lost is None


def abandon(state: State, why: str) -> Step:
    """Ends at once. What is still owed stays in the work dir."""
    stopped = state.scanned and state.outcome is Outcome.STOPPED
    code = code_of(state) if stopped or state.outcome in (Outcome.FAILED, Outcome.FENCED) else Exit.UNSTORED
    said = Say("abandoned", f"{why}: {count(len(state.owed), 'pair')} not in the store", warning=bool(state.owed))
    return end(state, code, said, Kill())


def fenced(state: State, event: LeaseLost, now: float) -> Step:
    said = Say("fenced", f"the lease was taken over by {event.holder}: stopping, nothing more is stored", warning=True)
    state = replace(state, outcome=Outcome.FENCED)
    if state.phase in (Phase.STARTING, Phase.RUNNING, Phase.DRAINING):
        return replace(state, phase=Phase.DRAINING, deadline=None, term_at=None), (
            said,
            DropUploads(),
            Kill(),
        )
    return end(state, Exit.FENCED, said, DropUploads())


def end(state: State, code: Exit, *effects: Effect) -> Step:
    """Ends with ``code``; after a stop, ``code_of_stop`` may replace it (a state not stored, a run that is too old)."""
    if code is Exit.STOPPED:
        code = code_of_stop(state)
        state = replace(state, stopped_for_good=code is Exit.FAILED)
    phase = Phase.DONE if code in (Exit.COMPLETE, Exit.STOPPED) else Phase.FAILED
    ended = replace(state, phase=phase, exit_code=code, deadline=None, term_at=None, kill_at=None, retry_at=None)
    return ended, (*effects, ExitWith(code))


def code_of_stop(state: State) -> Exit:
    """A run that is out of time is not to be started again, unless a state would stay on this machine only.

    A start that never came to the command did not store what an earlier one left here, either.
    """
    if state.unstored_here and not state.begun:
        return Exit.UNSTORED
    return Exit.FAILED if state.out_of_time else Exit.STOPPED


def after(said: Say, result: Step) -> Step:
    state, effects = result
    return state, (said, *effects)
