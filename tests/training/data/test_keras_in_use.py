"""Which Keras serves, in processes that have loaded none."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def told(code: str, **environment: str) -> str:
    code = f"from holdfast.training.data import keras_in_use as k\nimport sys\n{code}"
    given = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, env={**given, **environment}, capture_output=True, text=True, check=False)
    return (ended.stdout + ended.stderr).strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("code", "environment", "expected"),
    [
        ("", {}, "keras"),
        ("", {"TF_USE_LEGACY_KERAS": "1"}, "tf_keras"),
        ("", {"TF_USE_LEGACY_KERAS": "0"}, "keras"),
        ("sys.modules['tf_keras'] = sys", {}, "tf_keras"),
        ("sys.modules['tf_keras'] = sys; k.calling(sys._getframe())", {}, "tf_keras"),
    ],
    ids=["nothing", "the environment asks for Keras 2", "the environment does not", "it is loaded", "nobody calls"],
)
def test_the_expected_keras_is_the_one_that_the_script_has(
    code: str, environment: dict[str, str], expected: str
) -> None:
    assert told(f"{code}\nprint(k.expected())", **environment) == expected


def test_the_fit_that_calls_decides() -> None:
    code = (
        "g = {'__name__': 'tf_keras.src.callbacks', 'k': k, 'sys': sys}; exec('print(k.calling(sys._getframe()))', g)"
    )
    assert told(code) == "tf_keras"


def test_a_process_trains_with_one_keras() -> None:
    said = told("k.use('tf_keras'); k.use('tf_keras'); print(k.is_keras_2()); k.use('keras')")
    assert said.endswith(
        "this process has trained with tf_keras, and this fit is keras's: holdfast.Resume serves one Keras in a process"
    )
