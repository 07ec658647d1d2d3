"""The training that benchmarks/faults.py disturbs: each step depends on all that came before, and on random numbers.

It keeps a ledger of what it commits, for whoever checks later what the store has. Environment: LEDGER (a file that all
starts of a run append to), FINISH (a file that ends the training), SIZE (numbers in the state), EVERY (seconds between
commits), PACE (seconds to sleep in a step), STEPS (an end, whatever FINISH says), WORK (side of the matrix that a step
multiplies) and TIMES (a file for the seconds of each step,without the time between two starts).
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from array import array
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np

SEED = 7


def first_state(size: int) -> np.ndarray:
    np.random.seed(SEED)
    return np.zeros(size)


def next_state(state: np.ndarray) -> np.ndarray:
    return state * 0.9 + np.random.rand(state.size)


def digest(state: np.ndarray) -> str:
    return hashlib.sha256(state.tobytes()).hexdigest()


class Ledger:
    """Lines of JSON, each written at once, so that a kill leaves whole ones."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self._seen: set[str] = set()

    def write(self, **facts: object) -> None:
        self._file.write(json.dumps(facts).encode() + b"\n")

    def look(self, folder: Path) -> None:
        """Writes down the size and SHA-256 of the files of pairs that have appeared in the run's folder."""
        for manifest in folder.glob("model-*.json"):
            if manifest.stem not in self._seen:
                self._seen.add(manifest.stem)
                files = {}
                for part in ("h5", "pkl"):
                    try:
                        data = manifest.with_suffix(f".{part}").read_bytes()
                    except FileNotFoundError:
                        continue  # stored already, and tidied away
                    files[part] = [len(data), hashlib.sha256(data).hexdigest()]
                self.write(pair=manifest.stem, files=files)


def _steps(first: int, last: int, finish: Path) -> Iterator[int]:
    step = first
    while step < last and not finish.exists():
        yield step
        step += 1


def main() -> None:
    import holdfast

    ledger, size = Ledger(Path(os.environ["LEDGER"])), int(os.environ.get("SIZE", "100"))
    pace, work = float(os.environ.get("PACE", "0")), int(os.environ.get("WORK", "0"))
    finish, last = Path(os.environ["FINISH"]), int(os.environ.get("STEPS", str(10**9)))
    load, times = np.random.default_rng(0).random((work, work)), array("d")
    state = first_state(size)
    with holdfast.session(every=timedelta(seconds=float(os.environ.get("EVERY", "1")))) as run:
        if run.resume_from:
            state = run.resume_from.arrays["state"]
        ledger.write(begins=run.step, state=digest(state))
        loss: float | None = None
        began, owed = time.perf_counter(), False
        for step in _steps(run.step, last, finish):
            for _ in range(3 if work else 0):
                load @ load
            state = next_state(state)
            time.sleep(pace)
            loss = float(state.mean())
            if run.boundary(step + 1):
                ledger.write(step=step + 1, state=digest(state))
                run.commit({"state": state}, loss=loss)
                owed = True
            elif owed and not run.busy:
                ledger.look(run.run_dir)
                owed = False
            now = time.perf_counter()
            times.append(now - began)
            began = now
        run.commit({"state": state}, loss=loss)
    ledger.look(run.run_dir)
    ledger.write(finished=run.step, state=digest(state))
    if "TIMES" in os.environ:
        Path(os.environ["TIMES"]).write_bytes(times.tobytes())


if __name__ == "__main__":
    main()
