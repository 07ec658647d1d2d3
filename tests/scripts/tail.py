"""A training of three batches, and what a script does afterwards. Arguments: directory, and how that ends."""

import os
import signal
import sys

import numpy as np

import holdfast

with holdfast.session(directory=sys.argv[1]) as run:
    for step in range(run.step, 3):
        print("batch", step, flush=True)
        run.boundary(step + 1)
    run.commit({"a": np.zeros(3)})
print("tail", flush=True)
match sys.argv[2]:
    case "raises":
        raise ZeroDivisionError
    case "is killed":
        os.kill(os.getpid(), signal.SIGTERM)
    case "ends":
        sys.exit()
