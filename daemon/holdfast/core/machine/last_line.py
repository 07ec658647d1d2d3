"""The last line of a start: how it ended, and where the run's state is."""

from __future__ import annotations

from dataclasses import dataclass

from ..checkpoint_name import CheckpointName
from ..errors import EXIT_MEANINGS, Exit
from .state import Outcome, State


@dataclass(frozen=True)
class FinalPairs:
    """The run's pairs at the end of a start. ``pairs``: it has any, of this start or of an earlier one.

    ``here`` is the newest one, if it is on this machine only.
    """

    pairs: bool = False
    here: CheckpointName | None = None


def last_line(code: Exit, state: State, kept: FinalPairs) -> str:
    """Empty where the line before it has just said so: an error, or that there was nothing to do."""
    text = _text(code, state, kept)
    return text and f"{text} (exit {int(code)})"


def _text(code: Exit, state: State, kept: FinalPairs) -> str:
    if state.stopped_for_good:
        where = "the state is in the store" if kept.pairs else "the command stored no checkpoint"
        return f"stopped for good by --max-hours; {where}"
    if code is Exit.COMPLETE:
        return _complete(kept) if state.begun else ""
    if code is Exit.STOPPED:
        return _stopped(state, kept)
    if code is Exit.UNSTORED:
        return _unstored(state, kept) if state.fault is None else ""
    if code is Exit.FAILED and state.outcome is Outcome.COMPLETE:
        return "the command ended well, and not a single checkpoint was saved"
    return _given_up(state, kept) if state.failure and code is Exit.FAILED else ""


def _given_up(state: State, kept: FinalPairs) -> str:
    where = "its newest checkpoint is in the store" if kept.pairs else "it stored no checkpoint"
    if kept.here is not None:
        where = "its newest checkpoint is still in the work dir"
    return f"{state.failure}; {where}"


def _complete(kept: FinalPairs) -> str:
    return EXIT_MEANINGS[Exit.COMPLETE] if kept.pairs else "the command ended well; it stored no checkpoint"


def _stopped(state: State, kept: FinalPairs) -> str:
    if kept.pairs:
        return EXIT_MEANINGS[Exit.STOPPED]
    if not state.begun:
        return "stopped before the command was started; run again to go on"
    if state.seen_training:
        return "stopped early, before the first checkpoint: the next start begins anew"
    if state.rules.auto:
        return "stopped early, before the command began to train: the next start begins anew"
    return (
        "stopped early; the command stored no checkpoint (does the script use holdfast.Resume?): "
        "the next start begins anew"
    )


def _unstored(state: State, kept: FinalPairs) -> str:
    if state.unmarked:
        return "training is complete and its state in the store, which refuses the mark that says so; run again"
    ended = "the command ended well" if state.outcome is Outcome.COMPLETE else "stopped early"
    if kept.here is not None and not state.save_failed and kept.here.step >= state.at:
        return f"{ended} and the last state could not be stored; it is still in the work dir"
    if kept.here is None and not kept.pairs:
        return f"{ended}, and nothing was saved: the next start begins anew"
    older = ", and that one is still in the work dir" if kept.here is not None else ""
    return f"{ended} and the last state was not saved: what came after the newest checkpoint is lost{older}"
