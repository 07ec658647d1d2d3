"""What the last lines of a command say of its failure."""

from __future__ import annotations

from pathlib import Path

import pytest

import holdfast
from holdfast.core.machine.crash_signature import Failure, failure_in

TRACEBACK = """epoch 1 done
Traceback (most recent call last):
  File "/code/train.py", line 22, in <module>
    main()
  File "/code/train.py", line 17, in main
    model.save(PATH)
    ^^^^^^^^^^^^^^^^
ValueError: no such folder: 'out'
"""


def of(text: str) -> Failure | None:
    return failure_in(text.splitlines())


def test_the_exception_and_where_it_was_raised_are_found() -> None:
    found = of(TRACEBACK + "cleaning up\n")
    assert found == Failure("ValueError", "/code/train.py:17", "ValueError: no such folder: 'out' (train.py, line 17)")


def test_of_an_exception_while_another_was_handled_the_last_one_counts() -> None:
    second = TRACEBACK.replace("line 17", "line 30").replace("ValueError: no such folder: 'out'", "KeyError: 'x'")
    found = of(f"{TRACEBACK}\nDuring handling of the above exception, another exception occurred:\n\n{second}")
    assert found is not None
    assert (found.kind, found.place) == ("KeyError", "/code/train.py:30")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Segmentation fault",
        "ValueError: said by a log",
        TRACEBACK.partition("ValueError")[0],
        TRACEBACK.replace("ValueError: no", "the end; no"),
    ],
)
def test_what_is_no_whole_traceback_tells_nothing(text: str) -> None:
    assert of(text) is None


def test_what_an_interpreter_ignores_as_it_shuts_down_is_no_failure() -> None:
    ignored = TRACEBACK.replace("ValueError: no such folder: 'out'", "TypeError: 'NoneType' object is not callable")
    noise = f"Exception ignored in: <function Old.__del__ at 0x7f>\n{ignored}"
    assert of(f"done\n{noise}") is None
    found = of(TRACEBACK + noise)
    assert found is not None
    assert found.kind == "ValueError"


def test_an_exception_without_a_text_is_one() -> None:
    found = of(TRACEBACK.replace("ValueError: no such folder: 'out'", "AssertionError"))
    assert found is not None
    assert found.text == "AssertionError (train.py, line 17)"


def test_of_an_exception_that_a_library_raises_the_scripts_own_last_line_is_named() -> None:
    keras = "/venv/lib/python3.11/site-packages/keras/src/utils/traceback_utils.py"
    own = str(Path(holdfast.__file__).with_name("training") / "resume.py")
    below = "".join(f'  File "{file}", line 9, in f\n    f()\n' for file in (own, "<frozen abc>", keras))
    raised = TRACEBACK.replace("ValueError", f"{below}ValueError")
    found = of(f"{TRACEBACK}\n{raised}")
    assert found == Failure("ValueError", f"{keras}:9", "ValueError: no such folder: 'out' (train.py, line 17)")
    nothing_own = of(f"{TRACEBACK}\nTraceback (most recent call last):\n{below}KeyError: 'x'\n")
    assert nothing_own is not None
    assert nothing_own.text == "KeyError: 'x' (traceback_utils.py, line 9)"


def test_the_same_exception_of_the_script_at_the_same_place_repeats_whatever_its_text() -> None:
    before = Failure("ValueError", "/code/train.py:17", "ValueError: step 40 (train.py, line 17)")
    assert Failure("ValueError", "/code/train.py:17", "ValueError: step 41 (train.py, line 17)").repeats(before)
    assert not Failure("ValueError", "/code/train.py:18", "").repeats(before)
    assert not Failure("TypeError", "/code/train.py:17", "").repeats(before)
    assert not before.repeats(None)


@pytest.mark.parametrize("kind", ["ConnectionError", "OSError", "TimeoutError", "RuntimeError", "MyError"])
def test_what_may_be_well_the_next_time_does_not_repeat(kind: str) -> None:
    failure = Failure(kind, "/code/train.py:17", kind)
    assert not failure.repeats(failure)
