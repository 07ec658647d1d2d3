"""The command: how it starts, what it reports, and what its end leads to."""

from __future__ import annotations

from dataclasses import replace

from ...errors import Exit
from ...wording import count
from ..crash_signature import Failure, early_end
from ..effects import AskStop, DumpStacks, Kill, Restore, Say, Spawn, Terminate
from ..events import (
    CheckpointRefused,
    ChildExited,
    Event,
    NotImported,
    PairUnusable,
    Progressed,
    Ready,
    Restored,
    RestoreFailed,
    Spawned,
    SpawnFailed,
    Stalled,
    TrainingConnected,
    TrainingEnded,
    TrainingStarted,
    TrainingUnprotected,
)
from ..state import MOST_DEATHS, NO_TRAINING_TIME, Outcome, Phase, State, Step
from . import gang
from .auto_failures import CODE, nothing_trained
from .endings import after, end, flush
from .stops import flush_before, give_up_restoring


def stay(state: State, event: Event, now: float) -> Step:
    return state, ()


def ready(state: State, event: Ready, now: float) -> Step:
    return start(replace(state, bringing=True, trained=state.trained or event.pairs))


def start(state: State) -> Step:
    state = replace(
        state,
        phase=Phase.STARTING,
        begun=True,
        save_failed=False,
        spawned=False,
        connected=False,
        unprotected=False,
        training=False,
        finished=False,
        unfinished=frozenset(),
        moved=False,
        whole=False,
        at=0,
        stalled=False,
        warn_at=None,
    )
    return state, (Spawn(),)


def restored(state: State, event: Restored, now: float) -> Step:
    if event.complete:
        return end(state, Exit.COMPLETE, _nothing_to_do(event))
    if event.over:  # what an earlier start left is stored within a drain's time
        state = replace(state, out_of_time=state.out_of_time or event.out_of_time)
        return flush_before(state, event.over, None, now)
    return start(brought(state, event, now)[0])


def _nothing_to_do(event: Restored) -> Say:
    run = f"run {event.run}" if event.run else "the run"
    name = event.run.partition("-")[2] or "NAME"
    ways = f"'holdfast new {name}' begins another run of that name, --extend continues this one"
    if event.otherwise:
        text = f"{run} is complete, so nothing is trained ({event.otherwise}); {ways}"
        return Say("complete", text, warning=True)
    return Say("complete", f"{run} is complete; nothing to do ({ways})")


def brought(state: State, event: Restored, now: float) -> Step:
    return replace(
        state,
        bringing=False,
        saved_step=event.step,
        midway=event.midway if state.midway is None else state.midway,
        trained=state.trained or event.checkpoint is not None,
        resumed=event.checkpoint,
        deaths=state.deaths if event.checkpoint == state.resumed else 0,
    ), ()


def restore_failed(state: State, event: RestoreFailed, now: float) -> Step:
    """What an earlier start left here, or the training stored here before a restart, is still owed."""
    if event.code is Exit.STOPPED:  # nothing failed: there is nobody to train with
        return give_up_restoring(state, event.error, None, now)
    said, state = not_brought(state, event)
    return after(said, flush(state, Outcome.FAILED)) if state.begun else end(state, event.code, said)


def restore_failed_beside_command(state: State, event: RestoreFailed, now: float) -> Step:
    said, state = not_brought(state, event)
    return state, (said, Kill())


def not_brought(state: State, event: RestoreFailed) -> tuple[Say, State]:
    said = Say("failed", event.error, warning=event.code is not Exit.STOPPED)
    return said, replace(state, bringing=False, fault=event.code, retry_at=None)


def spawned(state: State, event: Spawned, now: float) -> Step:
    return replace(state, spawned=True, warn_at=None if state.seen_training else now + NO_TRAINING_TIME), ()


def connected(state: State, event: TrainingConnected, now: float) -> Step:
    return replace(state, connected=True), ()


