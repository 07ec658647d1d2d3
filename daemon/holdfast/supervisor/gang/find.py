"""How a member finds rank 0: the run's lease says where its supervisor listens."""

from __future__ import annotations

import contextlib
import secrets
import socket
from typing import Any, NamedTuple

from ...core.errors import NotFound
from ...core.gang.messages import Challenge, Join, Joined, NotJoined
from ...core.runs import LEASE_FILE, RunId
from ...store import Store
from ...store.catalog import is_complete, list_runs, newest_called
from ..restore.lease_record import read_lease
from .link import Link
from .welcoming import proof, proves

_CONNECT_SECONDS = 2.0
_MOST_ADDRESSES = 8


class FoundGang(NamedTuple):
    """The gang that has the run. ``why``: why there is none to join, for people; ``complete``: nor will there be."""

    run: RunId | None = None
    gang: dict[str, Any] | None = None
    why: str = ""
    complete: bool = False


def find(store: Store, name: str) -> FoundGang:
    """Reads the store once. Raises StoreError."""
    run = newest_called(list_runs(store), name)
    if run is None:
        return FoundGang(why=f"rank 0 has not begun a run {name} yet")
    with contextlib.suppress(NotFound):
        record, _ = read_lease(store, f"{run}/{LEASE_FILE}")
        if record is not None and record.state == "held":
            if isinstance(record.gang, dict):
                return FoundGang(run, record.gang)
            return FoundGang(run, why=f"{record} trains it alone")
    if is_complete(store, run):  # one that is extended has a holder
        return FoundGang(run, complete=True)
    return FoundGang(run, why="rank 0 does not have the run's lease yet")


def join(gang: dict[str, Any], rank: int) -> tuple[Link, Joined] | str:
    """The connection, or why there is none."""
    addresses, port, key = gang.get("addresses"), gang.get("port"), gang.get("key")
    if not (isinstance(addresses, list) and isinstance(port, int) and 0 < port < 1 << 16 and isinstance(key, str)):
        return "the lease does not say where rank 0 listens"
    why = "rank 0 has no address"
    for address in addresses[:_MOST_ADDRESSES]:
        answer = _try(str(address), port, key, rank)
        if not isinstance(answer, str):
            return answer
        why = answer
    return why


def _try(address: str, port: int, key: str, rank: int) -> tuple[Link, Joined] | str:
    try:
        link = Link(socket.create_connection((address, port), _CONNECT_SECONDS))
    except OSError as error:
        return f"rank 0 does not answer at {address}:{port} ({error.strerror or error})"
    challenge, nonce = link.receive(), secrets.token_hex(16)
    if isinstance(challenge, Challenge):
        mine = proof(key, "member", challenge.nonce, rank, nonce)
        link.send(Join(mine, nonce, rank, socket.gethostname()))
    answer = link.receive()
    if isinstance(answer, Joined) and proves(key, answer.proof, "rank 0", nonce):
        return link, answer
    link.close()
    return answer.why if isinstance(answer, NotJoined) else f"what answers at {address}:{port} is not rank 0"
