"""Are two trainings the same, bit for bit? Each of their fits is compared by its last state and its history."""

from __future__ import annotations

import re
import struct
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from ..core import restricted_pickle
from ..core.checkpoint_name import CheckpointName
from ..core.errors import HoldfastError
from ..spool import Spool
from ..store import Store
from ..store.catalog import list_pairs
from ..store.download import announced, bring, fetch_part, look_up

_Batches: TypeAlias = dict[tuple[int, int, int], set[str]]


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
class DataCompared:
    """What the digests of batches in two trainings' pairs prove: so many were ``compared``; ``other`` names the first
    that differs. ``exact``: all data came from ``holdfast.dataset``, or the script keeps its place by itself.
    """

    compared: int
    other: str
    exact: bool


@dataclass(frozen=True)
class Compared:
    """``histories`` names each metric whose history differs; ``fits`` and ``arrays`` count what was compared.
    ``not_kept`` are paths of callbacks' values that some checkpoint lacks.
    """

    fits: int
    arrays: int
    differences: list[Difference]
    histories: list[str]
    data: DataCompared
    not_kept: list[str]

    @property
    def same(self) -> bool:
        return not self.differences and not self.histories


def compare_runs(left: Store, right: Store, run: str) -> Compared:
    """Compares the last state of each fit of two trainings. Raises HoldfastError where there is no checkpoint."""
    (ours, our_batches, our_lost), (theirs, their_batches, their_lost) = _scan(left, run), _scan(right, run)
    found: list[Difference] = []
    histories: list[str] = []
    arrays, exact = 0, True
    numbers = sorted({*ours, *theirs})
    for number in numbers:
        prefix = f"fit {number + 1}: " if len(numbers) > 1 else ""
        if number not in ours or number not in theirs:
            found.append(Difference(f"{prefix}it is in one of the trainings only", float("nan")))
            continue
        a, b = load_fit(left, run, ours[number]), load_fit(right, run, theirs[number])
        arrays += len(a.arrays)
        exact = exact and a.own_data
        found += [Difference(prefix + one.path, one.largest) for one in differences(a, b)]
        histories += [prefix + text for text in _histories(a.history, b.history)]
    data = _compare_batches(our_batches, their_batches, exact, len(numbers) > 1)
    return Compared(len(numbers), arrays, found, histories, data, sorted(our_lost | their_lost))


def _compare_batches(left: _Batches, right: _Batches, exact: bool, name_fit: bool) -> DataCompared:
    both = sorted(set(left) & set(right))
    other = next((place for place in both if left[place] != right[place]), None)
    if other is None:
        return DataCompared(len(both), "", exact)
    fit, epoch, batch = other
    of_fit = f" of fit {fit + 1}" if name_fit else ""
    return DataCompared(len(both), f"batch {batch + 1} of epoch {epoch + 1}{of_fit}", exact)


def _scan(store: Store, run: str) -> tuple[dict[int, CheckpointName], _Batches, set[str]]:
    """The newest pair of each fit, by the fit's number (a loop of the script's own is number 0); and the digests of
    batches that all pairs hold, by fit, epoch and batch; and what one of them names as not kept.
    """
    names = list_pairs(store, run)
    if not names:
        raise HoldfastError(f"run {run} has no checkpoint in {store.uri}: does the script use holdfast.Resume?")
    found: dict[int, CheckpointName] = {}
    batches: _Batches = {}
    lost: set[str] = set()
    with tempfile.TemporaryDirectory(prefix="holdfast-") as folder:
        for name in names:
            listed = look_up(store, run, name)
            path = Path(folder, "pkl")
            fetch_part(store, run, listed, "pkl", announced(store, run, listed).files["pkl"], path)
            document = restricted_pickle.loads(path.read_bytes())
            fit = int(document.get("fit", 0))
            found.setdefault(fit, name)
            lost.update(document.get("not_kept", []))
            for epoch, batch, digest in document.get("digests", []):
                batches.setdefault((fit, epoch, batch), set()).add(digest)
    return found, batches, lost


def final_state(store: Store, run: str) -> FitState:
    """What the run's newest checkpoint holds. Raises HoldfastError where there is none."""
    return load_fit(store, run, max(_scan(store, run)[0].values(), key=lambda name: name.order))


def differences(left: FitState, right: FitState) -> list[Difference]:
    """Every variable that is not the same bit for bit, or is in one state only."""
    import numpy as np

    found = []
    ours, theirs = _unnumbered(left.arrays), _unnumbered(right.arrays)
    for path in sorted({*ours, *theirs}):
        a, b = ours.get(path), theirs.get(path)
        if a is None or b is None or a.shape != b.shape or a.dtype != b.dtype:
            found.append(Difference(path, float("nan")))
        elif a.tobytes() != b.tobytes():
            found.append(Difference(path, float(np.max(np.abs(a.astype("float64") - b.astype("float64"))))))
    return found


def _unnumbered(arrays: Mapping[str, Any]) -> Mapping[str, Any]:
    """Keras numbers its layers (``dense_3``), and a script that skips what is done makes fewer of them."""
    found = {re.sub(r"(?<=[a-z])_[0-9]+(?=[/_])", "", path): array for path, array in arrays.items()}
    return found if len(found) == len(arrays) else arrays


def load_fit(store: Store, run: str, name: CheckpointName) -> FitState:
    """A fit's state as that pair has it. Raises HoldfastError where it is damaged or gone."""
    with tempfile.TemporaryDirectory(prefix="holdfast-") as folder:
        spool = Spool(Path(folder))
        bring(store, run, look_up(store, run, name), spool)
        from ..training.pair.pair_files import load  # NumPy and h5py: only those who compare need them

        saved = load(spool.file(name.file("h5")), spool.file(name.file("pkl")))
    arrays = {f"{p.group}[{p.index}] {path}": array for p, (path, array) in saved.values.items()}
    own_data = "values" in saved.facts or saved.facts.get("data") is not None
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
