"""``--auto``: what it cannot reach, and what it did not find."""

from __future__ import annotations

import pytest

from core.machine.steps import FIRST, NO_LONGER_OWED, acts, on
from holdfast.core.errors import Exit
from holdfast.core.machine.effects import Effect, Finalize, Kill, Say
from holdfast.core.machine.events import (
    CheckpointRefused,
    ChildExited,
    Event,
    Finalized,
    PairSpooled,
    PairStored,
    Ready,
    Restored,
    Spawned,
    TrainingConnected,
    TrainingEnded,
    TrainingNotServed,
    TrainingStarted,
    TrainingUnprotected,
)
from holdfast.core.machine.state import Rules, State

START = (Ready(), Spawned(7), Restored())


def start(*history: Event) -> tuple[State, tuple[Effect, ...]]:
    """Under ``--auto``, from the beginning on."""
    return on(State(rules=Rules(auto=True)), *START, *history)


def said(effects: tuple[Effect, ...]) -> str:
    return "; ".join(effect.text for effect in effects if isinstance(effect, Say))


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        ({}, "has PYTHONPATH as --auto set it"),
        ({"python": True}, "no Python process of it imported Keras"),
        ({"python": True, "tensorflow": True}, "TensorFlow or JAX was loaded"),
        ({"python": True, "tensorflow": True, "keras": True}, "imported Keras, and called no fit"),
    ],
)
def test_a_command_that_trains_nothing_is_not_complete_and_what_was_not_found_is_said(
    seen: dict[str, bool], words: str
) -> None:
    state, effects = start(ChildExited(0, **seen))  # type: ignore[arg-type]
    assert words in said(effects)
    state, effects = on(state, NO_LONGER_OWED)
    assert acts(effects) == [Finalize(complete=False)]
    assert on(state, Finalized())[0].exit_code is Exit.FAILED


@pytest.mark.parametrize("auto", [True, False])
@pytest.mark.parametrize(
    "history",
    [
        (ChildExited(0, tensorflow=True),),
        (TrainingUnprotected("a loop"), ChildExited(0, tensorflow=True)),
        (ChildExited(1, how="exit 1"),),
    ],
)
def test_a_failure_that_no_later_line_tells_is_told_with_the_exit_code(history: tuple[Event, ...], auto: bool) -> None:
    state, effects = on(State(rules=Rules(auto=auto)), *START, *history)
    assert said(effects).endswith(" (exit 70)")
    assert on(state, NO_LONGER_OWED, Finalized())[0].exit_code is Exit.FAILED


def test_a_command_that_trained_is_complete_as_ever() -> None:
    trained = (TrainingConnected(), TrainingStarted(), PairSpooled(FIRST), PairStored(FIRST), TrainingEnded())
    state, _ = start(*trained, ChildExited(0, python=True, keras=True), NO_LONGER_OWED, Finalized())
    assert state.exit_code is Exit.COMPLETE


def test_a_loop_that_is_not_saved_is_said_to_be_that() -> None:
    _, effects = start(TrainingUnprotected("a loop"), ChildExited(0, python=True, keras=True))
    assert "trained without ever saving" in said(effects)


def test_what_cannot_be_served_is_ended_at_once_and_is_a_wrong_setting() -> None:
    state, effects = start(TrainingNotServed("the interpreter is too old"))
    assert said(effects) == "the interpreter is too old"
    assert Kill() in effects
    state, _ = on(state, ChildExited(137), NO_LONGER_OWED, Finalized())
    assert state.exit_code is Exit.USAGE


def test_a_training_that_was_refused_is_not_complete_though_its_process_ends_with_0() -> None:
    state, _ = start(TrainingConnected(), CheckpointRefused("of Keras on jax"))
    state, _ = on(state, ChildExited(0), NO_LONGER_OWED, Finalized())
    assert state.exit_code is Exit.FAILED
