"""The document of a report: what ``--json`` prints, and what the page is drawn from. Times are seconds since 1970."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from ...core.errors import EXIT_MEANINGS, Exit
from ...core.history.event import Event
from ...core.history.spans import Span
from ...core.history.starts import STOPPED, Start
from ...core.history.times import counted, gaps, lanes, overall_goodput, runtime_goodput, seconds_of
from ...core.history.work import Life, lives, totals
from ...core.view import Course
from .checkpoints import checkpoints
from .cost import Prices, cost
from .curves import series, thinned
from .read import Records
from .verdict import sentence

FORMAT = 1
_SILENT = 180.0
_LEAST_PRODUCTIVE = 1.0
_LONGEST = 100 * 365 * 86_400.0
"""Seconds, as the two above. A script that trains until a callback ends it asks for a thousand million epochs, say."""
_MOST_TROUBLES = 20
_MOST_CHANGES = 50


def document(records: Records, now: float, prices: Prices = Prices()) -> dict[str, Any]:  # noqa: B008  # it is frozen
    """``now`` is a Unix time, by which it is judged whether the run is trained now."""
    starts = records.starts
    all_lives = lives(starts, stored=[listed.name for listed in records.contents.pairs])
    drawn = lanes(starts, all_lives)
    seconds = seconds_of([*itertools.chain.from_iterable(drawn), *gaps(starts)])
    executed, again = totals(all_lives)
    state = _state(records, now)
    unseen = _unseen(records)
    ranks = max((start.ranks for start in starts), default=1)
    untold = bool(unseen) or ranks > 1 or _untold(starts, state)
    summary = {
        "format": FORMAT,
        "run": str(records.contents.run),
        "store": records.store,
        "made": now,
        "state": state,
        "starts": len(starts),
        "ranks": ranks,
        "hosts": _machines(starts, ranks),
        "unseen": unseen,
        "untold": untold,
        "interruptions": _interruptions(starts, all_lives, state),
        "crashes": sum(event.kind == "crashed" for start in starts for event in start.events),
        "batches": {
            "executed": executed,
            "again": again,
            "step": max((life.end for life in all_lives), default=0),
            "lost": _lost(records, all_lives, state),
            "at_least": _at_least(all_lives, state, unseen),
        },
        "progress": _progress(starts, now, state),
        "began": min((start.began for start in starts), default=None),
        "ended": max((start.ended for start in starts), default=None),
        "seconds": seconds,
        "goodput": _goodput(seconds, starts, state),
        "cost": cost(starts, drawn, prices),
        "lanes": [_lane(start, lane) for start, lane in zip(starts, drawn, strict=True)],
        "curves": {
            metric: [list(point) for point in thinned(points)]
            for metric, points in series(starts, records.manifests).items()
        },
        "pauses": [[one.over, two.begin] for one, two in itertools.pairwise(all_lives)],
        "resumed": [[life.base, life.begin] for life in all_lives[1:]],
        "checkpoints": checkpoints(records, now),
        "changes": _changes(starts),
        "troubles": _troubles(starts),
        "command": _command(records),
        "failure": _failure(starts),
        "unread": {"lines": records.unread, "files": list(records.missing)},
    }
    return {**summary, "verdict": sentence(summary)}


def _state(records: Records, now: float) -> str:
    """``complete``, ``running``, ``interrupted``, ``failed``, ``silent`` (its last start ended without a word)."""
    if records.contents.complete:
        return "complete"
    code = records.starts[-1].exit_code if records.starts else None
    changed = records.contents.changed
    if code is None:
        alive = changed is not None and now - changed.timestamp() < _SILENT
        return "running" if alive else "silent"
    return "interrupted" if code in STOPPED else "complete" if code == 0 else "failed"


def _unseen(records: Records) -> list[int]:
    """The incarnations of starts of which the store has no events, though a checkpoint or the lease tells of them."""
    known = {start.incarnation for start in records.starts if start.incarnation is not None}
    told = {listed.name.incarnation for listed in records.contents.pairs} | set(records.heartbeats)
    first = min(known | set(records.heartbeats), default=0)  # before it, a script trained without holdfast run
    return sorted(number for number in told - known if number >= first)


def _untold(starts: Sequence[Start], state: str) -> bool:
    """Did a start end without a word? Its machine may have been at work, and paid for, longer than is known."""
    over = starts if state == "silent" else starts[:-1]
    return any(start.exit_code is None for start in over)


def _goodput(seconds: dict[str, float], starts: Sequence[Start], state: str) -> dict[str, float | None]:
    """None while a training has hardly begun: 0 % would look like a fault."""
    if state == "running" and counted(seconds) < _LEAST_PRODUCTIVE:
        return {"runtime": None, "overall": None}
    wall = max((s.ended for s in starts), default=0.0) - min((s.began for s in starts), default=0.0)
    return {"runtime": runtime_goodput(seconds, wall), "overall": overall_goodput(seconds, wall)}


def _lost(records: Records, all_lives: Sequence[Life], state: str) -> int:
    """Batches that were done and that no checkpoint has: at a run's end none, in a training what it would lose now."""
    if state == "complete" or not all_lives:
        return 0
    stored = max((listed.name.step for listed in records.contents.pairs), default=0)
    return max(0, max(life.end for life in all_lives) - stored)


