"""What is done with the machine once a run has ended."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fakes.clocks import Clock, Passing
from fakes.threads import no_further_thread
from holdfast.core.errors import Exit, SettingsError
from holdfast.core.runs import RunId
from holdfast.store import open_store
from holdfast.store.base import StoreSettings
from holdfast.supervisor.command.reaper import Ended
from holdfast.supervisor.ending.autoscaling import AutoScalingError, Hook, Member
from holdfast.supervisor.ending.on_end import (
    COMMAND_TIME,
    Action,
    Closer,
    Endings,
    GiveBack,
    Keep,
    LetGo,
    RunCommand,
    check_choice,
    decide,
)
from holdfast.supervisor.restore.max_hours import TooOld, seconds_left

HOOK = Hook("group", "drain")
PAIR = Path("/var/lib/holdfast/00001-digits/model-0001-00000004-none-i1-q2")
NOW = datetime(2026, 11, 22, 16, tzinfo=UTC)


class FakeGroup:
    """Leaves, and takes the action's completion, once the clock has come so far."""

    def __init__(self, clock: Clock, leaves_at: float | None = None, waits_at: float = 0.0) -> None:
        self._clock = clock
        self._leaves_at = leaves_at
        self._waits_at = waits_at
        self.calls: list[str] = []

    def leaving(self) -> bool:
        return self._leaves_at is not None and self._clock() >= self._leaves_at

    def give_back(self, decrement: bool) -> None:
        self.calls.append(f"give back, decrement {decrement}")

    def complete_hook(self, hook: Hook) -> None:
        if self._clock() < self._waits_at:
            raise AutoScalingError("no active lifecycle action")
        self.calls.append(f"let go {hook.group} {hook.name}")


