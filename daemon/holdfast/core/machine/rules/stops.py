"""Notices and requests to stop, in each phase."""

from __future__ import annotations

from dataclasses import replace

from ...errors import Exit
from ...policy import ask_time
from ..effects import AskSave, AskStop, Kill, Restore, Say, Terminate
from ..events import FolderSeen, NoNotice, NoticeStands, OutOfTime, RebalanceRecommended, StopRequested
from ..state import LEAST_WINDOW, ONE_STOP_TIME, Outcome, Phase, State, Step
from .endings import abandon, after, end, flush


def clear_before_restore(state: State, event: NoNotice, now: float) -> Step:
    """Nothing is started before each source has looked, and while a notice of any stands."""
    state = state.cleared(event.source)
    if state.restore_asked or state.notices or state.awaited:
        return state, ()
    return replace(state, restore_asked=True), (Restore(),)


def forget_notice(state: State, event: NoNotice, now: float) -> Step:
    return state.cleared(event.source), ()


def notice_while_restoring(state: State, event: NoticeStands, now: float) -> Step:
    waits, state = state.notice is not None, state.noticed(event)
    if state.storing:
        return state, ()
    if state.restore_asked:
        return give_up_restoring(state, event.what, event.seconds, now)
    if waits:
        return state, ()
    stored = "what an earlier start left here is stored; " if state.unstored_here else ""
    stands = "nothing is started while the notice stands" + (f": {event.until}" if event.until else "")
    said = Say("waiting", f"{event.what}: this machine is going away, so {stored}{stands}")
    if not state.unstored_here:
        return state, (said,)
    return replace(state, restore_asked=True, storing=True), (said, Restore(only_store=event.what))


def _counted(state: State, now: float) -> State:
    return replace(state, stops=state.stops + 1, stopped_at=now)


def _is_the_same(state: State, now: float) -> bool:
    """A signal to a process group reaches holdfast a second time through a launcher that forwards it."""
    return now - state.stopped_at < ONE_STOP_TIME


def stop_while_restoring(state: State, event: StopRequested, now: float) -> Step:
    return give_up_restoring(_counted(state, now), event.what, None, now)


def see_folder(state: State, event: FolderSeen, now: float) -> Step:
    return replace(state, unstored_here=event.unstored), ()


def out_of_time(state: State, event: OutOfTime, now: float) -> Step:
    """As a signal, except that a stop under way is not hurried."""
    state, request = replace(state, out_of_time=True), StopRequested("--max-hours")
    if state.phase in (Phase.DRAINING, Phase.FLUSHING):
        return state, ()
    if state.phase is Phase.RESTORING:
        return stop_while_restoring(state, request, now)
    return stop_in_backoff(state, request, now) if state.phase is Phase.BACKOFF else stop(state, request, now)


def give_up_restoring(state: State, what: str, seconds: float | None, now: float) -> Step:
    """Before the first start there is nothing to store, but for what an earlier one left here."""
    if not state.begun and not state.owed:
        return end(state, Exit.STOPPED, Say("stopping", f"{what} before the training was started"))
    return flush_before(state, what, seconds, now)


def flush_before(state: State, what: str, seconds: float | None, now: float) -> Step:
    window = window_of(state, seconds)
    state = replace(state, stopping=what, deadline=now + window, retry_at=None)
    return after(Say("stopping", what), flush(state, Outcome.STOPPED))


def notice(state: State, event: NoticeStands, now: float) -> Step:
    return drain(state.noticed(event), event.what, event.seconds, now)


def stop(state: State, event: StopRequested, now: float) -> Step:
    return drain(_counted(state, now), event.what, None, now)


def drain(state: State, reason: str, seconds: float | None, now: float) -> Step:
    window = window_of(state, seconds)
    state = replace(
        state,
        phase=Phase.DRAINING,
        stopping=reason,
        deadline=now + window,
        term_at=now + ask_time(window),
        kill_at=None,
        stalled=False,  # a drain has deadlines of its own
    )
    said = Say("stopping", f"{reason}: draining, {window:.0f} s are left")
    if state.training:
        return state, (said, AskStop(reason))
    if state.trained_to_the_end:
        seconds = ask_time(window)
        text = f"{reason}: the training is over; the rest of the script has {seconds:.0f} s to end by itself"
        return replace(state, ending=True), (Say("stopping", text),)
    return replace(state, term_at=None, kill_at=now + ask_time(window)), (said, Terminate())


def window_of(state: State, seconds: float | None) -> float:
    """How long a stop may take: a machine that should be gone already is used for as long as it is still there."""
    return state.rules.drain_time if seconds is None else min(state.rules.drain_time, max(LEAST_WINDOW, seconds))


def notice_while_draining(state: State, event: NoticeStands, now: float) -> Step:
    return shorten(state.noticed(event), event.seconds, now), ()


def shorten(state: State, seconds: float | None, now: float) -> State:
    """An earlier deadline replaces a later one; a later one changes nothing."""
    if seconds is None or state.deadline is None or now + seconds >= state.deadline:
        return state
    window = max(LEAST_WINDOW, seconds)
    hurry = now + ask_time(window)
    return replace(
        state,
        deadline=min(state.deadline, now + window),
        term_at=None if state.term_at is None else min(state.term_at, hurry),
        kill_at=None if state.kill_at is None else min(state.kill_at, hurry),
    )


def hurry(state: State, event: StopRequested, now: float) -> Step:
    """The second stop gives up waiting for the child, the third gives up everything."""
    if _is_the_same(state, now):
        return state, ()
    state = _counted(state, now)
    if state.stops >= 3:
        return abandon(state, f"{event.what}, for the third time")
    if state.stops == 2:
        state = replace(state, term_at=None, kill_at=None)
        return state, (Say("hurrying", f"{event.what} again: not waiting for the command any longer", True), Kill())
    return state, ()


def stop_while_flushing(state: State, event: StopRequested, now: float) -> Step:
    if _is_the_same(state, now):
        return state, ()
    state = _counted(state, now)
    if state.stops >= 3:
        return abandon(state, f"{event.what}, for the third time")
    if state.deadline is None:
        state = replace(state, deadline=now + state.rules.drain_time)
    return state, (Say("stopping", f"{event.what}: {max(0.0, (state.deadline or now) - now):.0f} s are left to store"),)


def notice_while_flushing(state: State, event: NoticeStands, now: float) -> Step:
    state = state.noticed(event)
    if state.deadline is None:
        return replace(state, deadline=now + window_of(state, event.seconds)), (Say("stopping", event.what),)
    return shorten(state, event.seconds, now), ()


def stop_in_backoff(state: State, event: StopRequested, now: float) -> Step:
    return flush_before(_counted(state, now), event.what, None, now)


def notice_in_backoff(state: State, event: NoticeStands, now: float) -> Step:
    return flush_before(state.noticed(event), event.what, event.seconds, now)


def rebalance(state: State, event: RebalanceRecommended, now: float) -> Step:
    what = "rebalance recommendation"
    if state.rules.rebalance == "ignore":
        return state, (Say("rebalance", f"{what}: ignored"),)
    if state.rules.rebalance == "drain":
        return drain(state, what, None, now)
    if not state.training:
        return state, (Say("rebalance", f"{what}: there is nothing to save now"),)
    return state, (Say("rebalance", f"{what}: saving now, and training continues"), AskSave("rebalance"))