def _at_least(all_lives: Sequence[Life], state: str, unseen: Sequence[int]) -> list[str]:
    """Which of these numbers may be greater: the last events of a start that was killed may be on its disk alone."""
    lost = ["lost"] if state == "silent" else []
    return [*lost, *(["executed", "again"] if unseen or any(life.at_least for life in all_lives[:-1]) else [])]


def _machines(starts: Sequence[Start], ranks: int) -> int | None:
    """A machine is known by its name and its disk. None if no start says its name."""
    found = {machine for start in starts for machine in start.machines}
    return max(len(found), ranks) if found else None


def _interruptions(starts: Sequence[Start], all_lives: Sequence[Life], state: str) -> list[dict[str, Any]]:
    """Every start's end but that of a complete run, of a failure, and of a start that is at work."""
    found = []
    for number, start in enumerate(starts):
        found += _losses(number, start, [life for life in all_lives if life.start == number])
        last = number == len(starts) - 1
        code = start.exit_code
        if not start.interrupted or (last and state in ("running", "complete")):
            continue
        life = next((life for life in reversed(all_lives) if life.start == number), None)
        notice, stopping = start.last("notice"), start.last("stopping")
        found.append(
            {
                "start": number + 1,
                "at": stopping.at if stopping else start.ended,
                "reason": _reason(notice, stopping, code),
                "exit_code": code,
                "again": life.redone if life else 0,
                "at_least": bool(life and life.at_least and not last),
                "gap": None if last else round(starts[number + 1].began - start.ended, 3),
            }
        )
    return found


def _losses(number: int, start: Start, own: Sequence[Life]) -> list[dict[str, Any]]:
    """The ranks other than 0 that were lost while all trained: the others were ended, and waited for their return."""
    found = []
    stopping = start.last("stopping")
    for event in start.events:
        life = next((one for one in own if one.begin <= event.at <= one.over), None)
        if event.kind != "gang-lost" or life is None or (stopping is not None and stopping.at <= event.at):
            continue
        again = next((other.at for other in start.events if other.kind == "started" and other.at > event.at), None)
        host = f" ({event.text('host')[:200]})" if event.text("host") else ""
        found.append(
            {
                "start": number + 1,
                "at": event.at,
                "reason": f"rank {event.count('rank')}{host} was lost: its machine, or the connection to it",
                "exit_code": None,
                "again": life.redone,
                "at_least": False,
                "gap": None if again is None else round(again - event.at, 3),
            }
        )
    return found


def _reason(notice: Event | None, stopping: Event | None, code: int | None) -> str:
    if stopping is not None:
        return stopping.text().partition(": draining")[0]
    if code is None:
        seen = f", after {notice.text('what')}" if notice and notice.text("what") else ""
        return f"ended without a word{seen}: killed, or the machine vanished"
    return EXIT_MEANINGS[Exit(code)]


