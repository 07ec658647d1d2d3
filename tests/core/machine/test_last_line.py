from __future__ import annotations

from dataclasses import replace

import pytest

from holdfast.core.checkpoint_name import CheckpointName
from holdfast.core.errors import Exit
from holdfast.core.machine.last_line import FinalPairs, last_line
from holdfast.core.machine.state import Outcome, Rules, State

STOPPED, COMPLETE = (
    State(outcome=Outcome.STOPPED, begun=True, seen_training=True),
    State(outcome=Outcome.COMPLETE, begun=True, seen_training=True),
)
HERE = CheckpointName(1, 33, "0.5000", 1, 4)
ALL, NOTHING = FinalPairs(pairs=True), FinalPairs()
RESUME = "(does the script use holdfast.Resume?)"


@pytest.mark.parametrize(
    ("code", "state", "kept", "said"),
    [
        (
            Exit.COMPLETE,
            COMPLETE,
            ALL,
            "training is complete, and all checkpoints and artifacts are in the store (exit 0)",
        ),
        (Exit.COMPLETE, COMPLETE, NOTHING, "the command ended well; it stored no checkpoint (exit 0)"),
        (Exit.STOPPED, STOPPED, ALL, "stopped early; the state is in the store; run again to go on (exit 75)"),
        (
            Exit.STOPPED,
            STOPPED,
            NOTHING,
            "stopped early, before the first checkpoint: the next start begins anew (exit 75)",
        ),
        (
            Exit.STOPPED,
            replace(STOPPED, seen_training=False),
            NOTHING,
            f"stopped early; the command stored no checkpoint {RESUME}: the next start begins anew (exit 75)",
        ),
        (
            Exit.STOPPED,
            replace(STOPPED, seen_training=False, rules=Rules(auto=True)),
            NOTHING,
            "stopped early, before the command began to train: the next start begins anew (exit 75)",
        ),
        (
            Exit.UNSTORED,
            STOPPED,
            FinalPairs(pairs=True, here=HERE),
            "stopped early and the last state could not be stored; it is still in the work dir (exit 74)",
        ),
        (
            Exit.UNSTORED,
            replace(COMPLETE, unmarked=True),
            ALL,
            "training is complete and its state in the store, which refuses the mark that says so; run again (exit 74)",
        ),
        (
            Exit.UNSTORED,
            replace(STOPPED, save_failed=True),
            ALL,
            "stopped early and the last state was not saved: what came after the newest checkpoint is lost (exit 74)",
        ),
        (
            Exit.UNSTORED,
            replace(STOPPED, save_failed=True),
            FinalPairs(pairs=True, here=HERE),
            "stopped early and the last state was not saved: what came after the newest checkpoint is lost, and that"
            " one is still in the work dir (exit 74)",
        ),
        (
            Exit.UNSTORED,
            replace(STOPPED, at=34),
            FinalPairs(pairs=True, here=HERE),
            "stopped early and the last state was not saved: what came after the newest checkpoint is lost, and that"
            " one is still in the work dir (exit 74)",
        ),
        (
            Exit.UNSTORED,
            replace(COMPLETE, at=33),
            FinalPairs(pairs=True, here=HERE),
            "the command ended well and the last state could not be stored; it is still in the work dir (exit 74)",
        ),
        (
            Exit.STOPPED,
            replace(STOPPED, begun=False),
            NOTHING,
            "stopped before the command was started; run again to go on (exit 75)",
        ),
        (Exit.COMPLETE, replace(COMPLETE, begun=False), NOTHING, ""),
        (
            Exit.UNSTORED,
            replace(STOPPED, save_failed=True),
            NOTHING,
            "stopped early, and nothing was saved: the next start begins anew (exit 74)",
        ),
        (
            Exit.FAILED,
            replace(COMPLETE, save_failed=True),
            NOTHING,
            "the command ended well, and not a single checkpoint was saved (exit 70)",
        ),
    ],
)
def test_the_last_line_says_where_the_state_is(code: Exit, state: State, kept: FinalPairs, said: str) -> None:
    assert last_line(code, state, kept) == said


@pytest.mark.parametrize("code", [Exit.FAILED, Exit.FENCED, Exit.USAGE])
def test_what_an_error_has_just_said_is_not_said_again(code: Exit) -> None:
    assert last_line(code, State(outcome=Outcome.FAILED), ALL) == ""
    assert last_line(Exit.UNSTORED, State(fault=Exit.UNSTORED), ALL) == ""


@pytest.mark.parametrize(
    ("kept", "where"),
    [
        (ALL, "its newest checkpoint is in the store"),
        (FinalPairs(pairs=True, here=HERE), "its newest checkpoint is still in the work dir"),
        (NOTHING, "it stored no checkpoint"),
    ],
)
def test_a_command_that_kept_failing_is_told_with_the_place_of_its_checkpoint(kept: FinalPairs, where: str) -> None:
    state = State(outcome=Outcome.FAILED, failure="the command failed again")
    assert last_line(Exit.FAILED, state, kept) == f"the command failed again; {where} (exit 70)"


def test_a_run_that_was_stopped_for_good_says_so() -> None:
    stopped = replace(STOPPED, stopped_for_good=True)
    assert last_line(Exit.FAILED, stopped, ALL) == (
        "stopped for good by --max-hours; the state is in the store (exit 70)"
    )
    assert last_line(Exit.FAILED, stopped, NOTHING) == (
        "stopped for good by --max-hours; the command stored no checkpoint (exit 70)"
    )
