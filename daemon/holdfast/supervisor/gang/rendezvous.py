"""What a framework needs to join its cluster, where nothing but holdfast told the machines of each other."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from typing import NamedTuple

VARIABLES = (
    "KERAS_DISTRIBUTION_JOB_ADDRESSES",
    "KERAS_DISTRIBUTION_NUM_PROCESSES",
    "KERAS_DISTRIBUTION_PROCESS_ID",
    "JAX_COORDINATOR_ADDRESS",
    "JAX_NUM_PROCESSES",
    "JAX_PROCESS_ID",
    "TF_CONFIG",
)


class Reach(NamedTuple):
    """Where a rank can be reached by the others, for the length of one start of the command."""

    address: str
    port: int

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


def free_port() -> int:
    """One that nothing listens on now. It is another one for each start: the last one may still be in use."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


class KeptPort:
    """A free one that stays this process's until ``give``: until all ranks are ready, others would take it."""

    def __init__(self) -> None:
        self._holder = socket.socket()
        self._holder.bind(("", 0))
        self.number = int(self._holder.getsockname()[1])

    def give(self) -> None:
        self._holder.close()


def environment(rank: int, places: Sequence[Reach]) -> dict[str, str]:
    """The variables of Keras, JAX and TensorFlow for that rank. The first of the ``places`` coordinates."""
    count, first = str(len(places)), str(places[0])
    cluster = {"cluster": {"worker": [str(place) for place in places]}, "task": {"type": "worker", "index": rank}}
    values = (first, count, str(rank), first, count, str(rank), json.dumps(cluster))
    return dict(zip(VARIABLES, values, strict=True))
