"""What a run's newest pair holds."""

from __future__ import annotations

from holdfast.drill.compare_runs import FitState, load_fit
from holdfast.store import Store
from holdfast.store.catalog import list_pairs


def final_state(store: Store, run: str) -> FitState:
    return load_fit(store, run, list_pairs(store, run)[0])
