"""``holdfast drill`` on each backend of Keras: what scripts/backend_models.py trains ends the same, whatever strikes.

Each start of a framework takes seconds, so one drill has three fits, and each of them is struck once:

- a Sequential model with Dropout and BatchNormalization on ``tf.data``, validated, with EarlyStopping and
  ReduceLROnPlateau,
- a subclassed model with a ``train_step`` of its own and two optimizers. On JAX the second one's variables are the
  model's own: Keras hands on no others there,
- the Sequential model on arrays, with mixed precision and accumulated gradients. Keras 2 has no such accumulation.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from pathlib import Path

import pytest

from .daemons import SCRIPTS
from .test_drill import KEEPS_ALL, drill

FIRST = (1, 19, 37)  # batches of the three fits
KINDS = ["notice", "sigkill", "sigterm"]
MODELS = [sys.executable, str(SCRIPTS / "backend_models.py")]


@pytest.mark.whole
@pytest.mark.real
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("framework", "chosen", "auto", "seed"),
    [
        pytest.param(None, {"KERAS_BACKEND": "tensorflow"}, None, 1608, id="TensorFlow"),
        pytest.param("jax", {"KERAS_BACKEND": "jax", **KEEPS_ALL}, "some", 817, id="JAX"),
        pytest.param("torch", {"KERAS_BACKEND": "torch"}, "all", 689, id="PyTorch"),
        pytest.param("keras_2", {"TF_USE_LEGACY_KERAS": "1"}, "some", 988, id="Keras 2"),
    ],
)
def test_all_kinds_of_models_end_the_same_after_three_interruptions(
    framework: str | None,
    chosen: dict[str, str],
    auto: str | None,
    seed: int,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """``--auto`` serves all or some of the fits, the script's own Resume the others."""
    settings = {**chosen, "PACE": "0.05", "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("compiled"))}
    settings |= {"PYTHONPATH": f"{sys.prefix}/{framework}"} if framework else {}
    settings |= {"AUTO": auto} if auto else {}
    options = ("--interruptions", str(len(KINDS)), "--kinds", ",".join(KINDS), "--seed", str(seed))
    code, report, text = drill(*options, *(["--auto"] if auto else []), command=MODELS, folder=tmp_path, **settings)
    assert code == 0, text
    assert report["identical"]
    fits = [bisect_right(FIRST, one["planned"]) for one in report["interruptions"]]
    assert fits == [1, 2, 3]
    assert sorted(one["kind"] for one in report["interruptions"]) == KINDS
    assert all(one["redone"] == 0 for one in report["interruptions"] if one["kind"] != "sigkill")
