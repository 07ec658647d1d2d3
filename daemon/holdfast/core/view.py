"""The state that the events of a start lead to, for ``holdfast status`` and ``/metrics``. Times are Unix times."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from .checkpoint_name import CheckpointName
from .wording import duration_text, fit_text

_MOST = 1 << 63  # more than any count or time; NaN and Infinity are not below it
F = TypeVar("F")
Event = Mapping[str, Any]  # a line of events.jsonl


@dataclass(frozen=True)
class Mark:
    """A checkpoint, and the time at which it was saved or stored."""

    checkpoint: str
    epoch: int
    step: int
    at: float

    @classmethod
    def of(cls, event: Event) -> Mark | None:
        name = CheckpointName.parse(str(event.get("checkpoint")))
        return None if name is None else cls(str(name), name.epoch, name.step, _time(event))


@dataclass(frozen=True)
class Course:
    """How far a training is to go, and how fast it is: ``epochs``, the ``batches`` of one, and the seconds that a batch
    takes, validation and all. None is unknown. ``fit`` is the number of the training among those of the run.
    """

    epochs: int | None = None
    batches: int | None = None
    batch_seconds: float | None = None
    fit: int = 1

    @classmethod
    def of(cls, event: Event) -> Course:
        """Of the events ``training-began`` and ``progress``. Those of early versions have no ``fit``."""
        return cls(event.get("epochs"), event.get("batches"), event.get("batch_seconds"), event.get("fit", 1))

    def share(self, epoch: int, batch: int) -> float | None:
        """The share of the training that is done after ``epoch`` epochs and ``batch`` batches of the next."""
        if not self.epochs or (not self.batches and batch):
            return None
        return min(1.0, (epoch + (batch / self.batches if self.batches else 0.0)) / self.epochs)

    def seconds_left(self, epoch: int, batch: int) -> float | None:
        if not (self.epochs and self.batches) or self.batch_seconds is None:
            return None
        return max(0, (self.epochs - epoch) * self.batches - batch) * self.batch_seconds

    def text(self, epoch: int, batch: int) -> str:
        """``epoch 20/30, batch 484/625, 65 %, about 12 min left``, as far as it is known."""
        if self.epochs and epoch >= self.epochs:
            return f"{fit_text(self.fit)}epoch {self.epochs}/{self.epochs}, 100 %"
        share, left = self.share(epoch, batch), self.seconds_left(epoch, batch)
        parts = [
            f"{fit_text(self.fit)}epoch {epoch + 1}{f'/{self.epochs}' if self.epochs else ''}",
            f"batch {batch}{f'/{self.batches}' if self.batches else ''}",
            "" if share is None else f"{int(100 * share + 1e-9)} %",
            "" if left is None else f"about {duration_text(left)} left",
        ]
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True)
class Earlier:
    """What the run's earlier starts did: ``executed`` batches, from step ``base`` on. ``seconds`` are those of their
    time by kind (core/history/spans.py), without what lies between the last of them and this one. ``began`` and
    ``ended`` are the Unix times of the first one's beginning and the last one's end.
    """

    starts: int
    executed: int
    base: int
    interruptions: int = 0
    began: float = 0.0
    ended: float = 0.0
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Facts:
    """``counts`` is how often each kind of event happened; ``seconds`` and ``size`` are those of all stored pairs,
    ``save_seconds`` those of all saved ones.

    ``interval`` are the seconds between two checkpoints, where ``--every auto`` decides.
    ``waiting`` is what a start waits for, before the command runs: another holder's lease, or a notice. ``standing``
    are the notices that stand, by their source, and ``notice`` is the last of them.
    ``base`` is the step at which this start resumed, ``until`` a stop's deadline, ``orphans`` a count of the command's
    descendants that lost their parent and were reaped. ``gang`` is how many machines train together, on rank 0.
    ``ranks`` are the other machines that train with this one, by their numbers, as far as they are there; on one of
    those it is its own number, and where rank 0 is.
    """

    began: float = 0.0
    run: str | None = None
    phase: str = "restoring"
    waiting: str | None = None
    incarnation: int | None = None
    pid: int | None = None
    base: int = 0
    saved: Mark | None = None
    stored: Mark | None = None
    interval: float | None = None
    size: int = 0
    seconds: float = 0.0
    save_seconds: float = 0.0
    notice: str | None = None
    stopping: str | None = None
    until: float | None = None
    warning: str | None = None
    warned: float | None = None
    text: str = ""
    exit_code: int | None = None
    orphans: int = 0
    artifacts: int = 0
    artifacts_size: int = 0
    course: Course = Course()
    earlier: Earlier | None = None
    standing: Mapping[str, str] = field(default_factory=dict)
    notices: Mapping[str, int] = field(default_factory=dict)
    gang: int = 1
    ranks: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def restarts(self) -> int:
        return max(0, self.counts.get("started", 0) - 1)

    @property
    def at_risk(self) -> float | None:
        """The seconds of training that a loss of this machine without notice costs at most, by ``--every auto``: an
        interval, and what it takes to write and to store a pair. None where there is no such interval.
        """
        if self.interval is None:
            return None
        saved, stored = self.counts.get("saved", 0), self.counts.get("stored", 0)
        return self.interval + self.save_seconds / max(1, saved) + self.seconds / max(1, stored)

    @property
    def found(self) -> bool:
        """Is it known which pair the run has?"""
        return any(self.counts.get(kind) for kind in ("restored", "fresh"))

    @property
    def ended(self) -> bool:
        return self.exit_code is not None

    def after(self, event: Event) -> Facts:
        """The facts after one more event. One of an unknown kind is counted only."""
        kind, text = str(event.get("event")), str(event.get("text", ""))
        facts = replace(
            self,
            began=self.began or _time(event),
            counts={**self.counts, kind: self.counts.get(kind, 0) + 1},
            text=(kind != "progress" and text) or self.text,
        )
        if event.get("warning"):
            facts = replace(facts, warning=text, warned=_time(event))
        rule = _RULES.get(kind)
        return facts if rule is None else rule(facts, event)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Facts:
        """Ignores fields that a later holdfast added. Raises ValueError or TypeError for values of a wrong type."""
        known = dict(given)
        for name, kind in (("saved", Mark), ("stored", Mark), ("earlier", Earlier), ("course", Course)):
            if known.get(name) is not None:
                known[name] = _read(kind, known[name])
        return _read(cls, known)


def _read(kind: type[F], given: Mapping[str, Any]) -> F:
    return checked(kind(**{name: value for name, value in dict(given).items() if name in get_type_hints(kind)}))


def checked(facts: F) -> F:
    """Returns a dataclass that was read from a file; raises ValueError where a value is not of its field's type."""
    for name, hint in get_type_hints(type(facts)).items():
        if not _is_of(getattr(facts, name), hint):
            raise ValueError(f"{name} is not of its type")
    return facts


