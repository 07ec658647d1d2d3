"""``holdfast drill``: it passes for what is resumable, fails for what is not, and says why."""

from __future__ import annotations

import json
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from holdfast.core.errors import Exit

from .daemons import SCRIPTS, Daemon, wait_for

# As in tests/training/keras/backends/test_other_backends.py.
KEEPS_ALL = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}
COUNT = [sys.executable, str(SCRIPTS / "count.py")]


def drill(
    *arguments: str, command: list[str] = COUNT, folder: Path | None = None, **environment: str
) -> tuple[int, dict[str, Any], str]:
    """The exit code, the report and all that was printed. ``folder`` is where the drill is started."""
    daemon = Daemon(["drill", "--json", *arguments, "--", *command], environment, folder)
    code = daemon.process.wait(500)
    daemon.close()
    start = daemon.lines.index("{") if "{" in daemon.lines else None
    report = json.loads("\n".join(daemon.lines[start : daemon.lines.index("}") + 1])) if start is not None else {}
    return code, report, daemon.text


def test_a_resumable_script_passes_with_every_kind_of_interruption() -> None:
    code, report, text = drill("--interruptions", "3", "--seed", "4", PACE="0.01", STEPS="150", EVERY="10")
    assert code == 0, text
    assert report["passed"]
    assert report["identical"]
    assert sorted(i["kind"] for i in report["interruptions"]) == ["notice", "sigkill", "sigterm"]
    assert all(0 < i["struck"] < 150 for i in report["interruptions"])
    assert all(i["redone"] == 0 for i in report["interruptions"] if i["kind"] != "sigkill")
    assert all(i["redone"] <= 20 for i in report["interruptions"]), "one interval, and what was on its way"
    assert report["executed"] == 150 + sum(i["redone"] for i in report["interruptions"])
    assert re.search(r"interruption +┃ planned for batch ┃ ended after batch ┃ batches done again", text), text
    for i in report["interruptions"]:
        assert f"{i['kind']}, planned for batch {i['planned']}\n" in text
        assert f"continues after batch {i['struck'] - i['redone']}, " in text
        assert re.search(rf"{i['kind']} +│ +{i['planned']} │ +{i['struck']} of 150 │", text), text


RANKS = [sys.executable, str(SCRIPTS / "ranks.py")]


def test_machines_that_train_together_pass_whichever_of_them_is_struck(tmp_path: Path) -> None:
    settings = {"STEPS": "120", "PACE": "0.01", "EVERY": "10"}
    options = ("--ranks", "2", "--interruptions", "3", "--seed", "2")
    code, report, text = drill(*options, command=RANKS, folder=tmp_path, **settings)
    assert code == 0, text
    assert report["identical"]
    assert report["ranks"] == 2
    assert sorted(i["kind"] for i in report["interruptions"]) == ["notice", "sigkill", "sigterm"]
    assert {i["rank"] for i in report["interruptions"]} == {0, 1}
    assert all(i["redone"] == 0 for i in report["interruptions"] if i["kind"] != "sigkill")
    assert report["executed"] == 120 + sum(i["redone"] for i in report["interruptions"])


@pytest.mark.whole
def test_machines_that_vanish_are_replaced_one_by_one_and_the_others_go_on(tmp_path: Path) -> None:
    settings = {"STEPS": "120", "PACE": "0.01", "EVERY": "10"}
    options = ("--ranks", "3", "--interruptions", "3", "--kinds", "sigkill", "--seed", "5")
    code, report, text = drill(*options, command=RANKS, folder=tmp_path, **settings)
    assert code == 0, text
    assert {i["rank"] for i in report["interruptions"]} == {0, 1, 2}
    assert report["executed"] == 120 + sum(i["redone"] for i in report["interruptions"])


