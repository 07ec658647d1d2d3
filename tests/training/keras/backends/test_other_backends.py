"""Keras on JAX and PyTorch, and Keras 2, in processes of their own: a process has one backend. Each framework is in a
folder apart (tests/real/jax.txt, tests/real/torch.txt, tests/real/keras_2.txt).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import pytest

TESTS = Path(__file__).parents[3]
WITHOUT = ["-p", "fakes.without_tensorflow"]
# Each start of a training compiles the same steps, which takes most of the time. JAX keeps what it has compiled here.
KEEPS_ALL = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}


@pytest.mark.real
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("framework", "file", "plugins"),
    [
        pytest.param("jax", "on_jax.py", WITHOUT, id="JAX, without TensorFlow"),
        pytest.param("jax", "with_tensorflow.py", [], id="JAX, with TensorFlow's data"),
        pytest.param("torch", "with_tensorflow.py", [], id="PyTorch, with TensorFlow's data"),
        pytest.param("torch", "on_torch.py", WITHOUT, id="PyTorch, without TensorFlow"),
        pytest.param("jax", "test_as_keras_tests.py", WITHOUT, id="JAX, as Keras' own tests"),
        pytest.param("torch", "test_as_keras_tests.py", WITHOUT, id="PyTorch, as Keras' own tests"),
    ],
)
def test_what_is_said_of_a_backend_holds_there(framework: str, file: str, plugins: list[str], tmp_path: Path) -> None:
    environment = {**os.environ, "KERAS_BACKEND": framework, "PYTHONPATH": f"{TESTS}:{sys.prefix}/{framework}"}
    environment |= {"JAX_COMPILATION_CACHE_DIR": str(tmp_path), **KEEPS_ALL}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugins]
    command.append(str(Path(__file__).with_name(file)))
    ended = subprocess.run(command, env=environment, cwd=TESTS.parent, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-8000:]


@pytest.mark.real
@pytest.mark.timeout(900)
@pytest.mark.parametrize("file", ["on_keras_2.py", "test_as_keras_tests.py"])
def test_what_is_said_of_keras_2_holds_there(file: str) -> None:
    environment = {**os.environ, "TF_USE_LEGACY_KERAS": "1", "PYTHONPATH": f"{TESTS}:{sys.prefix}/keras_2"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command.append(str(Path(__file__).with_name(file)))
    ended = subprocess.run(command, env=environment, cwd=TESTS.parent, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-8000:]


@pytest.mark.real
@pytest.mark.timeout(600)
def test_a_training_goes_from_one_backend_to_the_next_with_its_weights_and_slots(tmp_path: Path) -> None:
    first, _ = across("tensorflow", tmp_path, "0", "3")
    assert first["at"] == [0, 0, 0]
    kept = {file.name: file.read_bytes() for file in tmp_path.glob("*/*") if file.is_file()}
    refused = started("torch", tmp_path)
    assert refused.returncode != 0
    assert refused.stdout == ""
    assert "and Keras runs on torch here: set KERAS_BACKEND=tensorflow before" in refused.stderr
    assert {name for name in kept if name.endswith(".h5")} == {file.name for file in tmp_path.glob("*/*.h5")}
    steps = [("torch", [0, 4, 4], ("1", "1")), ("jax", [1, 2, 8], ("2", "0")), ("torch", [2, 1, 13], ())]
    for backend, at, stop in steps:
        stored = values_of(max(tmp_path.glob("*/*.h5")))
        begun, said = across(backend, tmp_path, *stop, OTHER_BACKEND="1")
        assert begun["at"] == at
        assert f"and Keras runs on {backend} here: the training continues at its batch" in said
        assert "but not bit for bit" in said
        assert begun["kernel"] in stored
        assert begun["slot"] in stored


def values_of(file: Path) -> list[Any]:
    found: list[Any] = []
    with h5py.File(file, "r") as opened:
        opened.visititems(lambda _, one: found.append(one[()].tolist()) if isinstance(one, h5py.Dataset) else None)
    return found


def started(backend: str, folder: Path, *stop: str, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": f"{sys.prefix}/{backend}", **more}
    command = [sys.executable, str(Path(__file__).with_name("across.py")), str(folder), *stop]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def across(backend: str, folder: Path, *stop: str, **more: str) -> tuple[dict[str, Any], str]:
    """What it began with, and what it said."""
    ended = started(backend, folder, *stop, **more)
    assert ended.returncode == (75 if stop else 0), ended.stderr[-4000:]
    return json.loads(ended.stdout.splitlines()[0]), ended.stderr
