"""A training without a framework that once, at step EAT_AT, takes memory until it is killed.

It has eaten when the file EATEN exists. MOST bytes are as far as it goes: a limit that nobody keeps must not end the
machine.
"""

import os
from pathlib import Path

import holdfast

most, eaten = int(os.environ["MOST"]), Path(os.environ["EATEN"])
with holdfast.session(every=10) as run:
    print(f"from step {run.step}", flush=True)
    for step in range(run.step, 30):
        if step == int(os.environ["EAT_AT"]) and not eaten.exists():
            while run.busy:
                pass
            eaten.touch()
            held = [bytearray(b"x" * (1 << 20)) for _ in range(most >> 20)]
            raise SystemExit(f"{len(held)} MiB, and nobody minds")
        if run.boundary(step + 1):
            run.commit({"w": [float(step)]})
    run.commit({"w": [0.0]})
