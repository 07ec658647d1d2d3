"""A training whose script writes under artifacts/ as TensorBoard and ModelCheckpoint do.

Environment: STEPS, HOLD_AT (stay at that step).
"""

import os
import time

import numpy as np

import holdfast

steps, hold_at = int(os.environ.get("STEPS", "40")), int(os.environ.get("HOLD_AT", "-1"))
artifacts = holdfast.run_dir() / "artifacts"
best, logs = artifacts / "best model ü.keras", artifacts / "logs" / "lr=0.1"
print("best so far:", best.read_text() if best.exists() else "none", flush=True)
logs.mkdir(parents=True, exist_ok=True)
weights = np.zeros(10)
with holdfast.session(every=10) as run, (logs / f"events.out.tfevents.{os.getpid()}").open("w") as events:
    if run.resume_from:
        weights[:] = run.resume_from.arrays["weights"]
    for step in range(run.step, steps):
        weights += step
        print(f"step {step}", file=events, flush=True)
        if step % 10 == 0:
            best.write_text(f"step {step}")
        if run.boundary(step + 1):
            run.commit({"weights": weights})
        while step + 1 == hold_at and not run.should_stop:
            time.sleep(0.002)
        if run.should_stop:
            run.commit({"weights": weights})
    run.commit({"weights": weights})
