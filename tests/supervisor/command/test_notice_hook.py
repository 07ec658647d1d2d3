"""In a process of its own, for its reaper is the process'."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.core.errors import SettingsError
from holdfast.supervisor.command.notice_hook import check_command, facts_of

# Runs the command in its arguments at a notice, and prints what the hook reports.
HOOK = """
import os, sys
from holdfast.supervisor.command.notice_hook import NoticeHook
from holdfast.supervisor.command.reaper import Reaper

reaper = Reaper()
reaper.start(lambda pid, ended: print("the command's end:", ended.code, flush=True))
say = lambda kind, text, **_: print(kind, text, flush=True)
hook = NoticeHook(tuple(sys.argv[2:]), "digits", os.environ, reaper, say, patience=float(sys.argv[1]))
notice = {"at": "2026-11-22T16:17:15+00:00", "what": "spot notice (terminate at 16:19:15 UTC)", "seconds": 120.0}
hook.heard("stored", {})
hook.heard("notice", notice)
if "KILL" in os.environ:
    input()
    reaper.kill_tree()
hook.close()
"""


def hooked(patience: float, *command: str, lines: str = "") -> list[str]:
    words = [sys.executable, "-c", HOOK, str(patience), *command]
    done = subprocess.run(words, input=lines, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.splitlines()


def test_the_command_knows_the_notice(tmp_path: Path) -> None:
    found = tmp_path / "found"
    shown = '"$HOLDFAST_RUN|$HOLDFAST_NOTICE|$HOLDFAST_NOTICE_KIND|$HOLDFAST_NOTICE_SECONDS|$HOLDFAST_NOTICE_DEADLINE"'
    assert hooked(30, "sh", "-c", f"echo {shown} > {found}") == ["on-notice ran sh (--on-notice)"]
    assert found.read_text() == (
        "digits|spot notice (terminate at 16:19:15 UTC)|spot terminate|120|2026-11-22T16:19:15+00:00\n"
    )


def test_a_command_that_fails_is_named() -> None:
    assert hooked(30, "sh", "-c", "exit 3") == ["on-notice-failed --on-notice: sh failed (exit 3)"]


def test_a_command_that_takes_too_long_is_ended() -> None:
    assert hooked(0.2, "sleep", "600") == ["on-notice-failed --on-notice: sleep took too long and was ended"]


def test_the_end_of_the_training_does_not_end_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is killed then is all that the training command left."""
    monkeypatch.setenv("KILL", "1")
    done = tmp_path / "done"
    assert hooked(30, "sh", "-c", f"sleep 0.5; touch {done}", lines="\n") == ["on-notice ran sh (--on-notice)"]
    assert done.exists()


def test_a_notice_without_a_deadline_has_none() -> None:
    facts = facts_of({"at": "2026-11-22T16:17:15+00:00", "what": "rebalance recommendation", "seconds": None})
    assert facts == {
        "HOLDFAST_NOTICE": "rebalance recommendation",
        "HOLDFAST_NOTICE_KIND": "rebalance",
        "HOLDFAST_NOTICE_SECONDS": "",
        "HOLDFAST_NOTICE_DEADLINE": "",
    }


@pytest.mark.parametrize("text", ["", "no-such-command-here --now", "echo 'unclosed"])
def test_a_command_that_cannot_be_run_is_refused_at_the_start(text: str) -> None:
    with pytest.raises(SettingsError, match="--on-notice"):
        check_command("--on-notice", text)
