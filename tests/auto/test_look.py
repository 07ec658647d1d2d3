"""What ``holdfast doctor -- COMMAND`` learns of a ``fit`` before anything is trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from holdfast.auto import environment, hook, look

X = np.ones((8, 2), "float32")


class Touches(keras.callbacks.Callback):
    """Does something as soon as a training begins."""

    began = False

    def set_params(self, params: Any) -> None:
        Touches.began = True


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(environment.LOOK_VARIABLE, str(tmp_path / "report"))
    return tmp_path / "report"


def rows(report: Path, kind: str = "tensorflow", **given: Any) -> dict[str, list[tuple[str, str]]]:
    """What is reported of each thing that was looked at: levels and texts."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    before = model.get_weights()
    with pytest.raises(look.Looked) as ended:
        look.fit(type(model).fit, model, (), {"verbose": 0, **given}, kind, None)
    assert ended.value.code == 0
    assert all(map(np.array_equal, before, model.get_weights()))
    (line,) = report.read_text().splitlines()
    found: dict[str, list[tuple[str, str]]] = {}
    for check, level, text, _ in json.loads(line)["findings"]:
        found.setdefault(check, []).append((level, text))
    return found


def test_a_seeded_fit_of_arrays_is_exact_and_no_callback_has_begun(report: Path) -> None:
    keras.utils.set_random_seed(4)
    found = rows(report, x=X, y=X[:, :1], batch_size=4, epochs=3, callbacks=[Touches()])
    assert found["seeds"] == [("ok", "the global seed is 4")]
    assert found["fit"] == [("ok", "3 epochs of 2 batches")]
    assert found["data"] == [("ok", "arrays, in an order that each start has again")]
    assert not Touches.began
    assert {level for one in found.values() for level, _ in one} == {"ok"}


def test_what_is_left_to_do_for_exactness_is_said(report: Path) -> None:
    tf.random.set_seed(None)
    found = rows(report, x=X, y=X[:, :1])
    assert found["seeds"][0][0] == "warning"
    assert "shuffled without a seed" in found["data"][0][1]


def test_what_cannot_be_kept_is_named(report: Path) -> None:
    keras.utils.set_random_seed(4)
    noisy = tf.data.Dataset.from_tensor_slices((X, X[:, :1])).batch(4)
    held_out = noisy.map(lambda x, y: (x + tf.random.normal([]), y))
    found = rows(report, x=noisy, validation_data=held_out)
    assert any("the validation data draws from tf.random" in text for _, text in found["data"])


def test_keras_on_another_backend_is_a_problem(report: Path) -> None:
    assert rows(report, kind="openvino", x=X)["Keras"][0][0] == "problem"


def test_the_hook_knows_the_same_names() -> None:
    for name in ("LOOK_VARIABLE", "PYTHON_SEEN", "KERAS_SEEN"):
        assert getattr(hook, name) == getattr(environment, name)
