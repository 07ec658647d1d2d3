"""The batches of a run: which life of the command did which, what was done twice, what the store lacks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from ..checkpoint_name import CheckpointName
from .event import Event
from .heartbeats import KIND as HEARTBEAT
from .spans import Span
from .starts import Start


@dataclass(frozen=True)
class Life:
    """The command from its start to its end. It resumed at step ``base`` and came to ``end``.

    ``redone`` of its batches were lost, and a later life did them again. ``before`` were executed on its disk
    before it. ``at_least``: it ended without a word, and nothing has told what it did at last. ``forked``: --from led
    to where it resumed, and not the life before it.
    """

    start: int
    begin: float
    over: float
    base: int
    end: int
    executed: int
    before: int | None = None
    redone: int = 0
    at_least: bool = False
    forked: bool = False


def lives(starts: Sequence[Start], resumed: int | None = None, stored: Iterable[CheckpointName] = ()) -> list[Life]:
    """``resumed`` is the step at which a further start resumed, whose events are not among these; ``stored`` are the
    checkpoints that the store has, which may be more than the events of a killed start tell of.
    """
    steps: dict[int, int] = {}
    for name in stored:
        steps[name.incarnation] = max(name.step, steps.get(name.incarnation, 0))
    found = _all(starts)
    if resumed is not None:
        further = Life(len(starts), math.inf, math.inf, resumed, resumed, 0)
        return _with_redone([*found, further])[:-1]
    if found:
        found[-1] = _reaching(found[-1], steps.get(starts[found[-1].start].incarnation or 0, 0))
    return _with_redone(found)


def _all(starts: Sequence[Start]) -> list[Life]:
    forks = {event.text("checkpoint") for start in starts for event in start.events if event.kind == "forked"}
    return _corrected([life for number, start in enumerate(starts) for life in _of_start(number, start, forks)])


def _with_redone(found: Sequence[Life]) -> list[Life]:
    """A life made the checkpoint from which the next one resumed, though the events that tell of it may be lost."""
    reached = [
        life if following.forked else _reaching(life, following.base) for life, following in itertools.pairwise(found)
    ] + list(found[-1:])
    return [
        replace(life, redone=max(0, life.end - following.base)) for life, following in itertools.pairwise(reached)
    ] + reached[-1:]


def _reaching(life: Life, step: int) -> Life:
    if step <= life.end:
        return life
    executed = life.executed + step - life.end if life.at_least else max(life.executed, step - life.base)
    return replace(life, end=step, executed=executed)


def _corrected(found: Sequence[Life]) -> list[Life]:
    """A life that was killed reported less than it did. Where the next one found more batches on the disk, it had that
    disk, and the difference is the one's.
    """
    lasting = list(found)
    for number, (life, following) in enumerate(itertools.pairwise(found)):
        if life.before is not None and following.before is not None and following.before > life.before:
            executed = following.before - life.before
            end = max(life.end, life.base + executed)
            lasting[number] = replace(life, executed=executed, end=end, at_least=False)
    return lasting


@dataclass
class _Open:
    begin: float
    base: int
    before: int | None
    end: int = 0
    executed: int | None = None
    forked: bool = False


def _of_start(number: int, start: Start, forks: Collection[str]) -> list[Life]:
    """``forks`` are the checkpoints that --from brought into the run."""
    found: list[Life] = []
    base, forked, life = 0, False, None
    for event in start.events:
        if event.kind in ("restored", "forked"):
            base, forked = _step(event) or 0, event.text("checkpoint") in forks
            if life is not None and not life.end:  # it came after the command
                life.base, life.forked = base, forked
        elif event.kind == "started":
            life = _Open(event.at, base, event.count("executed"), forked=forked)
        elif event.kind == HEARTBEAT and life is None and not found and event.count("step"):
            found.append(_of_heartbeat(number, event, base))
        elif life is not None:
            _follow(life, event)
            if event.kind == "exited":
                found.append(_closed(number, life, event.at))
                base, forked, life = max(base, found[-1].end), False, None
    if life is not None:
        found.append(replace(_closed(number, life, start.ended), at_least=True))
    return found


def _of_heartbeat(number: int, event: Event, base: int) -> Life:
    """Of a start whose stored events end before the command began."""
    end = max(base, event.count("step") or 0)
    return Life(number, event.at, event.at, base, end, end - base, at_least=True)


def _follow(life: _Open, event: Event) -> None:
    if event.kind == "progress":
        life.end = max(life.end, event.count("step") or 0)
        life.executed = event.count("executed")
    elif event.kind == HEARTBEAT:  # one from before the first batch has no counts
        life.end = max(life.end, event.count("step") or 0)
        life.executed = life.executed if event.count("executed") is None else event.count("executed")
    elif event.kind == "saved":
        life.end = max(life.end, _step(event) or 0)
    elif event.kind == "exited" and event.count("executed") is not None:
        life.executed = event.count("executed")


def _closed(number: int, life: _Open, over: float) -> Life:
    """Events of early versions say less: there it did what lies between its beginning and its last checkpoint."""
    end = max(life.base, life.end)
    known = life.before is not None and life.executed is not None
    executed = max(0, (life.executed or 0) - (life.before or 0)) if known else end - life.base
    return Life(number, life.begin, over, life.base, end, executed, life.before, forked=life.forked)


def _step(event: Event) -> int | None:
    name = CheckpointName.parse(event.text("checkpoint"))
    return None if name is None else name.step


def marked(lane: Sequence[Span], of_start: Sequence[Life]) -> list[Span]:
    """The spans of a start, where the end of each life's training that was done again is called so, with the validation
    in it.
    """
    trained = {life: sum(span.seconds for span in lane if _trains(span, life)) for life in of_start}
    left = {life: seconds * min(1.0, life.redone / max(1, life.executed)) for life, seconds in trained.items()}
    found: list[Span] = []
    for span in reversed(lane):
        life = next((one for one in of_start if one.begin <= span.begin <= one.over), None)
        lost = 0.0 if life is None else left[life]
        if life is None or lost <= 0 or span.kind not in ("productive", "validation"):
            found.append(span)
        elif span.kind == "validation":
            batch = trained[life] / max(1, life.executed)  # what is left is estimated, from batches of one length
            found.append(Span("redone", span.begin, span.end) if lost > batch else span)
        else:
            cut = max(span.begin, span.end - lost)
            left[life] = lost - (span.end - cut)
            parts = Span("redone", cut, span.end), Span("productive", span.begin, cut)
            found += [part for part in parts if part.seconds > 0]
    return _joined(reversed(found))


def _trains(span: Span, life: Life) -> bool:
    return span.kind == "productive" and life.begin <= span.begin <= life.over


def _joined(lane: Iterable[Span]) -> list[Span]:
    """Neighbours of one kind are one span."""
    found: list[Span] = []
    for span in lane:
        if found and found[-1].kind == span.kind and found[-1].end == span.begin:
            found[-1] = Span(span.kind, found[-1].begin, span.end)
        else:
            found.append(span)
    return found


def totals(all_lives: Sequence[Life]) -> tuple[int, int]:
    """The batches that were executed, and how many of them again: what was executed without what is done."""
    if not all_lives:
        return 0, 0
    executed = sum(life.executed for life in all_lives)
    done = max(life.end for life in all_lives) - min(life.base for life in all_lives)
    return executed, max(0, executed - done)