@pytest.mark.whole
@pytest.mark.real
@pytest.mark.timeout(900)
def test_keras_on_jax_on_two_machines_passes_with_a_notice_and_a_kill(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """JAX lies in a folder apart (tests/real/jax.txt). It keeps what it has compiled for the next start."""
    kinds = ["notice", "sigkill"]
    settings = {"KERAS_BACKEND": "jax", "PYTHONPATH": f"{sys.prefix}/jax", "EPOCHS": "4", "PACE": "0.05"}
    settings |= {"JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("compiled")), **KEEPS_ALL}
    command = [sys.executable, str(SCRIPTS / "keras_ranks.py")]
    options = ("--ranks", "2", "--interruptions", str(len(kinds)), "--kinds", ",".join(kinds), "--seed", "1")
    code, report, text = drill(*options, command=command, folder=tmp_path, **settings)
    assert code == 0, text
    assert report["identical"]
    assert sorted(i["kind"] for i in report["interruptions"]) == kinds
    assert {i["rank"] for i in report["interruptions"]} == {0, 1}
    assert all(i["redone"] == 0 for i in report["interruptions"] if i["kind"] != "sigkill")


def test_a_script_that_does_not_use_what_was_restored_fails() -> None:
    environment = {"PACE": "0.01", "STEPS": "100", "IGNORE_RESUME": "1"}
    code, report, text = drill("--interruptions", "1", "--kinds", "sigterm", "--seed", "1", **environment)
    assert code == Exit.FAILED, text
    assert not report["passed"]
    assert "does not use what was restored" in report["cause"]
    assert any("started over" in problem for problem in report["problems"])


def test_a_script_that_does_not_equal_itself_is_found_out() -> None:
    code, report, text = drill("--interruptions", "1", STEPS="60", PACE="0.005", UNSEEDED="1")
    assert code == Exit.FAILED, text
    assert not report["deterministic"]
    assert report["interruptions"] == []
    assert report["differences"][0]["path"] == "array[0] weights"
    assert "set_random_seed" in report["remedy"]


@pytest.mark.parametrize("quiet", [[], pytest.param(["--quiet"], marks=pytest.mark.whole)])
def test_a_command_that_fails_by_itself_is_no_drill_and_its_output_is_shown(quiet: list[str]) -> None:
    command = [sys.executable, "-c", "import sys; print('dear me'); sys.exit(3)"]
    code, _, text = drill(*quiet, command=command)
    assert code == Exit.FAILED
    assert "fails by itself" in text
    assert text.count("│ dear me\n") == 1
    assert text.index("│ dear me") < text.index("its output is above")


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--kinds", "flood"], "--kinds"),
        (["--interruptions", "0"], "--interruptions"),
        (["--seed", "x"], "--seed"),
        (["--every", "x"], "--every"),
        (["--ranks", "0"], "--ranks"),
    ],
)
def test_wrong_settings_are_named(arguments: list[str], what: str) -> None:
    code, _, text = drill(*arguments)
    assert code == Exit.USAGE
    assert what in text


@pytest.mark.whole
@pytest.mark.timeout(600)
def test_the_shipped_example_passes_with_an_interruption_of_every_kind() -> None:
    command = [sys.executable, "-m", "holdfast.examples.digits", "--epochs", "4"]
    code, report, text = drill("--interruptions", "3", "--quiet", command=command)
    assert code == 0, text
    assert sorted(i["kind"] for i in report["interruptions"]) == ["notice", "sigkill", "sigterm"]


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A short path, as a user's is: sockets go there."""
    with tempfile.TemporaryDirectory(prefix="d-") as folder:
        yield Path(folder)


def started(temporary: Path, steps: Path) -> tuple[Daemon, list[psutil.Process]]:
    """A drill whose training does its batches, and all processes below it."""
    environment = {"TMPDIR": str(temporary), "LOG": str(steps), "PACE": "0.02", "STEPS": "5000"}
    daemon = Daemon(["drill", "--", *COUNT], environment)
    wait_for(steps.exists, "a first step", alive=daemon.process)
    return daemon, psutil.Process(daemon.pid).children(recursive=True)


@pytest.mark.whole
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_drill_that_is_stopped_ends_its_training_and_removes_its_folders(
    number: signal.Signals, temporary: Path, tmp_path: Path
) -> None:
    daemon, below = started(temporary, tmp_path / "steps")
    daemon.process.send_signal(number)
    code = daemon.wait()
    assert len(below) >= 3, "a supervisor, its guardian, the training"
    assert not [process for process in below if process.is_running()]
    assert list(temporary.iterdir()) == []
    assert code == Exit.STOPPED, daemon.text
    assert f"stopped by {number.name}" in daemon.text
    assert "Traceback" not in daemon.text


def test_a_drill_that_is_killed_takes_its_training_with_it(temporary: Path, tmp_path: Path) -> None:
    daemon, below = started(temporary, tmp_path / "steps")
    daemon.process.kill()
    daemon.wait()
    gone, alive = psutil.wait_procs(below, 30)
    assert gone
    assert not alive


READS_BACK = [sys.executable, str(SCRIPTS / "reads_back.py")]
ONE = ("--interruptions", "1", "--kinds", "sigterm", "--seed", "3")


@pytest.mark.whole
def test_a_script_that_reads_back_what_it_wrote_in_its_folder_fails_as_on_a_second_machine(tmp_path: Path) -> None:
    code, report, text = drill(*ONE, command=READS_BACK, folder=tmp_path)
    assert code == Exit.FAILED, text
    assert "needs first_loss.txt" in report["cause"]
    assert "artifacts" in report["remedy"]
    assert any("machine-2 failed" in problem for problem in report["problems"])
    assert any("FileNotFoundError" in line for line in report["output"])
    assert text.count("FileNotFoundError") < 6, "it was tried once"
    assert list(tmp_path.iterdir()) == [], "nothing was written to the folder itself"


