"""Ranks as a test plays them: a connection to a real hub, and what it says."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable
from typing import TypeVar

from holdfast.core import wire
from holdfast.core.gang import messages as says
from holdfast.core.machine.events import Event
from holdfast.spool import Spool
from holdfast.supervisor.gang.hub import Hub
from holdfast.supervisor.gang.link import Link
from holdfast.supervisor.gang.standing import Stand
from holdfast.supervisor.gang.welcoming import proof

PATIENCE = 20.0
T = TypeVar("T")


class PlayedMember:
    """One rank's supervisor. What the hub says to it, but for signs of life, is taken one by one."""

    def __init__(self, hub: Hub, rank: int, key: str = "") -> None:
        self.passed = 0
        port = hub.announcement["port"]
        self.link = Link(socket.create_connection(("127.0.0.1", port), PATIENCE))
        challenge = self.link.receive()
        assert isinstance(challenge, says.Challenge)
        mine = proof(key or hub.key, "member", challenge.nonce, rank, "nonce")
        self.link.send(says.Join(mine, "nonce", rank, f"host-{rank}"))
        self.link.beat(lambda: says.Beat(self.passed))
        self._heard: queue.SimpleQueue[says.LinkMessage | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def answer(self) -> says.LinkMessage | None:
        return self._heard.get(timeout=PATIENCE)

    def next(self, kind: type[T]) -> T:
        message = self.answer()
        assert isinstance(message, kind), message
        return message

    def is_hung_up_on(self) -> bool:
        return self.answer() is None

    def says(self, message: says.LinkMessage) -> None:
        assert self.link.send(message)

    def _read(self) -> None:
        while (message := self.link.receive()) is not None:
            if not isinstance(message, says.Beat):
                self._heard.put(message)
        self._heard.put(None)


class PlayedGang:
    """A hub of so many ranks, with all that it reports: events for the loop, and messages for rank 0's own process."""

    def __init__(self, ranks: int, spool: Spool, stall_timeout: float = 0.0, lag: float = 300.0) -> None:
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.to_process: queue.SimpleQueue[wire.Message] = queue.SimpleQueue()
        self.told: list[str] = []
        self.run = spool.run
        self.stand = Stand(spool)
        self.hub = Hub(ranks, True, stall_timeout, self._say, self.events.put, self._send, lag)
        self.ranks = ranks
        self.members: list[PlayedMember] = []

    def _say(self, kind: str, text: str = "", **facts: object) -> None:
        self.told.append(f"{kind} {text}")

    def _send(self, message: wire.Message) -> bool:
        self.to_process.put(message)
        return True

    def event(self) -> Event:
        return self.events.get(timeout=PATIENCE)

    def message(self) -> wire.Message:
        return self.to_process.get(timeout=PATIENCE)

    def order(self, number: int) -> says.Prepare:
        return says.Prepare(number, self.run, 1, None, "epoch", False)

    def gathers(self, wait: float = PATIENCE, cancelled: threading.Event | None = None) -> None:
        self.hub.gather(self.order, cancelled or threading.Event(), wait, self.stand)

    def begins(self) -> None:
        """All ranks join, get ready and start their commands."""
        joined = [PlayedMember(self.hub, rank) for rank in range(1, self.ranks)]
        for member in joined:
            member.next(says.Joined)
        self.members = joined
        self.begins_again()

    def begins_again(self) -> None:
        thread = threading.Thread(target=self.gathers)
        thread.start()
        for member in self.members:
            member.says(says.ReadyToStart(member.next(says.Prepare).round, 4711))
        thread.join(PATIENCE)
        assert not thread.is_alive()
        self.hub.begins()
        self.rounds = [member.next(says.Go).round for member in self.members]

    def ends(self, rank: int, code: int = 0, how: str = "") -> None:
        self.members[rank - 1].says(says.CommandEnded(self.rounds[rank - 1], code, how, {}))

    def close(self) -> None:
        self.hub.close()
        for member in self.members:
            member.link.close()


def in_thread(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def wait_until(condition: Callable[[], bool]) -> None:
    pause, left = threading.Event(), PATIENCE
    while not condition():
        left -= 0.01
        assert left > 0
        pause.wait(0.01)
