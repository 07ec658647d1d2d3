"""A training without a framework: each step depends on all that came before, and on random numbers.

Environment: STEPS, HOLD_AT (stay at that step), PACE (seconds that a step takes), CRASH_AT (once, where the file
CRASHED does not exist), EVERY (steps between commits), IGNORE_RESUME (start over each time), UNSEEDED (other numbers
each time), LOG (one line a step), SIZE (numbers in the state), DIES_FROM (cannot live with the state of that step).
"""

import os
import sys
import time
from pathlib import Path

import numpy as np

import holdfast

steps, size = int(os.environ.get("STEPS", "60")), int(os.environ.get("SIZE", "100"))
hold_at, crash_at = int(os.environ.get("HOLD_AT", "-1")), int(os.environ.get("CRASH_AT", "-1"))
pace = float(os.environ.get("PACE", "0"))

np.random.seed(None if "UNSEEDED" in os.environ else 7)
weights = np.zeros(size)
with holdfast.session(every=int(os.environ.get("EVERY", "10"))) as run:
    if run.resume_from and "IGNORE_RESUME" not in os.environ:
        weights[:] = run.resume_from.arrays["weights"]
    print(f"from step {run.step}", flush=True)
    if run.step == int(os.environ.get("DIES_FROM", "-1")):
        os._exit(9)
    for step in range(0 if "IGNORE_RESUME" in os.environ else run.step, steps):
        weights = weights * 0.9 + np.random.rand(size)
        if "LOG" in os.environ:
            with Path(os.environ["LOG"]).open("a") as log:
                print(step, file=log)
        if step == crash_at and not Path(os.environ["CRASHED"]).exists():
            Path(os.environ["CRASHED"]).touch()
            print("about to fail", file=sys.stderr)
            os._exit(3)
        time.sleep(pace)
        at = {"epoch": (step + 1) // 20, "batch": (step + 1) % 20}
        if run.boundary(step + 1, **at):
            run.commit({"weights": weights}, {"note": "plain"}, loss=float(weights.mean()))
        while step + 1 == hold_at:
            time.sleep(0.002)
            if run.boundary(step + 1, **at):
                run.commit({"weights": weights}, {"note": "plain"}, loss=float(weights.mean()))
    run.commit({"weights": weights}, loss=float(weights.mean()))
print(f"done {weights.sum():.12f}")
