"""``holdfast run --auto``: scripts that say nothing of holdfast, in an interpreter that does not have it."""

from __future__ import annotations

import json
import mmap
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from auto.interpreters import fake_keras
from holdfast.core.errors import Exit

from .daemons import Daemon, Machines
from .unmodified import SCRIPTS, interpreter_without_holdfast


@pytest.fixture(scope="session")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> str:
    return interpreter_without_holdfast(tmp_path_factory.mktemp("foreign"))


def started(tmp_path: Path, park: Machines, *command: str, **environment: str) -> Daemon:
    """``holdfast run --auto`` in the folder ``tmp_path``."""
    return park.start("one", "--auto", command=[*command], folder=tmp_path, **environment)


def test_a_script_without_a_line_of_holdfast_survives_a_stop_behind_wrappers(
    foreign: str, tmp_path: Path, local_park: Machines
) -> None:
    """It is started by timeout, by a shell, in a module's way, with BackupAndRestore among its callbacks."""
    shutil.copy(SCRIPTS / "stock_callbacks.py", tmp_path)
    (tmp_path / "train.sh").write_text(f"set -e\n{foreign} -c 'import holdfast' 2> seen && exit 9\nexit 0\n")
    assert subprocess.run(["sh", "train.sh"], cwd=tmp_path, check=False).returncode == 0, "it has no holdfast"
    (tmp_path / "train.sh").write_text(f"set -e\nexport STAGE=1\n{foreign} -m stock_callbacks\necho the end\n")
    command = ["nice", "timeout", "300", "sh", "train.sh"]
    first = local_park.start("one", "--auto", "--every", "4", command=command, folder=tmp_path, PACE="0.1")
    first.until("(interval,")
    assert first.terminate() == Exit.STOPPED, first.text
    second = local_park.start("two", "--auto", command=command, folder=tmp_path)
    assert second.wait() == 0, second.text
    assert "the end" in second.text
    ended = [event for name in ("one", "two") for event in local_park.events(name) if event["event"] == "exited"]
    assert sum(event["executed"] for event in ended) == 4 * 15, "each batch once"


def test_what_trains_nothing_is_not_called_complete(tmp_path: Path, local_park: Machines) -> None:
    daemon = started(tmp_path, local_park, sys.executable, "-c", "print('hello')")
    assert daemon.wait() == Exit.FAILED
    assert "--auto found nothing to make resumable: no Python process of it imported Keras" in daemon.text


def test_keras_that_no_fit_of_is_called_is_said(tmp_path: Path, local_park: Machines) -> None:
    fake_keras(tmp_path)
    daemon = started(tmp_path, local_park, sys.executable, "-c", "import keras.src.backend.tensorflow.trainer")
    assert daemon.wait() == Exit.FAILED
    assert "it imported Keras, and called no fit" in daemon.text


@pytest.mark.parametrize(
    ("module", "content", "code", "words"),
    [
        (
            "x.py",
            "",
            Exit.FAILED,
            "this fit is of Keras on openvino, and Keras on TensorFlow, JAX or PyTorch alone can be resumed",
        ),
        (
            "holdfast.py",
            "print('trained')",
            Exit.USAGE,
            "holdfast.py is another module named holdfast, and hides this one: rename it",
        ),
        ("holdfast/__init__.py", "__version__ = '9.9'", Exit.USAGE, "has holdfast 9.9"),
        ("numpy.py", "raise ImportError('no such library')", Exit.USAGE, "training side cannot be loaded"),
    ],
    ids=["another backend", "another holdfast", "another version", "no NumPy"],
)
def test_a_fit_that_cannot_be_served_ends_before_it_trains(
    module: str, content: str, code: Exit, words: str, tmp_path: Path, local_park: Machines
) -> None:
    fake_keras(tmp_path, "openvino", "OpenVINOTrainer")
    (tmp_path / "holdfast/training").mkdir(parents=True)
    (tmp_path / module).write_text(content)
    script = "from keras.src.backend.openvino.trainer import OpenVINOTrainer; print(OpenVINOTrainer().fit())"
    daemon = started(tmp_path, local_park, sys.executable, "-c", script)
    assert daemon.wait() == code, daemon.text
    assert daemon.text.count(words) == 1, daemon.text
    assert "trained" not in daemon.lines
    assert "Traceback" not in daemon.text