def _is_of(value: Any, hint: Any) -> bool:
    if isinstance(hint, UnionType):
        return any(_is_of(value, one) for one in get_args(hint))
    if get_origin(hint) is Mapping:
        return isinstance(value, Mapping) and all(_is_of(one, get_args(hint)[1]) for one in value.values())
    if hint in (int, float):
        whole = isinstance(value, int) and not isinstance(value, bool)
        return (whole or (hint is float and isinstance(value, float))) and abs(value) < _MOST
    return isinstance(value, hint)


def useful_batches(base: int, step: int, executed: int) -> float | None:
    """The share of the batches executed since ``base`` that were not lost or repeated; None before the first."""
    return None if executed <= 0 else max(0.0, min(1.0, (step - base) / executed))


def notice_kind(what: str) -> str:
    """One of NOTICE_KINDS, for the text of any source's notice, and for what people hand in."""
    text = _OF_A_RANK.sub("", what.lower())
    if text.startswith("spot"):
        return next((kind for kind in _SPOT if kind.removeprefix("spot ") in text), "preemption")
    words = text.partition("(")[0]
    return next((kind for word, kind in _NOTICES.items() if word in words), "other")


_OF_A_RANK = re.compile(r"^rank \d+ \([^)]*\): ")
_SPOT = ("spot terminate", "spot stop", "spot hibernate")
_NOTICES = {
    "preempt": "preemption",
    "evict": "preemption",
    "maintenance": "maintenance",
    "deletion": "deletion",
    "auto scaling": "autoscaling",
    "autoscaling": "autoscaling",
    "rebalance": "rebalance",
}
NOTICE_KINDS = (*_SPOT, *dict.fromkeys(_NOTICES.values()), "other")
"""The values of a label, thus few. A ``preemption`` is Google's, Azure's (an eviction) or a scheduler's."""


