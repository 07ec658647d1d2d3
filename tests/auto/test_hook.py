"""What the hook changes in an interpreter: ``fit``, and nothing else that the script can see."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from holdfast.auto.environment import FOLDER, with_hook

from .interpreters import bare_interpreter, fake_keras, python

LOOK = "import sys; print(sys.path, sys.argv, sys.flags, sorted(set(sys.modules)), sys.modules.get('sitecustomize'))"
FIT = "from keras.src.backend.tensorflow.trainer import TensorFlowTrainer as T; fit = T.fit; "


@pytest.mark.parametrize("auto", [True, False])
def test_an_interpreter_has_the_path_and_the_modules_that_it_has_without_it(auto: bool, tmp_path: Path) -> None:
    with_path = {"PYTHONPATH": f"{tmp_path}{os.pathsep}relative"}
    for environment in ({}, with_path):
        assert python(tmp_path, LOOK, auto=auto, **environment) == python(tmp_path, LOOK, auto=None, **environment)


@pytest.mark.parametrize(
    "hidden",
    ["print('the hidden one')", "raise RuntimeError('of its own')", "import no_such_module_of_its_own", None],
    ids=["prints", "raises", "imports what is not there", "is not there"],
)
def test_a_sitecustomize_that_it_hides_does_what_it_does_without_it(hidden: str | None, tmp_path: Path) -> None:
    if hidden is not None:
        (tmp_path / "sitecustomize.py").write_text(hidden)
    seen = [
        python(tmp_path, "import sys; print(sys.modules.get('sitecustomize'))", auto=auto, PYTHONPATH=str(tmp_path))
        for auto in (True, None)
    ]
    assert seen[0] == seen[1]
    assert ("the hidden one" in seen[0]) is (hidden is not None and "print" in hidden)


def test_the_first_fit_of_a_process_and_those_of_its_children_are_wrapped(tmp_path: Path) -> None:
    fake_keras(tmp_path)
    inner = FIT + "print('wrapped', hasattr(fit, '__wrapped__'))"
    outer = f"import subprocess, sys; exec({inner!r}); subprocess.run([sys.executable, '-c', {inner!r}])"
    assert python(tmp_path, outer).split() == ["wrapped", "True"] * 2


def test_a_finder_that_the_script_puts_around_all_others_is_asked_once(tmp_path: Path) -> None:
    fake_keras(tmp_path)
    around = (
        "import sys\n"
        "class Around:\n"
        "    def __init__(self, finder): self.finder = finder\n"
        "    def find_spec(self, *asked): return self.finder.find_spec(*asked)\n"
        "sys.meta_path[:] = [Around(finder) for finder in sys.meta_path]\n"
    )
    assert python(tmp_path, around + FIT + "print('wrapped', hasattr(fit, '__wrapped__'))").split() == [
        "wrapped",
        "True",
    ]


def test_a_wrapped_fit_looks_like_the_one_of_keras(tmp_path: Path) -> None:
    fake_keras(tmp_path)
    code = FIT + (
        "import inspect, keras.src.backend.tensorflow.trainer as m;"
        "print(inspect.signature(fit), fit.__name__, fit.__qualname__, fit.__doc__, fit.__module__,"
        " inspect.getsource(fit), list(vars(m.__loader__)), m.__spec__.loader is m.__loader__)"
    )
    shown = python(tmp_path, code)
    assert shown == python(tmp_path, code, auto=None)
    assert "(self, x=None, *, epochs=1, callbacks=None) fit TensorFlowTrainer.fit Trains." in shown


def test_without_auto_only_the_first_fit_is_seen_and_nothing_else_is_there(tmp_path: Path) -> None:
    fake_keras(tmp_path)
    (tmp_path / "supervisor").mkdir()
    code = FIT + (
        "import importlib.util; print(fit.__qualname__, hasattr(fit, '__wrapped__'), T().fit());"
        "print(hasattr(T.fit, '__wrapped__'), T().fit(), importlib.util.find_spec('holdfast'))"
    )
    bare = bare_interpreter(tmp_path / "bare")
    shown = python(tmp_path, code, auto=False, interpreter=bare)
    assert shown.split("\n")[:2] == ["TensorFlowTrainer.fit True trained", "False trained None"]
    assert not list((tmp_path / "supervisor").iterdir()), "the marks are of --auto"


@pytest.mark.parametrize("fails", [False, True])
def test_variables_that_a_package_sets_itself_are_no_change_of_the_scripts(fails: bool, tmp_path: Path) -> None:
    """TensorFlow sets TF2_BEHAVIOR, and imports other packages after that."""
    (tmp_path / "tensorflow.py").write_text("import os; os.environ['TF2_BEHAVIOR'] = '1'; import h5py\n")
    (tmp_path / "h5py.py").write_text("1 / 0" if fails else "")
    (tmp_path / "jax.py").write_text("")
    code = (
        "import contextlib, os, sys; os.environ['KERAS_BACKEND'] = '1'\n"
        "with contextlib.suppress(ZeroDivisionError):\n"
        "    import tensorflow as t; print(list(vars(t.__loader__)))\n"
        "import jax; print(sys.meta_path[0].changes, sys.meta_path[0].peculiar)\n"
    )
    shown = python(tmp_path, code).splitlines()
    assert shown[-1] == "{'KERAS_BACKEND': '1'} False"
    assert fails or shown[0] == "['name', 'path']"


@pytest.mark.parametrize(
    "before",
    [
        "os.environ['OF_ITS_OWN'] = '1'",
        "import h5py; os.environ['OMP_NUM_THREADS'] = '1'",
        "os.fork() or os._exit(0)",
        "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()",
        "sys.meta_path.insert(0, type('Finder', (), {'find_spec': lambda *_: None})())",
        "sys.modules['gevent'] = sys",
    ],
)
def test_what_cannot_be_done_again_ahead_of_a_script_is_noticed(before: str, tmp_path: Path) -> None:
    for name in ("tensorflow", "h5py"):
        (tmp_path / f"{name}.py").write_text("")
    shows = "import tensorflow; print(next(one for one in sys.meta_path if hasattr(one, 'peculiar')).peculiar)"
    code = "import os, sys\n{}\n" + shows
    assert python(tmp_path, code.format("")) == "False\n"
    assert python(tmp_path, code.format(before)) == "True\n"


def test_keras_is_found_however_often_it_is_only_looked_for_before(tmp_path: Path) -> None:
    fake_keras(tmp_path)
    code = (
        "from importlib.util import find_spec; find_spec('keras'); find_spec('keras.src.backend.tensorflow.trainer');"
        + FIT
        + "print(hasattr(fit, '__wrapped__'))"
    )
    assert python(tmp_path, code) == "True\n"


def test_a_process_that_left_its_supervisor_trains_as_without_it(tmp_path: Path) -> None:
    fake_keras(tmp_path)
    code = "import os; " + FIT + "del os.environ['HOLDFAST_SOCKET']; print(T().fit())"
    assert python(tmp_path, code) == "trained\n"


def test_holdfast_comes_along_to_an_interpreter_without_it_and_brings_nothing_else(tmp_path: Path) -> None:
    code = (
        "import holdfast, importlib.util; print(holdfast.__version__);"
        "print([name for name in ('boto3', 'click', 'psutil', 'rich') if importlib.util.find_spec(name)])"
    )
    bare = bare_interpreter(tmp_path / "bare")
    assert python(tmp_path, code, interpreter=bare).split("\n")[1] == "[]"
    assert "ModuleNotFoundError" in python(tmp_path, code, interpreter=bare, auto=None)


def test_a_module_of_the_script_s_comes_before_what_is_brought_along(tmp_path: Path) -> None:
    (tmp_path / "holdfast.py").write_text("mine = True")
    assert python(tmp_path, "import holdfast; print(holdfast.mine)") == "True\n"


@pytest.mark.parametrize("option", ["-I", "-E", "-S"])
def test_an_interpreter_that_ignores_the_environment_is_left_alone(option: str, tmp_path: Path) -> None:
    code = "import sys; print([type(finder).__name__ for finder in sys.meta_path])"
    assert "KerasFinder" not in python(tmp_path, code, option)


def test_an_empty_python_path_stays_one_that_adds_nothing() -> None:
    assert with_hook({"PYTHONPATH": ""})["PYTHONPATH"] == str(FOLDER)
    assert with_hook({"PYTHONPATH": ":/a"})["PYTHONPATH"] == f"{FOLDER}::/a"


@pytest.mark.parametrize("folder", [None, "holdfast/runs"], ids=["nothing else", "a folder of runs"])
def test_the_package_is_found_where_only_a_folder_has_its_name(folder: str | None, tmp_path: Path) -> None:
    if folder is not None:
        (tmp_path / folder).mkdir(parents=True)
    code = (
        "import sys; finder = sys.meta_path[0]; load = finder.find_spec.__globals__['load_package'];"
        "print(load().__version__); import holdfast.core.errors; print(holdfast is load())"
    )
    assert python(tmp_path, code, interpreter=bare_interpreter(tmp_path / "bare")).split()[1] == "True"


def test_auto_inside_of_a_command_without_it_is_auto() -> None:
    assert with_hook(with_hook({}, auto=False)).keys() == with_hook({}).keys()
