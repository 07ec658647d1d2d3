"""The state that the events of a start lead to, for ``holdfast status`` and ``/metrics``. Times are Unix times."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from .checkpoint_name import CheckpointName

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
class Facts:
    """``counts`` is how often each kind of event happened; ``seconds`` and ``size`` are those of all stored pairs,
    ``save_seconds`` those of all saved ones.

    ``waiting`` is what a start waits for, before the command runs: another holder's lease, or a notice.
    ``base`` is the step at which this start resumed, ``until`` a stop's deadline, ``orphans`` a count of the command's
    descendants that lost their parent and were reaped.
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
    notices: Mapping[str, int] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def restarts(self) -> int:
        return max(0, self.counts.get("started", 0) - 1)

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
            text=text or self.text,
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
        known = {field.name: given[field.name] for field in dataclasses.fields(cls) if field.name in given}
        for name in ("saved", "stored"):
            known[name] = checked(Mark(**known[name])) if known.get(name) is not None else None
        return checked(cls(**known))


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


def goodput(base: int, step: int, executed: int) -> float | None:
    """The share of the batches executed since ``base`` that were not lost or repeated; None before the first."""
    return None if executed <= 0 else max(0.0, min(1.0, (step - base) / executed))


def notice_kind(what: str) -> str:
    """A notice without its details, as a label: ``spot terminate``, ``scheduled maintenance``, ``rebalance`` …"""
    if what.startswith("spot"):
        return "spot " + next((action for action in ("terminate", "stop", "hibernate") if action in what), "notice")
    return next((kind for word, kind in _NOTICES.items() if what.startswith(word)), "other")


_NOTICES = {
    "scheduled maintenance": "maintenance",
    "Auto Scaling": "autoscaling",
    "rebalance": "rebalance",
}


def _time(event: Event) -> float:
    return datetime.fromisoformat(event["at"]).timestamp()


def _phase(facts: Facts, event: Event) -> Facts:
    left = event.get("seconds_left")
    return replace(facts, phase=event["phase"], until=None if left is None else _time(event) + left)


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
    standing = facts.notice if kind == "rebalance" else event["what"]
    return replace(facts, notice=standing, notices={**facts.notices, kind: facts.notices.get(kind, 0) + 1})


def _artifacts(facts: Facts, event: Event) -> Facts:
    return replace(
        facts, artifacts=facts.artifacts + event["files"], artifacts_size=facts.artifacts_size + event["bytes"]
    )


_RULES: dict[str, Callable[[Facts, Event], Facts]] = {
    "phase": _phase,
    "waiting": lambda facts, event: replace(facts, waiting=event["text"]),
    "lease": lambda facts, event: replace(facts, run=event["run"], incarnation=event["incarnation"], waiting=None),
    "complete": lambda facts, event: replace(facts, run=event.get("run", facts.run)),
    "restored": _restored,
    "started": lambda facts, event: replace(facts, pid=event["pid"]),
    "exited": lambda facts, event: replace(facts, pid=None, orphans=facts.orphans + event.get("orphans", 0)),
    "saved": _saved,
    "stored": _stored,
    "notice": _notice,
    "notice-over": lambda facts, event: replace(facts, notice=None, waiting=None),
    "stopping": lambda facts, event: replace(facts, stopping=event["text"]),
    "artifacts-stored": _artifacts,
    "exit": lambda facts, event: replace(facts, exit_code=event["code"], until=None, waiting=None),
}
