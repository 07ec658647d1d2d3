"""Are two trainings the same, bit for bit? Each of their fits is compared by its last state and its history."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core import codec
from ..core.errors import HoldfastError
from ..core.manifest import CheckpointName
from ..spool import Spool
from ..store import Store
from ..store.catalog import list_pairs
from ..store.download import announced, bring, fetch_part, look_up


@dataclass(frozen=True)
class Difference:
    """One variable that differs; ``largest`` is the largest absolute difference, NaN where there is none."""

    path: str
    largest: float


@dataclass(frozen=True)
class FitState:
    """What a fit ended with: arrays by variable, and what its epochs' history says of each metric.

    ``own_data`` says that the data came from ``holdfast.dataset``, or that the script keeps its place by itself.
    """

    arrays: Mapping[str, Any]
    history: Mapping[str, list[Any]]
    own_data: bool


@dataclass(frozen=True)
class Compared:
    """``histories`` names each metric whose history differs; ``fits`` and ``arrays`` count what was compared."""

    fits: int
    arrays: int
    differences: list[Difference]
    histories: list[str]
    own_data: bool

    @property
    def same(self) -> bool:
        return not self.differences and not self.histories


def compare_runs(left: Store, right: Store, run: str) -> Compared:
    """Compares the last state of each fit of two trainings. Raises HoldfastError where there is no checkpoint."""
    ours, theirs = last_pairs(left, run), last_pairs(right, run)
    found: list[Difference] = []
    histories: list[str] = []
    arrays, own_data = 0, True
    numbers = sorted({*ours, *theirs})
    for number in numbers:
        prefix = f"fit {number + 1}: " if len(numbers) > 1 else ""
        if number not in ours or number not in theirs:
            found.append(Difference(f"{prefix}it is in one of the trainings only", float("nan")))
            continue
        a, b = load_fit(left, run, ours[number]), load_fit(right, run, theirs[number])
        arrays += len(a.arrays)
        own_data = own_data and a.own_data
        found += [Difference(prefix + one.path, one.largest) for one in differences(a, b)]
        histories += [prefix + text for text in _histories(a.history, b.history)]
    return Compared(len(numbers), arrays, found, histories, own_data)


def last_pairs(store: Store, run: str) -> dict[int, CheckpointName]:
    """The newest pair of each fit, by the fit's number; a loop of the script's own is number 0."""
    names = list_pairs(store, run)
    if not names:
        raise HoldfastError(f"run {run} has no checkpoint in {store.uri}: does the script use holdfast.Resume?")
    found: dict[int, CheckpointName] = {}
    with tempfile.TemporaryDirectory(prefix="holdfast-") as folder:
        for name in names:
            listed = look_up(store, run, name)
            path = Path(folder, "pkl")
            fetch_part(store, run, listed, "pkl", announced(store, run, listed).files["pkl"], path)
            found.setdefault(int(codec.loads(path.read_bytes()).get("fit", 0)), name)
    return found


def final_state(store: Store, run: str) -> FitState:
    """What the run's newest checkpoint holds. Raises HoldfastError where there is none."""
    return load_fit(store, run, max(last_pairs(store, run).values(), key=lambda name: name.order))


def differences(left: FitState, right: FitState) -> list[Difference]:
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


def load_fit(store: Store, run: str, name: CheckpointName) -> FitState:
    """A fit's state as that pair has it. Raises HoldfastError where it is damaged or gone."""
    with tempfile.TemporaryDirectory(prefix="holdfast-") as folder:
        spool = Spool(Path(folder))
        bring(store, run, look_up(store, run, name), spool)
        from ..training.pair.pair import load  # NumPy and h5py: only those who compare need them

        saved = load(spool.file(name.file("h5")), spool.file(name.file("pkl")))
    arrays = {f"{p.group}[{p.index}] {path}": array for p, (path, array) in saved.values.items()}
    own_data = "fit" not in saved.facts or saved.facts.get("data") is not None
    return FitState(arrays, _history(saved.facts), own_data)


def _history(document: Any) -> dict[str, list[Any]]:
    entries = document.get("callbacks", [])
    state = next((entry["state"] for entry in entries if entry.get("class") == "History"), None) or {}
    return {"epochs": state.get("epoch", []), **state.get("history", {})}


def _histories(left: Mapping[str, list[Any]], right: Mapping[str, list[Any]]) -> Iterator[str]:
    for name in sorted({*left, *right}):
        if _bits(left.get(name)) != _bits(right.get(name)):
            yield f"history of {name}"


def _bits(value: Any) -> Any:
    """Equal for what is equal bit for bit: a NaN equals itself."""
    match value:
        case float():
            return struct.pack("<d", value)
        case list() | tuple():
            return [_bits(one) for one in value]
        case dict():
            return {key: _bits(one) for key, one in value.items()}
    return value