def test_a_second_process_that_trains_beside_the_first_ends_the_run_in_one_line(
    tmp_path: Path, local_park: Machines
) -> None:
    fake_keras(tmp_path)
    fit = "from keras.src.backend.tensorflow.trainer import TensorFlowTrainer as T; print(T().fit())"
    script = (
        f"import holdfast, subprocess, sys; run = holdfast.session(); subprocess.run([sys.executable, '-c', {fit!r}])"
    )
    daemon = started(tmp_path, local_park, sys.executable, "-c", script)
    assert daemon.wait() == Exit.USAGE, daemon.text
    assert daemon.text.count("a run has one training process at a time") == 1
    assert "trained" not in daemon.lines


def test_a_fork_of_the_training_process_has_no_part_in_its_session(tmp_path: Path, local_park: Machines) -> None:
    """The package that stands for Keras has no callbacks: the first fit fails, with its session open."""
    fake_keras(tmp_path)
    (tmp_path / "train.py").write_text(
        "import contextlib, os\n"
        "from keras.src.backend.tensorflow.trainer import TensorFlowTrainer as T\n"
        "with contextlib.suppress(AttributeError):\n"
        "    T().fit()\n"
        "if os.fork() == 0:\n"
        "    print(T().fit())\n"
        "os.wait()\n"
    )
    daemon = started(tmp_path, local_park, sys.executable, "train.py")
    assert daemon.wait() == Exit.USAGE, daemon.text
    assert daemon.text.count("is a fork of the one that trains") == 1
    assert "trained" not in daemon.lines


def test_an_interpreter_that_ignores_the_environment_is_refused_before_anything_else(
    tmp_path: Path, local_park: Machines
) -> None:
    daemon = started(tmp_path, local_park, sys.executable, "-I", "train.py")
    assert daemon.wait() == Exit.USAGE
    (line,) = daemon.lines
    assert "is started with -I" in line


@pytest.mark.whole
@pytest.mark.parametrize(
    ("command", "words"),
    [("{} -E train.py", "is started with -E, and so ignores the environment"),
     ("PYTHONPATH=. {} train.py", "has lost what --auto put on PYTHONPATH")],
)  # fmt: skip
def test_one_behind_a_wrapper_is_ended_when_it_has_tensorflow_for_long(
    command: str, words: str, tmp_path: Path, local_park: Machines
) -> None:
    """A file of TensorFlow's name stands for TensorFlow."""
    (tmp_path / "libtensorflow_of_a_test.so.2").write_bytes(bytes(mmap.PAGESIZE))
    (tmp_path / "train.py").write_text(
        "import mmap, time\n"
        "file = open('libtensorflow_of_a_test.so.2', 'rb')\n"
        "library = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)\n"
        "time.sleep(60)\n"
    )
    daemon = started(tmp_path, local_park, "sh", "-c", f"{command.format(sys.executable)}; echo over")
    assert daemon.wait() == Exit.USAGE, daemon.text
    assert words in daemon.text
    assert "over" not in daemon.lines


