"""Are two trainings' final states the same, bit for bit?"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import HoldfastError
from ..core.manifest import CheckpointName
from ..spool import Spool
from ..store import Store
from ..store.catalog import list_pairs
from ..store.download import bring, look_up


@dataclass(frozen=True)
class Difference:
    """One variable that differs; ``largest`` is the largest absolute difference, NaN where there is none."""

    path: str
    largest: float


@dataclass(frozen=True)
class Final:
    """The state that a run ended with: arrays by variable, and the history of its epochs.

    ``own_data`` says that the data came from ``holdfast.dataset``, or that the script keeps its place by itself.
    """

    name: CheckpointName
    arrays: dict[str, Any]
    history: Any
    own_data: bool


def final_state(store: Store, run: str) -> Final:
    """Reads a run's newest pair from the store, and checks it. Raises HoldfastError."""
    names = list_pairs(store, run)
    if not names:
        raise HoldfastError(f"run {run} has no checkpoint in {store.uri}: does the script use holdfast.Resume?")
    with tempfile.TemporaryDirectory(prefix="holdfast-") as folder:
        spool = Spool(Path(folder))
        bring(store, run, look_up(store, run, names[0]), spool)
        from ..training.pair.pair import load  # NumPy and h5py: only those who compare need them

        saved = load(spool.file(names[0].file("h5")), spool.file(names[0].file("pkl")))
        arrays = {f"{p.group}[{p.index}] {path}": array for p, (path, array) in saved.values.items()}
        own_data = "fit" not in saved.facts or saved.facts.get("data") is not None
        return Final(names[0], arrays, _history(saved.facts), own_data)


def differences(left: Final, right: Final) -> list[Difference]:
    """Every variable that is not the same bit for bit, or is in one state only."""
    import numpy as np

    found = []
    for path in sorted({*left.arrays, *right.arrays}):
        a, b = left.arrays.get(path), right.arrays.get(path)
        if a is None or b is None or a.shape != b.shape or a.dtype != b.dtype:
            found.append(Difference(path, float("nan")))
        elif a.tobytes() != b.tobytes():
            found.append(Difference(path, float(np.max(np.abs(a.astype("float64") - b.astype("float64"))))))
    return found


def _history(document: Any) -> Any:
    entries = document.get("callbacks", [])
    return next((entry["state"] for entry in entries if entry.get("class") == "History"), None)
