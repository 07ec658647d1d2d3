"""What a checkpoint costs a training: how long it holds the training thread, and what it adds to the wall time.

    python benchmarks/checkpoint_cost.py [--quick]

One model is trained again and again in one process, with each callback in turn. Held is the hook at the epoch's end,
and all that the gap between the two epochs and the next two steps take beyond two usual steps of the same ``fit``, and
beyond the median of just that without a callback. Added is the wall time from the last step before the first checkpoint
to a step by which all is written, beyond the same time without a callback, divided by the checkpoints: work that goes
on behind the training counts too.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from keras_rig import Rig, Times, checkpointing, with_rivals
from measure import Spread, Verdict, arguments, conclude, differences, machine, table, turns

NONE, OURS, FSYNC, KERAS = "none", "holdfast", "holdfast, fsync", "ModelCheckpoint"
PLAIN = (NONE, OURS, KERAS)
RIVALS = ("BackupAndRestore", "OrbaxCheckpoint")


@dataclass
class Found:
    """Seconds: ``held`` and ``hook`` of each checkpoint, ``wall`` and ``cpu`` a checkpoint, of each ``fit``."""

    held: list[float] = field(default_factory=list)
    hook: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    unfinished: int = 0

    def learn(self, times: Times, steps: int, epochs: int) -> None:
        ends = [steps * epoch for epoch in range(1, epochs)]  # the first step of each epoch but the first
        usual = Spread.of([ended - began for began, ended in times.steps[2:]]).median
        self.held += [times.steps[first + 1][1] - times.steps[first - 1][1] - 2 * usual for first in ends]
        self.hook += times.hooks[: len(ends)]
        self.wall.append((times.steps[-1][1] - times.steps[steps - 1][1]) / len(ends))
        self.cpu.append(times.cpu / epochs)  # the last epoch's checkpoint, too
        self.unfinished += not times.whole


def measure(rig: Rig, rounds: int, epochs: int, every: int, folder: Path) -> dict[str, Found]:
    """``every`` so many rounds the callbacks besides PLAIN take part."""
    found: dict[str, Found] = defaultdict(Found)
    kinds = (*PLAIN, FSYNC, *RIVALS)
    for turn, kind in turns(kinds, rounds + 1):
        if kind in PLAIN or turn % every == 0:
            with checkpointing(kind, folder) as (callbacks, written):
                times = rig.fit(callbacks, epochs, lambda written=written: written(epochs - 1))
            if turn:
                found[kind].learn(times, rig.steps, epochs)
    return found


def report(size: int, found: dict[str, Found], every: int, adds: bool) -> None:
    base = found[NONE]
    rows = []
    held, added, hooks, cpu = {}, {}, {}, {}
    for kind, one in found.items():
        if kind == NONE:
            continue
        rounds = slice(None) if kind in PLAIN else slice(every - 1, None, every)
        held[kind] = Spread.of([value - Spread.of(base.held).median for value in one.held])
        added[kind] = Spread.of(differences(one.wall, base.wall[rounds]))
        hooks[kind] = Spread.of([value - Spread.of(base.hook).median for value in one.hook])
        cpu[kind] = Spread.of(differences(one.cpu, base.cpu[rounds]))
        texts = (spread[kind].text(1e3) for spread in (hooks, held, added, cpu))
        rows.append((kind, *texts, str(len(one.wall)), str(one.unfinished) if "holdfast" in kind else ""))
    noise = Spread.of(differences(base.wall[1:], base.wall[:-1]))
    print(f"A state of {size / 1e6:.0f} MB. Milliseconds a checkpoint: median (middle half).\n")
    table(("callback", "the hook", "held", "wall time added", "CPU time added", "pairs", "not written in time"), rows)
    print(f"No callback against itself, one round and the next: {noise.text(1e3)} ms added.\n")
    best = min((kind for kind in held if "holdfast" not in kind), key=lambda kind: held[kind].median)
    ours = held[OURS].median / held[best].median
    hook = hooks[OURS].median / held[best].median
    what = f"{size / 1e6:.0f} MB"
    conclude(
        Verdict(f"training thread held, {what}", f"1/5 of {best}", f"{ours:.2f} of it", ours <= 0.2),
        Verdict(f"the hook alone, {what}", f"1/20 of {best}", f"{hook:.3f} of it", hook <= 0.05),
    )
    if adds:
        ratio = added[OURS].median / added[KERAS].median
        within = added[OURS].median <= max(noise.high, 0)
        text = f"{added[OURS].text(1e3)} ms, {ratio:.2f} of it" + (", within the noise" if within else "")
        conclude(
            Verdict(f"wall time added, {what}", "0.7 of ModelCheckpoint, or noise", text, ratio <= 0.7 or within),
        )


def main() -> None:
    given = arguments(__doc__, only=0)
    with_rivals()
    print(f"{machine()}.\n")
    #       megabytes: batch, steps, epochs, rounds, every
    plans = {100: (64, 60, 3, 30, 3), 1000: (32, 10, 2, 5, 1)}
    if given.quick:
        plans = {100: (64, 40, 3, 4, 2)}
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as folder:
        for megabytes, (batch, steps, epochs, rounds, every) in plans.items():
            if given.only in (0, megabytes):
                rig = Rig(megabytes, batch, steps)
                found = measure(rig, rounds, epochs, every, Path(folder))
                report(rig.size, found, every, adds=megabytes == 100)


if __name__ == "__main__":
    main()
