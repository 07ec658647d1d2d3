"""What ``holdfast.Resume`` costs a batch when nothing is saved.

    python benchmarks/batch_cost.py [--quick]

The same epochs with and without the callback, in turn: of a model whose steps take as little as a step can, for the
microseconds, and of one whose steps take some milliseconds, for the share.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from keras_rig import Rig, checkpointing
from measure import Spread, Verdict, arguments, conclude, differences, machine, table, turns


def measure(rig: Rig, rounds: int, folder: Path) -> dict[str, list[float]]:
    """Median seconds from one step's beginning to the next one's, for each round."""
    found: dict[str, list[float]] = {"none": [], "holdfast": []}
    for turn, kind in turns(tuple(found), rounds + 1):
        with checkpointing(kind, folder) as (callbacks, _):
            times = rig.fit(callbacks, 1)
        begins = [began for began, _ in times.steps]
        if turn:
            found[kind].append(Spread.of(differences(begins[2:], begins[1:-1])).median)
    return found


def main() -> None:
    given = arguments(__doc__)
    print(f"{machine()}.\n")
    rows, plans = [], {"smallest": (1, 1, 2000, 21), "some milliseconds": (10, 256, 50, 101)}
    verdicts = []
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as folder:
        for name, (megabytes, batch, steps, pairs) in plans.items():
            found = measure(Rig(megabytes, batch, steps), 4 if given.quick else pairs, Path(folder))
            base, cost = Spread.of(found["none"]), Spread.of(differences(found["holdfast"], found["none"]))
            share = cost.median / base.median
            rows.append((name, base.text(1e6), cost.text(1e6), f"{share:.2%}", str(cost.count)))
            small = name == "smallest"
            what, target = f"cost a batch when nothing is saved, {name} step", "20 µs" if small else "0.5 %"
            measured = f"{cost.median * 1e6:.1f} µs" if small else f"{share:.2%} of {base.median * 1e3:.1f} ms"
            verdicts.append(Verdict(what, target, measured, cost.median < 20e-6 if small else share < 0.005))
    table(("step", "a batch without it, µs", "added, µs", "share", "pairs"), rows)
    conclude(*verdicts)


if __name__ == "__main__":
    main()
