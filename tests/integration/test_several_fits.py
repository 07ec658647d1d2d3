"""Scripts with several fits, and commands of several scripts, that lose their machine: each fit stays what it is.

`make test` has the same in one process: tests/training/keras/fit/test_fits.py.
"""

from __future__ import annotations

import functools
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.core.errors import Exit

from .daemons import SCRIPTS, Daemon, Machines, machines

SCRIPT = str(SCRIPTS / "several_fits.py")


def command(*words: str) -> list[str]:
    return [sys.executable, SCRIPT, *words]


def stages() -> list[str]:
    one, two = (f"'{sys.executable}' '{SCRIPT}' stage {number}" for number in (1, 2))
    return ["sh", "-c", f"{one} && {two}"]


def reports(daemon: Daemon) -> list[str]:
    return [line for line in daemon.lines if line.startswith("report ")]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[str]]:
    """What a command reports when nothing happens, which is trained once."""

    @functools.cache
    def reported(*words: str) -> list[str]:
        folder = tmp_path_factory.mktemp("undisturbed")
        with machines(str(folder / "store"), folder, {}) as park:
            daemon = park.start("one", command=[*words], DONE=str(folder / "done"))
            assert daemon.wait() == Exit.COMPLETE, daemon.text
            return reports(daemon)

    return reported


def lose_machine(park: Machines, words: list[str], where: str, stored: str, done: Path) -> list[str]:
    """Kills the machine without notice, once its newest pair is stored. Returns what it had reported."""
    first = park.start("one", "--keep-last", "1", command=words, HOLD_AT=where, DONE=str(done))
    first.until("holding")
    first.until(stored)
    first.process.send_signal(signal.SIGKILL)
    first.wait()
    shutil.rmtree(park.work_dir("one"))
    return reports(first)


@pytest.mark.whole
@pytest.mark.parametrize(
    ("words", "where", "stored"),
    [
        (command("pretrain"), "second,1,1", "stored fit 2: epoch 1, step 12"),
        (command("two_models"), "pupil,1,1", "stored fit 2: epoch 1, step 12"),
        (command("folds"), "fold1,1,0", "stored fit 2: epoch 1, step 6"),
        (command("equal"), "equal,1,1", "stored epoch 1, step 3"),
        (stages(), "stage2,1,0", "stored fit 2: epoch 1, step 9"),
    ],
)
def test_on_a_new_machine_each_fit_has_its_own_weights_and_history_again(
    tmp_path: Path, undisturbed: Callable[..., list[str]], words: list[str], where: str, stored: str
) -> None:
    with machines(str(tmp_path / "store"), tmp_path, {}) as park:
        expected = undisturbed(*words)
        lose_machine(park, words, where, stored, tmp_path / "done")
        second = park.start("two", "--keep-last", "1", command=words)
        assert second.wait() == Exit.COMPLETE, second.text
        assert reports(second) == expected, second.text
        assert f"resuming from {stored.removeprefix('stored ').partition(',')[0]}, batch 0" in second.text


@pytest.mark.whole
@pytest.mark.parametrize(
    ("mode", "where", "stored"),
    [("tuner", "trial1,1,1", "stored fit 2: epoch 1, step 9"), ("tuner", "after0", "stored epoch 2, step 6")],
)
def test_a_tuner_that_skips_what_is_done_gets_the_scores_of_an_undisturbed_search(
    tmp_path: Path, undisturbed: Callable[..., list[str]], mode: str, where: str, stored: str
) -> None:
    with machines(str(tmp_path / "store"), tmp_path, {}) as park:
        expected = undisturbed(*command(mode))
        first = lose_machine(park, command(mode), where, stored, tmp_path / "done")
        second = park.start("two", command=command(mode), DONE=str(tmp_path / "done"))
        assert second.wait() == Exit.COMPLETE, second.text
        assert [line.split()[1] for line in first + reports(second)] == [line.split()[1] for line in expected]
        scores = {line.split()[2] for line in first + reports(second)}
        assert len(scores) == 3, "no trial has another's weights"


@pytest.mark.whole
def test_members_of_an_ensemble_that_only_their_turn_tells_apart_are_not_mixed_up(tmp_path: Path) -> None:
    with machines(str(tmp_path / "store"), tmp_path, {}) as park:
        first = lose_machine(park, command("ensemble"), "after0", "stored epoch 2, step 6", tmp_path / "done")
        second = park.start("two", command=command("ensemble"), DONE=str(tmp_path / "done"))
        assert second.wait() == Exit.COMPLETE, second.text
        assert [line.split()[1] for line in first + reports(second)] == ["member0", "member1", "member2"]
        assert len({line.split()[2] for line in first + reports(second)}) == 3
