"""The supervisor's decisions: phases, events, effects and one pure function, ``step``.

``step(state, event, now)`` answers what the new state is and what is to be done; it does nothing itself and knows no
clock. The shell (supervisor/loop.py) performs the effects and reports what came of them as further events. Time is
monotonic seconds. An event that a phase has no rule for raises IllegalTransition and changes nothing.

    RESTORING ──► STARTING ──► RUNNING ──► FLUSHING ──► DONE
        ▲             │           │ │          ▲    └──► FAILED
        │             └───────────┼─┼─► DRAINING
        └──────── BACKOFF ◄───────┘ └──────────┘

RESTORING  waits while an interruption notice stands, then for the lease
STARTING   the command runs and has not begun to train; the newest valid pair is on its way here, or is here
RUNNING    it trains
DRAINING   it was asked to stop, and has a little time to save
FLUSHING   it is gone; what it left goes to the store
BACKOFF    it crashed and will be started again
DONE       ended as it should: complete, or stopped with its state stored
FAILED     ended otherwise

The shape (events in, instructions out, failures come back as events) is that of dask.distributed's worker state
machine; the table with its refusal of illegal pairs is h11's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import IllegalTransition
from .events import (
    CheckpointRefused,
    ChildExited,
    Event,
    Finalized,
    FolderSeen,
    GangBroken,
    LeaseLost,
    NoNotice,
    NoticeStands,
    NotImported,
    OutOfTime,
    PairLeftBehind,
    PairLost,
    PairSkipped,
    PairSpooled,
    PairStored,
    PairUnusable,
    Progressed,
    Ready,
    RebalanceRecommended,
    Restored,
    RestoreFailed,
    SavingFailed,
    Spawned,
    SpawnFailed,
    SpoolScanned,
    Stalled,
    StopRequested,
    Tick,
    TrainingConnected,
    TrainingEnded,
    TrainingNotServed,
    TrainingStarted,
    TrainingUnprotected,
)
from .rules import auto_failures, command, endings, gang, pairs, stops, ticks
from .state import Outcome, Phase, Rules, State, Step

__all__ = ["TABLE", "Outcome", "Phase", "Rules", "State", "Step", "step"]

_Rule = Callable[[State, Any, float], Step]


def step(state: State, event: Event, now: float) -> Step:
    """Raises IllegalTransition, with nothing changed, for an event that the present phase cannot see."""
    rule = TABLE.get((state.phase, type(event)))
    if rule is None:
        raise IllegalTransition(f"{type(event).__name__} in phase {state.phase.value}")
    return rule(state, event, now)


_P = Phase
_ALIVE = (_P.STARTING, _P.RUNNING)
TABLE: dict[tuple[Phase, type[Any]], _Rule] = {
    (_P.RESTORING, NoNotice): stops.clear_before_restore,
    (_P.RESTORING, NoticeStands): stops.notice_while_restoring,
    (_P.RESTORING, StopRequested): stops.stop_while_restoring,
    (_P.RESTORING, Ready): command.ready,
    (_P.RESTORING, Restored): command.restored,
    **{(phase, Restored): command.brought for phase in (_P.STARTING, _P.DRAINING, _P.BACKOFF)},
    **{(phase, RestoreFailed): command.restore_failed for phase in (_P.RESTORING, _P.BACKOFF)},
    (_P.STARTING, RestoreFailed): command.restore_failed_beside_command,
    **{(phase, NoticeStands): stops.notice for phase in _ALIVE},
    **{(phase, StopRequested): stops.stop for phase in _ALIVE},
    **{(phase, RebalanceRecommended): stops.rebalance for phase in _ALIVE},
    **{(phase, TrainingConnected): command.connected for phase in (*_ALIVE, _P.DRAINING)},
    **{(phase, TrainingUnprotected): command.unprotected for phase in _ALIVE},
    (_P.DRAINING, TrainingUnprotected): command.stay,
    **{(phase, NotImported): command.not_imported for phase in _ALIVE},
    **{(phase, TrainingNotServed): auto_failures.not_served for phase in _ALIVE},
    (_P.DRAINING, TrainingNotServed): command.stay,
    **{(phase, TrainingStarted): command.began for phase in _ALIVE},
    **{(phase, TrainingEnded): command.finished for phase in _ALIVE},
    **{(phase, CheckpointRefused): command.refused for phase in (*_ALIVE, _P.DRAINING)},
    **{(phase, PairUnusable): command.unusable for phase in (*_ALIVE, _P.DRAINING)},
    **{(phase, ChildExited): command.exited for phase in _ALIVE},
    (_P.STARTING, SpawnFailed): command.not_spawned,
    (_P.DRAINING, SpawnFailed): command.not_spawned_while_draining,
    **{(phase, GangBroken): gang.broken for phase in (*_ALIVE, _P.DRAINING)},
    **{(phase, GangBroken): command.stay for phase in (_P.RESTORING, _P.FLUSHING, _P.BACKOFF)},
    **{(phase, Stalled): command.stalled for phase in _ALIVE},
    (_P.DRAINING, Stalled): command.stay,
    **{(phase, Spawned): command.spawned for phase in (*_ALIVE, _P.DRAINING)},
    **{(phase, Progressed): command.progressed for phase in (*_ALIVE, _P.DRAINING)},
    **{(phase, PairSpooled): pairs.saved for phase in Phase if phase not in (_P.DONE, _P.FAILED)},
    # The child's last messages may arrive after its end, and so may the event of its start.
    **{
        (phase, event): command.stay
        for phase in (_P.RESTORING, _P.FLUSHING, _P.BACKOFF)
        for event in (
            Spawned,
            TrainingConnected,
            TrainingUnprotected,
            TrainingNotServed,
            TrainingStarted,
            TrainingEnded,
            CheckpointRefused,
            PairUnusable,
            Progressed,
        )
    },
    (_P.DRAINING, NoticeStands): stops.notice_while_draining,
    (_P.DRAINING, StopRequested): stops.hurry,
    (_P.DRAINING, TrainingStarted): command.began_while_draining,
    (_P.DRAINING, TrainingEnded): command.finished_while_draining,
    (_P.DRAINING, ChildExited): command.exited_while_draining,
    (_P.DRAINING, Tick): ticks.while_draining,
    (_P.FLUSHING, NoticeStands): stops.notice_while_flushing,
    (_P.FLUSHING, StopRequested): stops.stop_while_flushing,
    (_P.FLUSHING, SpoolScanned): endings.scanned,
    (_P.FLUSHING, Finalized): endings.finalized,
    (_P.FLUSHING, Tick): ticks.while_flushing,
    (_P.BACKOFF, NoticeStands): stops.notice_in_backoff,
    (_P.BACKOFF, StopRequested): stops.stop_in_backoff,
    (_P.BACKOFF, Tick): ticks.in_backoff,
    # What the outside does at any time, with nothing to decide there:
    **{(phase, NoNotice): stops.forget_notice for phase in Phase if phase not in (_P.RESTORING, _P.DONE, _P.FAILED)},
    **{(phase, FolderSeen): stops.see_folder for phase in Phase if phase not in (_P.DONE, _P.FAILED)},
    **{(phase, OutOfTime): stops.out_of_time for phase in Phase if phase not in (_P.DONE, _P.FAILED)},
    **{(phase, RebalanceRecommended): command.stay for phase in (_P.RESTORING, _P.DRAINING, _P.FLUSHING, _P.BACKOFF)},
    **{(phase, SavingFailed): pairs.save_failed for phase in Phase if phase not in (_P.DONE, _P.FAILED)},
    **{(phase, PairStored): pairs.stored for phase in Phase if phase not in (_P.DONE, _P.FAILED)},
    **{(phase, PairSkipped): pairs.skipped for phase in Phase if phase not in (_P.DONE, _P.FAILED)},
    **{(phase, PairLeftBehind): pairs.left_behind for phase in Phase if phase not in (_P.DONE, _P.FAILED)},
    **{(phase, PairLost): pairs.lost for phase in Phase if phase not in (_P.DONE, _P.FAILED)},
    **{(phase, LeaseLost): endings.fenced for phase in Phase if phase not in (_P.DONE, _P.FAILED)},
    **{(phase, Tick): ticks.while_alive for phase in _ALIVE},
    (_P.RESTORING, Tick): command.stay,
    **{(_P.FLUSHING, event): command.stay for event in (Ready, Restored, RestoreFailed)},
    (_P.DRAINING, RestoreFailed): command.stay,
    # An ended machine only waits for the shell to leave; what still arrives is too late to matter.
    **{(phase, event): command.stay for phase in (_P.DONE, _P.FAILED) for event in Event.__args__},
}
