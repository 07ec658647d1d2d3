"""Which backend serves, and what is said where none does."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

import holdfast
from holdfast.core.errors import SettingsError
from holdfast.training.keras.backends.chosen import backend


def test_the_backend_is_the_one_that_keras_runs_on() -> None:
    assert backend().name == keras.backend.backend()


def test_a_fit_on_a_backend_that_is_not_served_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    monkeypatch.setattr(keras.backend, "backend", lambda: "openvino")
    with pytest.raises(SettingsError, match=r"^Keras runs on openvino here, .*: set KERAS_BACKEND=tensorflow"):
        model.fit(np.zeros((2, 2)), np.zeros((2, 1)), verbose=0, callbacks=[holdfast.Resume(tmp_path)])
    assert "Epoch" not in capfd.readouterr().out
