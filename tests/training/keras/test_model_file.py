"""The ``.h5``: whole where Keras can store the model so, and a reason where it cannot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from holdfast.training.keras import model_file
from holdfast.training.pair.pair_files import Place


class Undescribed(keras.layers.Dense):
    def get_config(self) -> Any:
        raise LookupError("where is mine?\nnowhere")


class WithAnObject(keras.layers.Dense):
    def get_config(self) -> Any:
        return {**super().get_config(), "mine": object()}


def model_of(layer: Any, name: str = "dense") -> keras.Model:
    return keras.Sequential([keras.Input((3,)), layer(2, name=name)])


def write(path: Path, model: keras.Model, say: Callable[[str], None]) -> str:
    variables = {Place("model", i): v for i, v in enumerate(model.variables)}
    return model_file.write(path, model, variables, {p: np.asarray(v.value) for p, v in variables.items()}, say).kind


@pytest.mark.parametrize(
    ("layer", "name", "why"),
    [
        (Undescribed, "dense", "LookupError"),
        (WithAnObject, "dense", "TypeError"),
        (keras.layers.Dense, "x" * 70_000, "RuntimeError"),
    ],
    ids=["raises", "holds an object", "too long a name"],
)
def test_why_a_model_is_not_stored_whole_is_said_once(tmp_path: Path, layer: Any, name: str, why: str) -> None:
    said: list[str] = []
    model = model_of(layer, name)
    kinds = []
    try:
        kinds = [write(tmp_path / f"{n}.h5", model, said.append) for n in range(2)]
    except RuntimeError:
        assert len(name) > 60_000, "HDF5 holds no such name, in a weights file either"
    [reason] = said
    assert "stored whole" in reason
    assert why in reason
    assert reason.isprintable()
    assert kinds in ([], ["weights", "weights"])


def test_a_model_that_keras_stores_gives_nothing_to_say(tmp_path: Path) -> None:
    said: list[str] = []
    assert write(tmp_path / "x.h5", model_of(keras.layers.Dense), said.append) == "model"
    assert said == []


def test_a_disk_that_fails_is_not_taken_for_a_model_that_cannot_be_stored(tmp_path: Path) -> None:
    said: list[str] = []
    model = model_of(keras.layers.Dense)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        write(tmp_path / "file" / "x.h5", model, said.append)
    assert said == []
    assert write(tmp_path / "x.h5", model, said.append) == "model"
