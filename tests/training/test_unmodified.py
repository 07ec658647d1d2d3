"""Scripts as people have them, with seeds, stopped and started again in this process, where TensorFlow is loaded once.

Each start executes the whole script, whose ``fit`` gets callbacks as it does under ``--auto``. Others run as commands
under the drill: tests/integration/test_unmodified.py.
"""

from __future__ import annotations

import random
import runpy
from pathlib import Path
from typing import Any

import keras
import pytest

from holdfast.auto.protect import with_callbacks

from .restarts import Script, assert_same, interrupted, once

SCRIPTS = Path(__file__).parent.parent / "scripts/unmodified"
PLACES = [(epoch, batch) for epoch in range(3) for batch in range(15)]  # each script has at least these


@pytest.mark.whole
@pytest.mark.parametrize("name", ["custom_train_step", "gan", "mixup", "stock_callbacks", "text_lstm"])
def test_an_unmodified_script_ends_the_same_after_two_stops(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    print(f"{(chance := random.SystemRandom().randrange(10**6))=}")
    stops = sorted(random.Random(chance).sample(PLACES, 2))
    script = executed(SCRIPTS / f"{name}.py", monkeypatch)
    for folder in ("undisturbed", "interrupted"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "undisturbed")
    expected = once(script, tmp_path / "undisturbed/runs")
    monkeypatch.chdir(tmp_path / "interrupted")
    assert_same(interrupted(script, tmp_path / "interrupted/runs", *stops), expected)


def executed(path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    def run(callbacks: list[keras.callbacks.Callback]) -> tuple[keras.Model, Any]:
        original, trained = keras.Model.fit, []

        def fit(model: keras.Model, *args: Any, **kwargs: Any) -> Any:
            history = with_callbacks(original, model, args, kwargs, lambda given: [*given, *callbacks])
            trained.append((model, history))
            return history

        with monkeypatch.context() as patch:
            patch.setattr(keras.Model, "fit", fit)
            runpy.run_path(str(path), run_name="__main__")
        ((model, history),) = trained
        return model, history

    return run