def _time(event: Event) -> float:
    return datetime.fromisoformat(event["at"]).timestamp()


def _phase(facts: Facts, event: Event) -> Facts:
    left = event.get("seconds_left")
    return replace(facts, phase=event["phase"], until=None if left is None else _time(event) + left)


def _course(facts: Facts, event: Event) -> Facts:
    """Another training of the run may have other batches: what the last one took says nothing of it."""
    return replace(facts, course=Course.of(event))


def _saved(facts: Facts, event: Event) -> Facts:
    """Events of older versions have no ``seconds``."""
    return replace(
        facts, saved=Mark.of(event) or facts.saved, save_seconds=facts.save_seconds + event.get("seconds", 0.0)
    )


def _stored(facts: Facts, event: Event) -> Facts:
    mark = Mark.of(event)
    newest = mark if mark and (facts.stored is None or mark.step >= facts.stored.step) else facts.stored
    return replace(facts, stored=newest, size=facts.size + event["bytes"], seconds=facts.seconds + event["seconds"])


def _restored(facts: Facts, event: Event) -> Facts:
    """Only for the command's first start: a restart after a crash belongs to the same start of the daemon."""
    mark = Mark.of(event)
    if mark is None or facts.counts.get("started"):
        return facts
    return replace(facts, base=mark.step, stored=None if event.get("local") else mark)


def _notice(facts: Facts, event: Event) -> Facts:
    kind = notice_kind(event["what"])
    if kind != "rebalance":
        facts = replace(facts, standing={**_without(facts, event), _source(event): event["what"]}, notice=event["what"])
    return replace(facts, notices={**facts.notices, kind: facts.notices.get(kind, 0) + 1})


def _notice_over(facts: Facts, event: Event) -> Facts:
    """Another source's notice stands all the same. Events of early versions name no source."""
    standing = _without(facts, event)
    notice = next(reversed(standing.values()), None)
    return replace(facts, standing=standing, notice=notice, waiting=None if notice is None else facts.waiting)


def _without(facts: Facts, event: Event) -> dict[str, str]:
    return {source: what for source, what in facts.standing.items() if source != _source(event)}


def _source(event: Event) -> str:
    return str(event.get("source", ""))


def _artifacts(facts: Facts, event: Event) -> Facts:
    return replace(
        facts, artifacts=facts.artifacts + event["files"], artifacts_size=facts.artifacts_size + event["bytes"]
    )


def _joined(facts: Facts, event: Event) -> Facts:
    where = event.get("host") or f"this machine; rank 0 is at {event.get('address', '')}"
    return replace(facts, ranks={**facts.ranks, str(event["rank"]): str(where)})


def _lost(facts: Facts, event: Event) -> Facts:
    """A member that has lost rank 0 belongs to nobody."""
    lost = str(event["rank"])
    left = {rank: host for rank, host in facts.ranks.items() if rank != lost}
    return replace(facts, ranks={} if lost == "0" else left)


_RULES: dict[str, Callable[[Facts, Event], Facts]] = {
    "phase": _phase,
    "waiting": lambda facts, event: replace(facts, waiting=event["text"]),
    "lease": lambda facts, event: replace(facts, run=event["run"], incarnation=event["incarnation"], waiting=None),
    "complete": lambda facts, event: replace(facts, run=event.get("run", facts.run)),
    "restored": _restored,
    "started": lambda facts, event: replace(facts, pid=event["pid"]),
    "exited": lambda facts, event: replace(facts, pid=None, orphans=facts.orphans + event.get("orphans", 0)),
    "training-began": _course,
    "progress": _course,
    "earlier-starts": lambda facts, event: replace(
        facts, earlier=Earlier(**{field.name: event[field.name] for field in dataclasses.fields(Earlier)})
    ),
    "interval": lambda facts, event: replace(facts, interval=event["seconds"]),
    "machine": lambda facts, event: replace(facts, gang=event.get("ranks", 1)),
    "gang-joined": _joined,
    "gang-lost": _lost,
    "saved": _saved,
    "stored": _stored,
    "notice": _notice,
    "notice-over": _notice_over,
    "stopping": lambda facts, event: replace(facts, stopping=event["text"]),
    "artifacts-stored": _artifacts,
    "exit": lambda facts, event: replace(facts, exit_code=event["code"], until=None, waiting=None),
}
