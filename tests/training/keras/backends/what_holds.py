"""What holds on which backend of Keras, and the tests that show it: docs/backends.md has its table from here.

A cell is what a reader is told, and what shows it: test files, and for JAX and PyTorch also rows of the matrix of
on_jax.py and on_torch.py, which each must stand here. Nothing is imported here: a process has one backend.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

BACKENDS = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch", "tf_keras": "Keras 2", "openvino": "OpenVINO"}
MATRIX = "test_matrix.py"


class Cell(NamedTuple):
    text: str
    shown_by: Sequence[str] = ()


def yes(*shown_by: str) -> Cell:
    return Cell("yes", shown_by)


NONE = Cell("\N{EN DASH}")
REFUSED = Cell("refused")
_KERAS_2 = "backends/on_keras_2.py"
_WITH_TENSORFLOW = "backends/with_tensorflow.py"
_DRILL = "../../integration/test_backends.py"  # of all backends: scripts/backend_models.py has what it trains
_DATA = "../data/test_conformance.py"
_ARRAYS = ("arrays in a shuffled order", "arrays in their own order", "arrays shuffled batch by batch")
_STEPS = ("accumulated gradients, a moving average and a schedule", "half precision with a loss scale", "eager steps")
_LOADERS = (
    *("a loader", "a loader with a generator of its own", "a loader with a sampler of batches"),
    *("a loader with workers", "epochs of a part of a loader", "a loader, and validation with another"),
    "validation with a part of a loader, in an order of its own",
    *("a loader whose dataset draws", "a loader whose dataset counts its passes"),
    "training and validation with parts of a dataset that draws",
)
_SEEDED = (_WITH_TENSORFLOW, _DRILL)
_WORKERS = "yes, with `workers=1`"

TABLE: dict[str, tuple[Cell, Cell, Cell, Cell, Cell]] = {
    "`fit` resumes bit for bit, at the exact batch, on the same kind of machine": (
        yes(MATRIX, _DRILL),
        yes("the first and the second of two fits", _DRILL),
        yes("the first and the second of two fits", _DRILL),
        yes(_KERAS_2, _DRILL),
        REFUSED,
    ),
    "a stop between two batches, in validation, in the first trace": (
        yes("fit/test_stop.py"),
        yes("validation, early stopping and a plateau", "a callback that reads the variables in an epoch"),
        yes("validation, early stopping and a plateau"),
        yes(_KERAS_2),
        NONE,
    ),
    "arrays, in their own or a shuffled order": (
        yes("../data/kinds_of_arrays.py"),
        yes(*_ARRAYS, "an epoch of a part of the arrays"),
        yes(
            *_ARRAYS,
            *("an epoch of a part of the arrays", "an epoch of all of the arrays, by its number of steps"),
            "arrays shuffled batch by batch, and a callback that draws",
        ),
        yes(_KERAS_2),
        NONE,
    ),
    "a Python generator": (
        yes("../data/python/test_generator.py"),
        yes("a generator"),
        yes("a generator", "a generator of unknown length"),
        Cell("yes, with `workers=1`", (_KERAS_2,)),
        NONE,
    ),
    "a `PyDataset` (in Keras 2 a `Sequence`)": (
        yes("../data/python/test_py_dataset.py"),
        Cell(_WORKERS, ("a PyDataset",)),
        Cell(_WORKERS, ("a PyDataset", "a PyDataset, and validation with another")),
        Cell(_WORKERS, (_KERAS_2,)),
        NONE,
    ),
    "`holdfast.dataset`, and `tf.data` that keeps its order": (
        yes(_DATA),
        Cell("yes; TensorFlow must be installed", (_WITH_TENSORFLOW,)),
        Cell("yes; TensorFlow must be installed", (_WITH_TENSORFLOW,)),
        yes(_KERAS_2),
        NONE,
    ),
    "other `tf.data` (shuffled by itself, cached)": (
        yes("../data/test_tf_data.py"),
        Cell("yes, where it is seeded; else a line says that samples of the epoch are repeated", _SEEDED),
        Cell("as on JAX", _SEEDED),
        yes(_KERAS_2),
        NONE,
    ),
    "PyTorch's `DataLoader`": (
        yes("../data/python/test_torch_loader.py"),
        REFUSED,
        yes(*_LOADERS),
        REFUSED,
        NONE,
    ),
    "Grain": (yes("../data/python/test_grain.py"), REFUSED, REFUSED, REFUSED, NONE),
    "a `train_step` of your own, gradient accumulation, moving averages, mixed precision, eager steps": (
        yes(MATRIX),
        yes("a step of one's own", *_STEPS),
        yes(
            *_STEPS,
            *("bfloat16 weights", "a step that depends on the number of rows"),
            "gradients that a step of one's own leaves for later batches",
        ),
        Cell("yes; Keras 2 has no gradient accumulation", (_KERAS_2,)),
        NONE,
    ),
    "`steps_per_execution`": (
        yes(MATRIX),
        yes("several steps at once"),
        Cell("Keras has none there"),
        Cell("yes, as a number", (_KERAS_2,)),
        NONE,
    ),
    "several optimizers in one model": (
        yes("test_optimizers.py", _DRILL),
        Cell("yes, where the model has the variables of the further ones", (_DRILL,)),
        yes("a step of one's own with two optimizers", _DRILL),
        yes(_KERAS_2, _DRILL),
        NONE,
    ),
    "modules, buffers and generators of PyTorch's in the model": (
        NONE,
        NONE,
        yes("modules, buffers and generators of PyTorch's", "a parameter that each step replaces by another"),
        NONE,
        NONE,
    ),
    "the model in several devices": (
        Cell("`MirroredStrategy`", ("../data/test_on_two_devices.py",)),
        Cell("`DataParallel`, on one machine or [several](many-machines.md)"),
        Cell("no"),
        REFUSED,
        NONE,
    ),
    "a stop while a step waits for a batch that never comes": (
        Cell("yes, with XLA or eager steps", ("fit/test_stop.py",)),
        Cell("no: the last stored checkpoint counts"),
        Cell("as on JAX"),
        Cell("as on TensorFlow"),
        NONE,
    ),
    "`holdfast run --auto`": (
        yes("../../integration/test_auto.py"),
        yes(_DRILL),
        yes(_DRILL),
        yes(_DRILL),
        REFUSED,
    ),
}


def rows(backend: str) -> set[str]:
    """Those of its matrix that are cited."""
    return {one for one in _cited(backend) if not one.endswith(".py")}


def files(backend: str) -> set[str]:
    """By their paths from tests/training/keras."""
    return {one for one in _cited(backend) if one.endswith(".py")}


def unshown(backend: str) -> list[str]:
    """What it is said to do, and nothing shows."""
    at = list(BACKENDS).index(backend)
    return [what for what, row in TABLE.items() if row[at].text.startswith("yes") and not row[at].shown_by]


def _cited(backend: str) -> set[str]:
    at = list(BACKENDS).index(backend)
    return {one for cells in TABLE.values() for one in cells[at].shown_by}


def as_markdown() -> str:
    head = [f"| what | {' | '.join(BACKENDS.values())} |", "| --- " * (len(BACKENDS) + 1) + "|"]
    return "\n".join([*head, *(f"| {what} | {' | '.join(cell.text for cell in row)} |" for what, row in TABLE.items())])