class Started:
    """A real command; its end is waited for here, as these tests have no reaper (test_side_command.py does)."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(words, env=environment, start_new_session=True)

    def poll(self) -> Ended | None:
        code = self._process.poll()
        return None if code is None else Ended(max(0, code), max(0, -code))

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def close(group: FakeGroup, clock: Clock, *actions: Action, code: Exit = Exit.COMPLETE) -> list[str]:
    said: list[str] = []
    closer = Closer(group, lambda kind, text, bad: said.append(text), {}, Passing(clock), Started, clock=clock)
    closer.close("digits", code, actions)
    return said


def run_command(code: str, exit_code: Exit) -> list[str]:
    said: list[str] = []
    closer = Closer(FakeGroup(Clock()), lambda kind, text, bad: said.append(text), {}, threading.Event(), Started)
    closer.close("digits", exit_code, (RunCommand((sys.executable, "-c", code)),))
    return said


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (Exit.COMPLETE, (GiveBack(decrement=True),)),
        (Exit.FAILED, (RunCommand(("tell", "the team")),)),
        (Exit.USAGE, (RunCommand(("tell", "the team")),)),
        (Exit.FENCED, (RunCommand(("tell", "the team")),)),
        (Exit.STOPPED, ()),
        (Exit.UNSTORED, ()),
    ],
)
def test_each_exit_code_has_its_ending(code: Exit, expected: tuple[Action, ...]) -> None:
    assert decide(code, Endings(on_complete="scale-in", on_failure="tell 'the team'")) == expected


def test_by_default_nothing_is_done() -> None:
    assert all(decide(code, Endings()) == () for code in Exit)


def test_a_machine_whose_run_another_one_has_goes_but_the_group_stays_as_large() -> None:
    assert decide(Exit.FENCED, Endings(on_failure="scale-in")) == (GiveBack(decrement=False),)


def test_a_group_whose_run_is_trained_outside_of_it_wants_no_other_machine() -> None:
    assert decide(Exit.FENCED, Endings(on_failure="scale-in"), outside=True) == (GiveBack(decrement=True),)
    assert decide(Exit.FENCED, Endings(), outside=True) == ()


def test_a_hook_is_completed_after_every_exit_but_the_one_that_leaves_the_last_state_on_this_machine() -> None:
    assert decide(Exit.STOPPED, Endings(hook=HOOK)) == (LetGo(HOOK),)
    assert decide(Exit.UNSTORED, Endings(hook=HOOK)) == ()
    assert decide(Exit.COMPLETE, Endings(on_complete="scale-in", hook=HOOK)) == (
        GiveBack(decrement=True),
        LetGo(HOOK, await_it=True),
    )


@pytest.mark.parametrize("code", [Exit.FAILED, Exit.USAGE, Exit.UNSTORED])
def test_a_machine_that_alone_has_the_last_state_is_not_given_back(code: Exit) -> None:
    endings = Endings(on_complete="scale-in", on_failure="scale-in", hook=HOOK)
    assert decide(code, endings, PAIR) == (Keep(PAIR),)


def test_a_command_runs_all_the_same() -> None:
    assert decide(Exit.FAILED, Endings(on_failure="tell"), PAIR) == (RunCommand(("tell",)), Keep(PAIR))


@pytest.mark.parametrize("code", [Exit.COMPLETE, Exit.FENCED])
def test_a_pair_that_no_longer_counts_keeps_no_machine(code: Exit) -> None:
    endings = Endings(on_complete="scale-in", on_failure="scale-in", hook=HOOK)
    assert decide(code, endings, PAIR) == decide(code, endings)


def test_a_machine_that_is_kept_says_what_is_on_it() -> None:
    clock = Clock()
    (said,) = close(FakeGroup(clock), clock, Keep(PAIR), code=Exit.UNSTORED)
    assert f"{PAIR}.*" in said


def test_a_machine_that_stays_completes_nothing() -> None:
    clock = Clock()
    group = FakeGroup(clock)
    assert close(group, clock, LetGo(HOOK), code=Exit.STOPPED) == []
    assert group.calls == []


def test_a_machine_that_leaves_tells_its_group_not_to_wait() -> None:
    clock = Clock()
    group = FakeGroup(clock, leaves_at=0.0)
    assert "need not wait" in close(group, clock, LetGo(HOOK), code=Exit.STOPPED)[0]
    assert group.calls == ["let go group drain"]


def test_a_machine_that_can_start_no_further_thread_is_given_back_all_the_same() -> None:
    clock = Clock()
    group = FakeGroup(clock, leaves_at=clock() + 9)
    with no_further_thread():
        close(group, clock, GiveBack(True))
    assert group.calls == ["give back, decrement True"]


def test_after_it_was_given_back_it_awaits_the_hook_and_passes_over_refusals_before_that() -> None:
    clock = Clock()
    group = FakeGroup(clock, leaves_at=clock() + 9, waits_at=clock() + 12)
    assert len(close(group, clock, GiveBack(True), LetGo(HOOK, await_it=True))) == 2
    assert group.calls == ["give back, decrement True", "let go group drain"]


def test_a_group_that_cannot_be_told_is_a_warning() -> None:
    clock = Clock()
    said = close(FakeGroup(clock, leaves_at=0.0, waits_at=clock() + 1000), clock, LetGo(HOOK))
    assert said == ["completing the lifecycle action failed: no active lifecycle action"]


def test_without_a_metadata_service_giving_back_is_a_warning() -> None:
    said: list[str] = []
    closer = Closer(Member(None), lambda kind, text, bad: said.append(text), {}, threading.Event(), Started)
    closer.close("digits", Exit.COMPLETE, (GiveBack(True),))
    assert "AWS_EC2_METADATA_DISABLED" in said[0]


def test_a_command_learns_the_run_and_its_exit_code(tmp_path: Path) -> None:
    out = tmp_path / "out"
    code = f"import os; open({str(out)!r}, 'w').write(os.environ['HOLDFAST_RUN'] + os.environ['HOLDFAST_EXIT_CODE'])"
    said = run_command(code, Exit.FAILED)
    assert said == [f"ran {sys.executable}"]
    assert out.read_text() == "digits70"


def test_a_command_that_fails_is_a_warning() -> None:
    said = run_command("raise SystemExit(3)", Exit.COMPLETE)
    assert said == [f"{sys.executable} failed (exit 3)"]


def test_a_command_that_is_not_there_any_more_is_a_warning() -> None:
    clock = Clock()
    said = close(FakeGroup(clock), clock, RunCommand(("/nonexistent/command",)))
    assert said == ["/nonexistent/command: No such file or directory"]


def test_a_command_that_takes_too_long_is_ended() -> None:
    clock = Clock()
    said = close(FakeGroup(clock), clock, RunCommand((sys.executable, "-c", "import time; time.sleep(600)")))
    assert said == [f"{sys.executable} was ended: it took longer than {COMMAND_TIME:.0f} s"]


def test_a_stop_ends_the_command() -> None:
    hurry, said = threading.Event(), list[str]()
    hurry.set()
    closer = Closer(FakeGroup(Clock()), lambda kind, text, bad: said.append(text), {}, hurry, Started)
    closer.close("digits", Exit.COMPLETE, (RunCommand((sys.executable, "-c", "import time; time.sleep(600)")),))
    assert said == [f"{sys.executable} was ended: holdfast was asked to stop"]


@pytest.mark.parametrize("text", ["", "no-such-program --x", "tell 'the team"])
def test_a_choice_that_cannot_be_done_is_refused_with_the_setting_named(text: str) -> None:
    with pytest.raises(SettingsError, match=r"--on-complete.*none, scale-in or a command"):
        check_choice("--on-complete", text)


@pytest.mark.parametrize(("text", "hook"), [("g/h", Hook("g", "h")), ("h", None), ("/h", None), ("g/", None)])
def test_a_hook_is_named_by_its_group_and_its_name(text: str, hook: Hook | None) -> None:
    assert Hook.parse(text) == hook


@pytest.mark.parametrize(
    ("document", "left"),
    [
        ({"created": (NOW - timedelta(hours=1)).isoformat()}, 3600),
        ({"created": (NOW - timedelta(hours=1)).replace(tzinfo=None).isoformat()}, 3600),
        ({"created": "yesterday"}, 7200),
        ({}, 7200),
        (None, 7200),
    ],
)
def test_a_runs_time_is_counted_from_its_birth(tmp_path: Path, document: dict[str, str] | None, left: float) -> None:
    store, run = open_store(str(tmp_path), StoreSettings()), RunId(1, "digits")
    if document is not None:
        store.create(f"{run}/run.json", json.dumps(document).encode())
    assert seconds_left(store, run, 2.0, NOW) == left


def test_a_run_that_is_too_old_is_not_begun(tmp_path: Path) -> None:
    store, run = open_store(str(tmp_path), StoreSettings()), RunId(1, "digits")
    store.create(f"{run}/run.json", json.dumps({"created": (NOW - timedelta(hours=3)).isoformat()}).encode())
    with pytest.raises(TooOld, match="--max-hours 2"):
        seconds_left(store, run, 2.0, NOW)