@pytest.mark.parametrize(
    ("backend", "name", "remedy"),
    [
        ("jax", "JAXTrainer", "Add holdfast.Resume()"),
        ("torch", "TorchTrainer", "Add holdfast.Resume()"),
        (
            "openvino",
            "OpenVINOTrainer",
            "and Keras 3 on TensorFlow, JAX or PyTorch, or tf_keras, alone",
        ),
    ],
)
def test_without_auto_the_first_fit_of_a_script_that_never_imports_holdfast_is_reported_as_it_begins(
    backend: str, name: str, remedy: str, tmp_path: Path, local_park: Machines
) -> None:
    fake_keras(tmp_path, backend, name)
    (tmp_path / "train.py").write_text(
        f"from keras.src.backend.{backend}.trainer import {name} as T\nprint(T().fit())\nprint(T().fit())\n"
    )
    daemon = local_park.start("one", command=[sys.executable, str(tmp_path / "train.py")])
    assert daemon.wait() == Exit.FAILED, daemon.text
    assert daemon.text.count("trains a Keras model without a holdfast session: nothing of it is saved") == 1
    assert remedy in daemon.text
    kinds = local_park.kinds("one")
    assert kinds.index("unprotected") < kinds.index("exited")
    assert "the command trained without ever saving, so the run is not complete" in daemon.text


def test_without_auto_a_script_with_a_session_is_not_reported(tmp_path: Path, local_park: Machines) -> None:
    fake_keras(tmp_path)
    (tmp_path / "train.py").write_text(
        "import holdfast\n"
        "from keras.src.backend.tensorflow.trainer import TensorFlowTrainer as T\n"
        "with holdfast.session() as run:\n"
        "    print(T().fit())\n"
        "    run.commit({}, loss=1.0)\n"
    )
    daemon = local_park.start("one", command=[sys.executable, str(tmp_path / "train.py")])
    assert daemon.wait() == Exit.COMPLETE, daemon.text
    assert "without a holdfast session" not in daemon.text


def test_the_command_s_environment_has_one_more_entry_of_pythonpath(tmp_path: Path, local_park: Machines) -> None:
    """And without ``--auto`` a variable that says so."""
    show = "import json, os; print(json.dumps(dict(os.environ)))"
    seen = []
    for name, options in (("one", ["--auto"]), ("two", [])):
        daemon = local_park.start(name, *options, command=[sys.executable, "-c", show], PYTHONPATH="mine")
        daemon.wait()
        seen.append(json.loads(next(line for line in daemon.lines if line.startswith("{"))))
    added, mine = seen[0].pop("PYTHONPATH").split(os.pathsep)
    assert (Path(added).name, mine) == ("injected", "mine")
    assert seen[1].pop("PYTHONPATH").split(os.pathsep) == [added, mine]
    assert seen[1].pop("HOLDFAST_ONLY_WARN")
    different = {key for key in {*seen[0], *seen[1]} if seen[0].get(key) != seen[1].get(key)}
    assert different == {"HOLDFAST_SOCKET", "HOLDFAST_RUN_DIR"}


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["-c", "print('hello')"], "nothing to make resumable: no Python process of it imported Keras"),
        (["-c", "import sys; sys.exit('no such data')"], "ended with exit 1 before its first fit"),
        (["fits.py"], "of Keras on openvino"),
    ],
    ids=["no Keras", "fails", "another backend"],
)
def test_the_doctor_says_of_a_command_why_it_would_not_be_resumable(
    command: list[str], words: str, tmp_path: Path
) -> None:
    fake_keras(tmp_path, "openvino", "OpenVINOTrainer")
    (tmp_path / "fits.py").write_text(
        "from keras.src.backend.openvino.trainer import OpenVINOTrainer\n"
        "try:\n"
        "    OpenVINOTrainer().fit()\n"
        "finally:\n"
        "    open('model', 'w').close()\n"
    )
    daemon = Daemon(["doctor", "--", sys.executable, *command], {}, tmp_path)
    assert daemon.wait() == Exit.USAGE, daemon.text
    assert words in daemon.text
    assert "Traceback" not in daemon.text
    assert ("no such data" in daemon.text) == ("no such data" in command[-1])
    assert not (tmp_path / "model").exists(), "nothing of the script is done after its fit"