def _progress(starts: Sequence[Start], now: float, state: str) -> dict[str, Any] | None:
    event = next((found for start in reversed(starts) if (found := start.last("progress"))), None)
    if event is None:
        return None
    epoch, batch = event.count("epoch") or 0, event.count("batch") or 0
    fit = max(1, event.count("fit") or 1)
    course = Course(event.count("epochs"), event.count("batches"), event.number("batch_seconds"), fit)
    left = event.number("seconds_left") if state == "running" else None
    left = None if left is None or left > _LONGEST else left
    known = course if state == "running" else replace(course, batch_seconds=None)
    return {
        "text": known.text(epoch, batch),
        "share": 1.0 if state == "complete" else course.share(epoch, batch),
        "at": event.at,
        "batch_seconds": course.batch_seconds,
        "seconds_left": None if left is None else max(0.0, left - (now - event.at)),
    }


def _lane(start: Start, lane: Sequence[Span]) -> dict[str, Any]:
    marks = [
        [kind, round(event.at - start.began, 3), event.text("what") or event.text("checkpoint") or event.text()]
        for kind in ("notice", "stored", "stalled", "crashed", "gang-lost")
        for event in _some([one for one in start.events if one.kind == kind])
    ]
    return {
        "incarnation": start.incarnation,
        "host": _host(start),
        "ranks": _ranks(start),
        "began": start.began,
        "ended": start.ended,
        "exit_code": start.exit_code,
        "spans": [[span.kind, round(span.begin - start.began, 3), round(span.end - start.began, 3)] for span in lane],
        "marks": marks,
    }


def _some(events: Sequence[Event], most: int = 40) -> Sequence[Event]:
    """So many of them, evenly chosen: more cannot be seen in a lane."""
    return events if len(events) <= most else [events[i * len(events) // most] for i in range(most)]


def _host(start: Start) -> str:
    machine = start.last("machine")
    return "" if machine is None else machine.text("host")[:200]


def _ranks(start: Start) -> list[str]:
    """The hosts of all ranks, where there are several: of each the last that joined."""
    hosts = {0: _host(start)}
    for event in start.events:
        if event.kind == "gang-joined" and (rank := event.count("rank")) is not None:
            hosts[rank] = event.text("host")[:200]
    return [hosts[rank] for rank in sorted(hosts)] if start.ranks > 1 else []


def _changes(starts: Sequence[Start]) -> list[dict[str, Any]]:
    """What was not as before: what the starts found out themselves, and another host or CPU."""
    found, before = [], None
    for number, start in enumerate(starts):
        machine, told = start.last("machine"), start.last("origin-changed")
        texts = told.texts("changes") if told else []
        if machine is not None:
            texts = [*_differences(before, machine), *texts]
            before = machine
        if texts:
            found.append({"start": number + 1, "at": start.began, "changes": texts[:20]})
    return found[-_MOST_CHANGES:]


def _differences(before: Event | None, now: Event) -> list[str]:
    if before is None or before.text("host") == now.text("host"):
        return []
    return [f"the machine is {now.text('host')}; it was {before.text('host')}"]


def _troubles(starts: Sequence[Start]) -> list[dict[str, Any]]:
    """The last warnings and errors; a text says what to do. After a failed end of the command, its last lines."""
    found = []
    for number, start in enumerate(starts):
        stopped = False
        for event in start.events:
            stopped = event.kind != "started" and (stopped or event.kind in ("stopping", "gang-broken"))
            code = event.count("code") if event.kind == "exited" else None
            failed = code not in (None, 0, int(Exit.STOPPED)) and not stopped
            if event.warning or failed:
                found.append(
                    {
                        "start": number + 1,
                        "at": event.at,
                        "event": event.kind,
                        "text": event.text() if event.warning else f"the command ended: {event.text('how') or code}",
                        "lines": event.texts("last_lines")[-20:] if failed else [],
                    }
                )
    return found[-_MOST_TROUBLES:]


def _failure(starts: Sequence[Start]) -> str:
    """What the last start said of its failure, if it failed."""
    failed = starts[-1].last("failed") if starts else None
    return "" if failed is None else failed.text()


def _command(records: Records) -> list[str]:
    for start in reversed(records.starts):
        started = start.last("started")
        if started is not None and started.texts("command"):
            return started.texts("command")
    return []


def iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
