"""Checkpoints that older versions wrote are still read: tests/data holds one of each format."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import holdfast
from holdfast.spool import Spool

from ..restarts import once

DATA = Path(__file__).parents[2] / "data"
X = np.arange(24, dtype="float32").reshape(8, 3)


@pytest.mark.parametrize("run", ["00001-format1"])
def test_a_checkpoint_of_an_older_format_is_continued(
    tmp_path: Path, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(DATA / run, tmp_path / run)
    monkeypatch.setattr("sys.argv", [f"{run.removeprefix('00001-')}.py"])
    spool = Spool(tmp_path / run)
    spool.verify(spool.manifest(spool.pairs()[0]))
    before: dict[str, Any] = {}

    class Look(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            before.setdefault("kernel", self.model.get_layer("d").kernel.numpy())
            before.setdefault("iterations", int(self.model.optimizer.iterations.numpy()))

    def script(callbacks: list[keras.callbacks.Callback]) -> tuple[keras.Model, Any]:
        dense, dropout = keras.layers.Dense(2, name="d"), keras.layers.Dropout(0.5, seed=1)
        model = keras.Sequential([keras.layers.Input((3,)), dense, dropout])
        model.compile("adam", "mse", metrics=["mae"])
        data = holdfast.dataset(X, X[:, :2], batch_size=2, seed=1)
        return model, model.fit(data, epochs=2, verbose=0, shuffle=False, callbacks=[Look(), *callbacks[2:]])

    ended = once(script, tmp_path)
    assert ended.code is None
    assert before["iterations"] == 4
    assert before["kernel"][0].tolist() == [-0.5246448516845703, 0.794081449508667]
    assert len(ended.history["loss"]) == 2, "the history goes on where it was"
