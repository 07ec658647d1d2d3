"""A training that stays at step 25 for a while, the first time that it comes there (the file ONCE does not exist).

Environment: HOW it spends the time: in a ``lock`` for ever, or for SECONDS by ``compute`` or ``read`` (of the file
DATA); STEPS, ONCE.
"""

import os
import threading
import time
from pathlib import Path

import numpy as np

import holdfast

steps, once = int(os.environ.get("STEPS", "40")), Path(os.environ["ONCE"])
seconds = float(os.environ.get("SECONDS", "0"))


def wait_for_nobody() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def compute_without_batches() -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        sum(range(10_000))


def read_slowly() -> None:
    until = time.monotonic() + seconds
    with open(os.environ["DATA"], "rb") as data:
        while time.monotonic() < until:
            data.seek(0)
            data.read(100_000)
            time.sleep(0.1)


spend = {"lock": wait_for_nobody, "compute": compute_without_batches, "read": read_slowly}[os.environ["HOW"]]
with holdfast.session(every=10) as run:
    for step in range(run.step, steps):
        if step == 25 and not once.exists():
            once.touch()
            print("staying", flush=True)
            spend()
            print("gone on", flush=True)
        if run.boundary(step + 1):
            run.commit({"weights": np.full(10, float(step))}, loss=1.0)
    run.commit({"weights": np.full(10, float(steps))}, loss=1.0)
print("done")