def unprotected(state: State, event: TrainingUnprotected, now: float) -> Step:
    """Beside a training that is protected it may be another rank's, or an experiment. Said once."""
    if state.connected or state.unfinished or state.finished or state.unprotected:
        return state, ()
    return replace(state, unprotected=True, warn_at=None), (Say("unprotected", event.text, warning=True),)


def not_imported(state: State, event: NotImported, now: float) -> Step:
    """Such a command may only prepare data. Said once, in place of the later warning."""
    if state.warn_at is None:
        return state, ()
    text = (
        f"TensorFlow was loaded {event.seconds:.0f} s ago, and nothing in this command has imported holdfast: if it "
        "trains, nothing of it is saved, and a stop loses all of it. Add holdfast.Resume() to the callbacks of fit, or "
        "use holdfast.session() in a loop"
    )
    return replace(state, warn_at=None), (Say("no-training", text, warning=True),)


def began(state: State, event: TrainingStarted, now: float) -> Step:
    return replace(_begun(state, event), phase=Phase.RUNNING, warn_at=None), ()


def _begun(state: State, event: TrainingStarted) -> State:
    unfinished = state.unfinished | {event.training}
    state = replace(state, connected=False, training=True, finished=False, whole=not event.left, seen_training=True)
    return replace(state, unfinished=unfinished, midway=True)


def began_while_draining(state: State, event: TrainingStarted, now: float) -> Step:
    """The request to stop came before there was a training loop to hear it."""
    reason = state.stopping or "stop"
    return replace(_begun(state, event), ending=False, stopping=reason), (AskStop(reason),)


def refused(state: State, event: CheckpointRefused, now: float) -> Step:
    return replace(state, refused=True), (Say("failed", event.error, warning=True),)


def unusable(state: State, event: PairUnusable, now: float) -> Step:
    said = Say("passed-over", f"{event.name}: passed over: {event.error}", warning=True)
    return replace(state, unusable=True, midway=True, saved_step=0, avoid=state.avoid | {event.name}), (said,)


def finished(state: State, event: TrainingEnded, now: float) -> Step:
    unfinished = state.unfinished - {event.training}
    return replace(state, training=False, finished=True, unfinished=unfinished, midway=bool(unfinished)), ()


def finished_while_draining(state: State, event: TrainingEnded, now: float) -> Step:
    """Training ended before the request to stop arrived: the script's rest is stopped, and runs at the next start."""
    state, _ = finished(state, event, now)
    return replace(state, finished=False, term_at=None, kill_at=now + state.rules.term_time), (Terminate(),)


def progressed(state: State, event: Progressed, now: float) -> Step:
    """Batches that were done before, and are done again after a crash, are no progress."""
    state = replace(state, trained=True, moved=True, at=event.step, deaths=0)
    if state.stalled:  # it only slept, or was woken: it need not be ended
        state = replace(state, stalled=False, kill_at=None)
    if event.step <= state.step:
        return state, ()
    return replace(state, step=event.step, failures=0, losses=0), ()


def stalled(state: State, event: Stalled, now: float) -> Step:
    """One that is not gone after a kill, as it is stuck in a broken disk, is reported and killed again each time."""
    if state.kill_at is not None or state.bringing:  # then it waits for its pair
        return state, ()
    text = f"no batch, no CPU and no data for {event.seconds:.0f} s: the command hangs"
    state = replace(state, stalled=True, kill_at=now + state.rules.dump_time)
    return state, (Say("stalled", text, warning=True, seconds=round(event.seconds, 3)), DumpStacks())