@pytest.mark.whole
def test_a_best_model_that_an_interruption_lost_is_in_the_verdict_of_an_equal_end(tmp_path: Path) -> None:
    trains = """
import time, keras, numpy as np, holdfast
keras.utils.set_random_seed(1)
x = np.random.rand(320, 8).astype("float32")
model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
slowly = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: time.sleep(0.02))
best = keras.callbacks.ModelCheckpoint("best.keras", monitor="loss", save_best_only=True)
data = holdfast.dataset(x, x.sum(axis=1, keepdims=True), batch_size=32, seed=1)
model.fit(data, epochs=12, verbose=0, callbacks=[slowly, best, holdfast.Resume()])
"""
    (tmp_path / "train.py").write_text(trains)
    code, report, text = drill(*ONE, command=[sys.executable, "train.py"], folder=tmp_path)
    assert code == 0, text
    assert report["interruptions"][0]["struck"] > 10, "there was a best model by then"
    assert any("identical here, but" in note and "best.keras is missing" in note for note in report["notes"])


@pytest.mark.whole
def test_a_setting_lets_all_machines_share_the_folder(tmp_path: Path) -> None:
    code, report, text = drill(*ONE, "--share-folder", command=READS_BACK, folder=tmp_path)
    assert code == 0, text
    assert report["identical"]
    assert (tmp_path / "first_loss.txt").exists()


@pytest.mark.whole
def test_what_is_under_artifacts_can_be_read_back(tmp_path: Path) -> None:
    code, report, text = drill(*ONE, command=READS_BACK, folder=tmp_path, WHERE="artifacts")
    assert code == 0, text
    assert report["not_compared"] == []
    assert report["notes"] == []


@pytest.mark.whole
def test_a_script_that_does_without_the_file_and_ends_otherwise_is_told_of_the_file(tmp_path: Path) -> None:
    code, report, text = drill(*ONE, command=READS_BACK, folder=tmp_path, WHERE="maybe")
    assert code == Exit.FAILED, text
    assert "first_loss.txt" in report["cause"]
    assert any("first_loss.txt" in note for note in report["notes"])


@pytest.mark.whole
def test_a_file_that_is_written_by_an_absolute_path_is_named_as_shared(tmp_path: Path) -> None:
    code, report, text = drill(*ONE, command=READS_BACK, folder=tmp_path, FOLDER=str(tmp_path))
    assert code == 0, text
    assert any("first_loss.txt" in note and "absolute path" in note for note in report["notes"])


@pytest.mark.whole
def test_a_script_by_a_relative_path_works_in_the_copy(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "work").mkdir()
    shutil.copy(SCRIPTS / "reads_back.py", tmp_path / "src")
    code, report, text = drill(*ONE, command=[sys.executable, "../src/reads_back.py"], folder=tmp_path / "work")
    assert code == Exit.FAILED, text
    assert "needs first_loss.txt" in report["cause"]


@pytest.mark.whole
def test_a_command_that_fails_by_itself_is_tried_once(tmp_path: Path) -> None:
    fails = "import holdfast, sys\nwith holdfast.session() as run:\n    run.commit({})\n    sys.exit('end of epoch 1')"
    code, _, text = drill(command=[sys.executable, "-c", fails])
    assert code == Exit.FAILED
    assert text.count("│ end of epoch 1\n") == 1, text


@pytest.mark.whole
def test_files_that_alone_are_other_ones_are_the_cause_themselves(tmp_path: Path) -> None:
    """This script's file has one letter for each start."""
    counts = """
import time, holdfast
with (holdfast.run_dir() / "artifacts/starts").open("a") as file:
    file.write("x")
with holdfast.session() as run:
    for step in range(run.step, 60):
        time.sleep(0.03)
        if run.boundary(step + 1) or step == 59:
            run.commit({})
"""
    code, report, text = drill(*ONE, command=[sys.executable, "-c", counts])
    assert code == Exit.FAILED, text
    assert (report["differences"], report["other_differences"]) == ([], ["artifacts/starts"])
    assert report["cause"].startswith("the training is identical")


@pytest.mark.whole
def test_an_earlier_fit_that_ended_otherwise_is_found_and_the_second_fits_files_are_compared(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPTS / "two_fits.py")]
    code, report, text = drill("--interruptions", "1", "--kinds", "sigterm", "--seed", "3", "--quiet", command=command)
    assert code == Exit.FAILED, text
    assert report["fits"] == 2
    assert 0 < report["interruptions"][0]["struck"] < 60, "in the first fit"
    assert report["differences"]
    assert all(one["path"].startswith("fit 1: ") for one in report["differences"])
    assert not any(name.startswith("artifacts/") for name in report["other_differences"]), "the second fit is exact"
    assert any("steps_per_second" in name for name in report["not_compared"])
