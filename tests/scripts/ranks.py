"""A training on several machines, without a framework: each step adds up what all ranks drew, as an all-reduce does.

Each rank draws from random numbers of its own, which only it knows. Environment: STEPS, PACE (seconds that a step
takes), EVERY (steps or a time between commits), FAIL_AT (rank 1 fails at that step, once, where the file FAILED does
not exist), STUCK_AT (rank 1 stays in that step).
"""

import os
import socket
import struct
import time
from pathlib import Path

import numpy as np

import holdfast

NUMBER = struct.Struct("<d")
rank, ranks = int(os.environ["JAX_PROCESS_ID"]), int(os.environ["JAX_NUM_PROCESSES"])
host, _, port = os.environ["JAX_COORDINATOR_ADDRESS"].rpartition(":")
steps, pace = int(os.environ.get("STEPS", "60")), float(os.environ.get("PACE", "0.01"))
every = os.environ.get("EVERY", "10")


def joined():
    """Rank 0 has a connection to each other rank; these have one to it."""
    if rank == 0:
        with socket.create_server((host, int(port))) as server:
            return [server.accept()[0] for _ in range(ranks - 1)]
    for _ in range(1000):
        try:
            return [socket.create_connection((host, int(port)))]
        except OSError:
            time.sleep(0.02)
    raise TimeoutError("rank 0 does not listen")


def received(peer):
    data = b""
    while len(data) < NUMBER.size:
        more = peer.recv(NUMBER.size - len(data))
        if not more:
            raise ConnectionError("a rank is gone")
        data += more
    return NUMBER.unpack(data)[0]


def all_reduce(value):
    if rank == 0:
        total = value + sum(received(peer) for peer in peers)
        for peer in peers:
            peer.sendall(NUMBER.pack(total))
        return total
    peers[0].sendall(NUMBER.pack(value))
    return received(peers[0])


np.random.seed(rank)
weights, peers = np.zeros(10), joined()
with holdfast.session(every=int(every) if every.isdigit() else every) as run:
    if run.resume_from:
        weights[:] = run.resume_from.arrays["weights"]
    print(f"rank {rank} from step {run.step}", flush=True)
    for step in range(run.step, steps):
        if rank == 1 and step == int(os.environ.get("FAIL_AT", "-1")) and not Path(os.environ["FAILED"]).exists():
            Path(os.environ["FAILED"]).touch()
            raise ValueError("rank 1 has a bad sample")
        while rank == 1 and step == int(os.environ.get("STUCK_AT", "-1")):
            time.sleep(1)
        weights = weights * 0.9 + all_reduce(np.random.rand())
        time.sleep(pace)
        if run.boundary(step + 1, epoch=(step + 1) // 20, batch=(step + 1) % 20) or step + 1 == steps:
            run.commit({"weights": weights}, {"rank": rank}, loss=float(weights.mean()))
print(f"rank {rank} done {weights.sum():.12f}", flush=True)
