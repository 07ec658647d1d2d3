"""Where in a script a training is started, in this process and in a later one."""

from __future__ import annotations

import inspect
import linecache
from typing import Any

import pytest

from holdfast.training.session.call_site import call_site


def sites(source: str) -> list[dict[str, Any]]:
    """The call sites of each ``fit()`` of a main module."""
    found: list[dict[str, Any]] = []

    def fit() -> None:
        frame = inspect.currentframe()
        assert frame is not None
        found.append(call_site(frame.f_back, without=("holdfast",)))

    name = f"script-{hash(source)}.py"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    exec(compile(source, name, "exec"), {"__name__": "__main__", "fit": fit})  # noqa: S102
    return found


def test_frames_outside_of_the_main_module_are_no_part_of_it() -> None:
    (site,) = sites("def main():\n    fit()\nmain()\n")
    assert (site["site"], site["lines"]) == ([["__main__", "main"], ["__main__", "<module>"]], [2, 3])


def test_the_text_of_the_lines_is_known_wherever_they_stand() -> None:
    first, second = sites("fit()\n\nfit()\n")
    assert (first["text"], first["lines"]) != (second["text"], second["lines"])
    assert first["text"] == second["text"]


TURNS = {
    "a loop": "for i in range(2):\n    fit()  # {i}\n    print(i)\n",
    "a function in a loop": "def f(i):\n    fit()\nfor i in range(2):\n    f(i)\n",
    "a comprehension": "def f(i):\n    fit()\n[f(i) for i in range(2)]\n",
    "names of several": "for i, (a, b) in enumerate([(1, 2), (1, 3)]):\n    fit(); c = b\n",
    "a loop in a loop": "for i in [1, 2]:\n    for j in [1]:\n        fit(); c = i + j\n",
    "functions": "for f in (len, max):\n    fit(); f((1, 2))\n",
    "dicts": "for settings in ({'rate': 1}, {'rate': 2}):\n    fit(); c = settings\n",
}


@pytest.mark.parametrize("source", [text for name, text in TURNS.items() if name != "a loop"])
def test_each_turn_of_a_loop_is_another_place(source: str) -> None:
    first, second = sites(source)
    assert first["loops"] != second["loops"]
    assert first == sites(source)[0], "and the same in a later process"


RETRIES = {
    "not used": "for _ in range(2):\n    fit()\n",
    "only reported": TURNS["a loop"],
    "only used once it raised": (
        "for attempt in range(2):\n    try:\n        fit()\n    except ValueError:\n        sleep(attempt)\n"
    ),
    "outside of the loop's body": "for i in range(2):\n    pass\nelse:\n    fit()\nfit()\n",
}


@pytest.mark.parametrize("source", list(RETRIES.values()), ids=list(RETRIES))
def test_a_loop_that_does_the_same_each_time_tells_its_turns_not_apart(source: str) -> None:
    first, second = sites(source)
    assert first["loops"] == second["loops"] == []
