"""Which artifacts callbacks know of, without a training."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import keras
import pytest

from holdfast.training.keras.fit.callback_files import artifacts_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "run" / "artifacts"
    (folder / "logs").mkdir(parents=True)
    return folder


def test_the_files_that_callbacks_name_are_found_where_they_exist(folder: Path) -> None:
    (folder / "best.keras").touch()
    (folder / "logs/rows.csv").touch()
    (folder / "unnamed").touch()
    (folder.parent / "beside").touch()
    callbacks = [
        keras.callbacks.ModelCheckpoint(str(folder / "best.keras"), save_best_only=True),
        keras.callbacks.CSVLogger(str(folder / "logs/rows.csv")),
        keras.callbacks.ModelCheckpoint(str(folder / "later.keras")),
        SimpleNamespace(folder=folder / "logs", beside=folder.parent / "beside", text="best", raw=b"\xff"),
    ]
    assert artifacts_of(callbacks, folder) == ("best.keras", "logs/rows.csv")


def test_a_relative_name_and_one_that_goes_through_a_link_are_the_same_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "best").touch()
    (tmp_path / "link").symlink_to(folder.parent)
    monkeypatch.chdir(tmp_path)
    assert artifacts_of([SimpleNamespace(path="run/artifacts/best")], tmp_path / "link/artifacts") == ("best",)


def test_a_name_with_fields_stands_for_the_newest_files_that_have_such_a_name(folder: Path) -> None:
    for epoch in range(20):
        file = folder / f"[a] {epoch:02d}-{1 / (epoch + 1):.2f}.keras"
        file.touch()
        os.utime(file, (epoch, epoch))
    callback = keras.callbacks.ModelCheckpoint(str(folder / "[a] {epoch:02d}-{loss:.2f}.keras"))
    found = artifacts_of([callback], folder)
    assert len(found) == 10
    assert found[-1] == "[a] 19-0.05.keras"


def test_a_folder_stands_for_the_newest_files_in_it(folder: Path) -> None:
    """TensorBoard's, say, whose curves of the epochs before a pair belong to that pair."""
    for number in range(15):
        file = folder / "logs" / str(number % 2) / f"events-{number:02d}"
        file.parent.mkdir(exist_ok=True)
        file.touch()
        os.utime(file, (number, number))
    found = artifacts_of([keras.callbacks.TensorBoard(str(folder / "logs"))], folder)
    assert len(found) == 10
    assert {os.path.basename(file) for file in found} == {f"events-{number:02d}" for number in range(5, 15)}


def test_a_run_without_artifacts_has_none(tmp_path: Path) -> None:
    assert artifacts_of([SimpleNamespace(path=str(tmp_path))], tmp_path / "artifacts") == ()
