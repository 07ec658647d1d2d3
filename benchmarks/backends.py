"""What holdfast costs on Keras' other backends: a checkpoint, a batch, and the start on a new machine.

    python benchmarks/backends.py [--quick]

TensorFlow has benchmarks of its own (checkpoint_cost, batch_cost, start). Each backend runs in processes of its own,
and is compared with itself: a checkpoint with its ``ModelCheckpoint``, a start with the script's cold start.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from daemons import ENVIRONMENT
from measure import Spread, Verdict, arguments, conclude, machine, table, turns
from start import Machines

HERE = Path(__file__).parent
KERAS = {
    "JAX": {"KERAS_BACKEND": "jax", "PYTHONPATH": str(Path(sys.prefix) / "jax")},
    "PyTorch": {"KERAS_BACKEND": "torch", "PYTHONPATH": str(Path(sys.prefix) / "torch")},
    "Keras 2": {"KERAS": "2", "PYTHONPATH": str(Path(sys.prefix) / "keras_2")},
}


def measured(environment: dict[str, str], quick: bool) -> tuple[dict[str, Spread], list[list[Spread]]]:
    words = [sys.executable, str(HERE / "backend_rig.py"), *(["--quick"] if quick else [])]
    done = subprocess.run(
        words, env={**os.environ, **ENVIRONMENT, **environment}, stdout=subprocess.PIPE, text=True, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    held = {kind: Spread(**spread) for kind, spread in found["held"].items()}
    return held, [[Spread(**one) for one in pair] for pair in found["batch"]]


def starts(environment: dict[str, str], folder: Path, rounds: int) -> dict[str, Spread]:
    """Seconds to the first new batch, from a directory with a pair of 100 MB."""
    os.environ |= environment
    machines, store = Machines(folder), str(folder / "store")
    machines.new(store)
    found: dict[str, list[float]] = {"cold": [], "new": []}
    for _, kind in turns(tuple(found), rounds):
        found[kind].append(machines.cold() if kind == "cold" else machines.new(store)[0])
    for name in environment:
        del os.environ[name]
    return {kind: Spread.of(times) for kind, times in found.items()}


def main() -> None:
    quick = arguments(__doc__).quick
    print(f"{machine()}.\n")
    rows, verdicts = [], []
    for name, environment in KERAS.items():
        held, (small, usual) = measured(environment, quick)
        with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as folder:
            start = starts(environment, Path(folder), 2 if quick else 7)
        ours, keras = held["holdfast"], held["ModelCheckpoint"]
        base, cost = usual
        share, ratio = cost.median / base.median, start["new"].median / start["cold"].median
        rows.append(
            (
                name,
                ours.text(1e3),
                keras.text(1e3),
                small[1].text(1e6),
                f"{share:.2%} of {base.median * 1e3:.1f} ms",
                start["new"].text(digits=2),
                start["cold"].text(digits=2),
            )
        )
        part, batch = ours.median / keras.median, small[1].median
        verdicts += [
            Verdict(f"{name}: held by a checkpoint of 100 MB", "1/4 of ModelCheckpoint", f"{part:.2f}", part <= 0.25),
            Verdict(f"{name}: a batch when nothing is saved", "30 µs", f"{batch * 1e6:.1f} µs", batch < 30e-6),
            Verdict(f"{name}: its share of a step", "1 %", f"{share:.2%}", share < 0.01),
            Verdict(f"{name}: start on a new machine", "1.15 x the cold start", f"{ratio:.2f}", ratio <= 1.15),
        ]
    head = ("Keras on", "held, ms", "ModelCheckpoint, ms", "a batch, µs", "its share", "start, s", "cold start, s")
    table(head, rows)
    conclude(*verdicts)


if __name__ == "__main__":
    main()