def exited(state: State, event: ChildExited, now: float) -> Step:
    event = replace(event, how="it hung") if state.stalled else event
    unfinished = _unfinished(state, event) if event.code == 0 else ""
    state = replace(state, training=False, spawned=False, term_at=None, kill_at=None)
    if state.fault is not None:
        return flush(state, Outcome.FAILED)
    if event.lost and state.moved:  # else it counts as a failure, so that this cannot go on for ever
        return gang.lost(state, event, now)
    if event.stood_by:
        return start(state)
    if event.code == 0 and state.bringing and state.trained and state.midway is None:
        return _once_more(state)
    if unfinished:
        event = replace(event, how=unfinished, failure=event.failure or early_end(state.at, unfinished))
    elif event.code == 0 and state.refused and not state.finished:
        return flush(state, Outcome.FAILED)
    elif event.code == 0 and state.rules.auto and not (state.trained or state.seen_training or state.unprotected):
        return after(Say("failed", nothing_trained(event), warning=True), flush(state, Outcome.FAILED))
    elif event.code == 0 and event.tensorflow and not (state.trained or state.seen_training or state.unprotected):
        text = (
            "the command loaded TensorFlow or Keras, and no training of it reported to holdfast: nothing is saved, so "
            "the run is not complete. Add holdfast.Resume() to fit's callbacks, or use holdfast.session() in a loop "
            f"{CODE}"
        )
        return after(Say("failed", text, warning=True), flush(state, Outcome.FAILED))
    elif event.code == 0 and state.unprotected and not state.finished:
        text = f"the command trained without ever saving, so the run is not complete {CODE}"
        said = Say("failed", text, warning=True)
        return after(said, flush(state, Outcome.FAILED))
    elif event.code == 0:
        return flush(state, Outcome.COMPLETE)
    if event.code == Exit.STOPPED:
        said = Say("stopping", "the command was asked to stop by somebody else, and did")
        return after(said, flush(replace(state, deadline=now + state.rules.drain_time), Outcome.STOPPED))
    if state.unusable:  # no failure: there is one pair less to try
        state = replace(state, phase=Phase.RESTORING, restore_asked=True, unusable=False)
        return state, (Restore(state.avoid),)
    may_pass = state.stalled or event.lost  # a hang may well be the network's, and not the script's
    if not state.trained and not may_pass:
        failed = f"the command failed before its first batch ({how(event)}) and is not started again"
        text = f"{failed}{_wrong_python(event)} {CODE}"
        said = Say("failed", text, warning=True)
        return after(said, flush(state, Outcome.FAILED))
    if state.refused:
        return flush(state, Outcome.FAILED)
    state, effects = start_again(state, event, now)
    if state.phase is not Phase.BACKOFF:
        return state, effects
    state, blamed = blame(state)
    return state, (*effects, *blamed)


def _once_more(state: State) -> Step:
    """Whether the run's newest checkpoint is of a training that is over is known when it is here."""
    text = "the command ended with exit 0 before its checkpoint was here; it is started again when that is"
    return replace(state, phase=Phase.RESTORING), (Say("waiting", text, warning=True),)


def not_spawned(state: State, event: SpawnFailed, now: float) -> Step:
    """A machine that has no process to give now may have one later; what is wrong for good is a wrong setting."""
    state = replace(state, spawned=False, term_at=None, kill_at=None)
    if state.fault is not None:
        return flush(state, Outcome.FAILED)
    if event.for_good:
        said = Say("failed", f"the command does not start: {event.error}; correct it, or its program's rights", True)
        return after(said, flush(replace(state, fault=Exit.USAGE), Outcome.FAILED))
    return start_again(state, ChildExited(1, event.chance, f"it cannot be started: {event.error}"), now)


def not_spawned_while_draining(state: State, event: SpawnFailed, now: float) -> Step:
    return exited_while_draining(state, ChildExited(1, how=event.error), now)


def start_again(state: State, event: ChildExited, now: float) -> Step:
    failures = state.failures + 1
    if failures > state.rules.max_restarts:
        return give_up(state, event)
    if failures > 1 and event.failure is not None and event.failure.repeats(state.failed_by):
        return give_up_repeated(state, event.failure)
    wait = state.rules.backoff.delay(failures, event.chance)
    again = f"starting it again in {wait:.1f} s (restart {failures} of {state.rules.max_restarts} without progress)"
    said = Say("crashed", f"the command failed ({how(event)}); {again}", warning=True)
    state = replace(state, phase=Phase.BACKOFF, failures=failures, retry_at=now + wait)
    return replace(state, failed_by=event.failure), (said,)


