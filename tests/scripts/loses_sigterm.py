"""A loop whose SIGTERM is taken below Python, as by a runtime that joins a cluster. Argument: directory."""

import ctypes
import os
import signal
import sys

import numpy as np

import holdfast

with holdfast.session(directory=sys.argv[1]) as run:
    ctypes.CDLL(None).signal(int(signal.SIGTERM), ctypes.c_void_p(1))  # 1 is SIG_IGN
    for step in range(run.step, 10):
        if step == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        if run.boundary(step + 1) or step == 9:
            run.commit({"weights": np.zeros(3)})
print("trained to the end")
