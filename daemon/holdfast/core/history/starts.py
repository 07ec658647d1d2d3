"""The starts of a run, put together from the files of events that they and their followers stored."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from types import MappingProxyType

from ..errors import Exit
from .event import Event
from .heartbeats import Heartbeats, of_events
from .pieces import pieces

_MOST_RANKS, _MOST_NAME = 100_000, 200
STOPPED = (int(Exit.STOPPED), int(Exit.UNSTORED))
_CODES = {"complete": int(Exit.COMPLETE), "stopped": int(Exit.STOPPED), "failed": int(Exit.FAILED)}


@dataclass(frozen=True)
class Start:
    """One start of ``holdfast run``, its events in order. ``incarnation`` is None if it never had the lease."""

    incarnation: int | None
    events: tuple[Event, ...]

    @property
    def began(self) -> float:
        return self.events[0].at

    @property
    def ended(self) -> float:
        """That of its last event or heartbeat: of one that was killed nothing later is known."""
        return max(self.began, self.events[-1].at)

    @property
    def exit_code(self) -> int | None:
        """None if it ended without a word. The exit itself comes too late to be stored: ``closing`` has what it was."""
        exit_, closing = self.last("exit"), self.last("closing")
        if exit_ is not None:
            return exit_.count("code")
        return None if closing is None else _CODES.get(closing.text("outcome"))

    @property
    def interrupted(self) -> bool:
        """It was stopped, or ended without a word; whether it still works cannot be told by its events."""
        return self.exit_code is None or self.exit_code in STOPPED

    @property
    def ranks(self) -> int:
        """How many machines trained together. Its own events are those of rank 0."""
        machine = self.last("machine")
        return min(_MOST_RANKS, max(1, (machine.count("ranks") if machine else None) or 1))

    @property
    def machine_seconds(self) -> float:
        """Of all its ranks: of one besides rank 0 what it was seen by rank 0, from when it joined until it was lost."""
        seconds, joined = self.ended - self.began, dict[int, float]()
        for event in self.events:
            rank = event.count("rank") if event.kind in ("gang-joined", "gang-lost") else None
            if rank is not None and (since := joined.pop(rank, None)) is not None:
                seconds += event.at - since
            if rank is not None and event.kind == "gang-joined":
                joined[rank] = event.at
        return seconds + sum(self.ended - since for since in joined.values())

    @property
    def machines(self) -> set[tuple[str, str]]:
        """Names of hosts, and the ids of disks where they are known: those of the ranks that joined, too."""
        own = self.last("machine")
        found = {(own.text("host")[:_MOST_NAME], own.text("disk")[:_MOST_NAME])} if own else set()
        joined = [event for event in self.events if event.kind == "gang-joined"]
        return {(host, disk) for host, disk in found if host} | {
            (event.text("host")[:_MOST_NAME], f"rank {event.count('rank')}") for event in joined if event.text("host")
        }

    def last(self, kind: str) -> Event | None:
        return next((event for event in reversed(self.events) if event.kind == kind), None)


def split(files: Iterable[bytes], heartbeats: Heartbeats = MappingProxyType({})) -> tuple[list[Start], int]:
    """The starts that the files tell of, in order, and how many lines are no events. ``heartbeats`` are known from
    elsewhere than from these files.

    What a killed start had not stored may stand in the file of the next one on its machine, and again what it had: an
    event belongs to the incarnation whose lease it follows, in whichever file, and counts once.
    """
    seen: set[bytes] = set()
    of_incarnation: dict[int, list[Event]] = {}
    starts: list[list[Event]] = []
    unread = 0
    for data in files:
        for piece in pieces(data.splitlines()):
            new = [one for one in piece.lines if one.line.strip() and one.line not in seen]
            seen.update(one.line for one in new)
            unread += sum(one.event is None for one in new)
            events = [one.event for one in new if one.event is not None]
            known = None if piece.incarnation is None else of_incarnation.get(piece.incarnation)
            if known is not None:
                known += events
            elif events:
                starts.append(events)
                if piece.incarnation is not None:
                    of_incarnation[piece.incarnation] = events
    beats = {**of_events(event for events in starts for event in events), **heartbeats}
    found = [_start(events, beats) for events in starts]
    return sorted(found, key=lambda start: (start.began, start.incarnation or 0)), unread


def _start(events: list[Event], heartbeats: Heartbeats) -> Start:
    lease = next((event for event in events if event.kind == "lease"), None)
    start = Start(None if lease is None else lease.count("incarnation"), tuple(events))
    beat = heartbeats.get(start.incarnation or 0)
    if beat is None or start.exit_code is not None:
        return start
    return replace(start, events=(*start.events, replace(beat, at=max(beat.at, start.ended))))
