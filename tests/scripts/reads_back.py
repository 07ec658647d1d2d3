"""A training that reads back what it wrote, at its end.

Environment: STEPS, PACE (seconds that a step takes), WHERE (``here``: the working folder; ``artifacts``; ``maybe``: the
working folder, and does without), FOLDER (a path below that).
"""

import os
import time
from pathlib import Path

import numpy as np

import holdfast

steps, where = int(os.environ.get("STEPS", "100")), os.environ.get("WHERE", "here")
folder = holdfast.run_dir() / "artifacts" if where == "artifacts" else Path(os.environ.get("FOLDER", "."))
folder.mkdir(parents=True, exist_ok=True)
first = folder / "first_loss.txt"
weights = np.zeros(3)
with holdfast.session(every=10) as run:
    if run.resume_from:
        weights[:] = run.resume_from.arrays["weights"]
    for step in range(run.step, steps):
        weights += step
        if step == 0:
            first.write_text("17\n")
        time.sleep(float(os.environ.get("PACE", "0.01")))
        if run.boundary(step + 1):
            run.commit({"weights": weights})
    if where != "maybe" or first.exists():
        weights += int(first.read_text())
    run.commit({"weights": weights})
