"""What a start did with its time, from its events."""

from __future__ import annotations

from dataclasses import dataclass

from .event import Event
from .starts import Start

KINDS: dict[str, tuple[str, str]] = {
    "productive": ("productive", "training that counts"),
    "validation": ("validation", "what fit does with its validation_data"),
    "redone": ("redone", "training that was lost, and that a later start did again, validation and all"),
    "startup": ("start-up", "from the restored checkpoint to the first batch: imports, building, compiling"),
    "restore": ("restore", "from the lease to the checkpoint in the work dir"),
    "drain": ("draining", "from a stop until the command was gone"),
    "saving": ("saving", "after the command's end: what was left was stored"),
    "after": ("after training", "the rest of the script: evaluation, export"),
    "backoff": ("backing off", "waiting to start a failed command again"),
    "hung": ("hung", "no sign of life (--stall-timeout)"),
    "waiting": ("waiting", "for the lease, for other ranks, or for an interruption notice to pass"),
    "gap": ("no machine", "between two starts"),
}
"""In the order in which they are shown: a label and what it means. The words are those of ml-goodput."""


@dataclass(frozen=True)
class Span:
    """``kind`` is one of KINDS; times are seconds since 1970."""

    kind: str
    begin: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.begin


def spans(start: Start) -> list[Span]:
    """In order and without holes, from the start's first event to its last. Training is called productive here.

    Validation is known by its seconds since the last report: it stands at the end of that time, thus before the
    checkpoint of its epoch where there is one.
    """
    reader = SpanReader(start.began)
    for event in start.events:
        reader.read(event)
    return reader.until(start.ended)


class SpanReader:
    """Reads the events of a start one by one; ``began`` is a Unix time."""

    def __init__(self, began: float) -> None:
        self._spans: list[Span] = []
        self._kind, self._since = "waiting", began
        self._started = self._restored = self._broken = False
        self._validated: float | None = None

    def until(self, now: float) -> list[Span]:
        """Those until ``now``."""
        last = [Span(self._kind, self._since, now)] if now > self._since else []
        return [*self._spans, *last]

    def _change(self, kind: str, at: float) -> None:
        if kind == self._kind:
            return
        if at > self._since:
            self._spans.append(Span(self._kind, self._since, at))
            self._since = at
        self._kind = kind

    def read(self, event: Event) -> None:
        self._validate(event)
        if event.kind == "stalled":
            self._hang(event.at - (event.number("seconds") or 0.0), event.at)
        elif event.kind in ("progress", "saved") and self._kind == "hung":
            self._change("productive", event.at)
        else:
            kind = self._after(event)
            if kind:
                self._change(kind, event.at)

    def _after(self, event: Event) -> str:
        """What begins with an event; empty if it changes nothing."""
        if event.kind == "started":
            self._started, self._broken = True, False
            return "startup" if self._restored else "restore"
        if event.kind in ("restored", "fresh"):
            self._restored = True
            return "startup" if self._kind in ("restore", "waiting") and not self._broken else ""
        if event.kind == "gang-broken":
            self._broken = True
        if self._broken and event.kind == "exited":
            return "waiting"
        if event.kind == "phase":
            return _PHASES.get(event.text("phase"), "")
        if event.kind == "waiting" and self._started:
            return ""
        return _BEGINS.get(event.kind, "")

    def _validate(self, event: Event) -> None:
        """Events of early versions do not say how long it took: there it is part of the training."""
        before, now = self._validated, event.number("validated")
        if now is None:
            return
        self._validated = now
        left = 0.0 if before is None else now - before
        at = event.at - (event.number("seconds") or 0.0) if event.kind == "saved" else event.at  # that of its snapshot
        if self._kind == "productive" and left > 0:
            self._change("validation", max(self._since, at - left))
            self._change("productive", max(self._since, at))
        elif left > 0:
            self._validate_before(left)

    def _validate_before(self, seconds: float) -> None:
        """It was reported when the training was over already."""
        number = next((n for n in reversed(range(len(self._spans))) if self._spans[n].kind == "productive"), None)
        if number is not None:
            span = self._spans[number]
            cut = max(span.begin, span.end - seconds)
            parts = Span("productive", span.begin, cut), Span("validation", cut, span.end)
            self._spans[number : number + 1] = [part for part in parts if part.seconds > 0]

    def _hang(self, since: float, at: float) -> None:
        """It hung before that was found out: what it did since then was nothing."""
        kind = self._kind
        while self._spans and self._since > since and self._spans[-1].kind == kind:
            self._since = self._spans.pop().begin
        self._change("hung", max(self._since, since))
        if self._since > at:
            self._since = at


_PHASES = {"draining": "drain", "flushing": "saving", "backoff": "backoff"}
_BEGINS = {
    "waiting": "waiting",
    "gang-waits": "waiting",
    "lease": "restore",
    "training-began": "productive",
    "training-finished": "after",
    "exited": "saving",
}
