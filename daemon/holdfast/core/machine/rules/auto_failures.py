"""``--auto``: what it cannot reach, and what it did not find."""

from __future__ import annotations

from dataclasses import replace

from ...errors import Exit
from ..effects import Kill, Say
from ..events import ChildExited, TrainingNotServed
from ..state import State, Step

CODE = f"(exit {int(Exit.FAILED)})"
"""Ends a line after which no other tells how the run ended."""


def not_served(state: State, event: TrainingNotServed, now: float) -> Step:
    """Ended before it trains what a stop would lose."""
    said = Say("failed", event.text, warning=True)
    return replace(state, fault=Exit.USAGE), (said, Kill())


def nothing_trained(event: ChildExited) -> str:
    """Of a command that ended with 0."""
    found = what_was_found(event.python, event.keras, event.tensorflow)
    return f"--auto found nothing to make resumable: {found}. The run is not complete {CODE}"


def what_was_found(python: bool, keras: bool, tensorflow: bool = False) -> str:
    """How far a command came that trained nothing: an interpreter that ``--auto`` reached, Keras in one, TensorFlow."""
    if keras:
        return "it imported Keras, and called no fit of Keras' own; another loop needs holdfast.session()"
    if tensorflow:
        return (
            "TensorFlow or JAX was loaded, by a process that has not PYTHONPATH as --auto set it or does not use Keras"
        )
    if python:
        return "no Python process of it imported Keras"
    return (
        "no Python process of it has PYTHONPATH as --auto set it (python -I, -E and -S ignore it, and Python before "
        "3.7 is not reached)"
    )