def _unfinished(state: State, event: ChildExited) -> str:
    """Why an exit code of 0 is not the end of the training: for people, empty if it is."""
    if state.unfinished or state.connected:
        unsaved = ", with batches that are not saved" if state.at > state.saved_step else ""
        return f"exit 0 in the middle of its training{unsaved}: the training never reported its end"
    if event.left_running and not state.finished:
        left = count(event.left_running, "process", "processes")
        return (
            f"its first process ended with exit 0, before a training began, and left {left} running, which holdfast "
            "ended: it must wait for what it starts, as 'setsid --wait', or 'wait' in a shell, does"
        )
    if event.failure is not None and (event.failed_later or not state.finished):
        return f"exit 0 after {event.failure.text}; behind a pipe, 'set -o pipefail' keeps the exit code"
    if state.midway and not state.finished:
        return (
            "exit 0 before a training began, and the newest checkpoint is of one that is not over: the command must "
            "come to it again, if only to find nothing left to train"
        )
    return ""


def give_up(state: State, event: ChildExited) -> Step:
    """The first of the failures may well have made progress: only the restarts are known to have made none."""
    most = state.rules.max_restarts
    failure = f"the command failed again after {count(most, 'restart')} without progress ({how(event)})"
    if most == 0:
        failure = f"the command failed ({how(event)}), and --max-restarts is 0"
    said = Say("failed", f"the command failed ({how(event)}) and is not started again", warning=True)
    return after(said, flush(replace(state, failure=failure), Outcome.FAILED))


def give_up_repeated(state: State, failure: Failure) -> Step:
    """The same exception at the same place, and not one new batch between: a third start would end there as well."""
    text = f"the command failed twice in the same way without progress: {failure.text}"
    said = Say("failed", f"the command is not started again, as it would fail again: {failure.text}", warning=True)
    return after(said, flush(replace(state, failure=text), Outcome.FAILED))


def blame(state: State) -> Step:
    """A pair that the command died of a few times, before it trained a single batch, is passed over from now on.

    It is not to blame where nothing was left to train: then the command died of what the script does afterwards.
    """
    if state.resumed is None or state.moved or state.whole or state.bringing or state.stalled:
        return state, ()
    state = replace(state, deaths=state.deaths + 1)
    if state.deaths < MOST_DEATHS:
        return state, ()
    text = f"{state.resumed}: passed over, the command died of it {state.deaths} times before its first batch"
    assert state.resumed is not None
    return replace(state, avoid=state.avoid | {state.resumed}), (Say("passed-over", text, warning=True),)


def how(event: ChildExited) -> str:
    return event.how or f"exit {event.code}"


def _wrong_python(event: ChildExited) -> str:
    if not event.own_python or event.failure is None or event.failure.kind != "ModuleNotFoundError":
        return ""
    return "; its python is that of holdfast's own environment: if the script has another, give that one's path"


def exited_while_draining(state: State, event: ChildExited, now: float) -> Step:
    """An exit code of 0 after SIGTERM completes nothing: a script may exit so on SIGTERM, between two fits."""
    by_itself = state.ending and event.code == 0 and not event.signalled and not _unfinished(state, event)
    state = replace(state, training=False, spawned=False, term_at=None, kill_at=None)
    if state.outcome is Outcome.FENCED:
        return end(state, Exit.FENCED)
    if by_itself:
        return flush(state, Outcome.COMPLETE)
    behind = not state.finished and state.at > state.saved_step
    if event.code == Exit.UNSTORED or (behind and event.code != Exit.STOPPED):
        said = Say("unstored", f"the command ended ({how(event)}) without storing its last state", warning=True)
        return after(said, flush(replace(state, save_failed=True), Outcome.STOPPED))
    return flush(state, Outcome.STOPPED)
