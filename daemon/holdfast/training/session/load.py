"""The beginning of a training in its session: which one of the run's it is, and the state that it resumes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...core.checkpoint_name import CheckpointName
from ...core.errors import InvalidPair
from ..pair.pair_files import Saved
from .base import Session
from .identity import NAMES, Identity, difference
from .ledger import Ledger, TrainingRecord, ledger_of

_TRIES = 2
_OF_NO_MATTER = {"lines", "text", "epochs"}
RATE = "rate"  # what becomes of another one is said by those who know the optimizer


@dataclass(frozen=True)
class Beginning:
    """``saved`` is the state to resume from, of the pair ``name``; None for a training that begins anew.

    ``history`` is all that is known of a finished fit of an early version of holdfast. ``newest``: no other training of
    the run began after it. ``differences`` are the fields in which the training is another than it was; ``retried``:
    this process came to it before.
    """

    record: TrainingRecord
    saved: Saved | None = None
    name: CheckpointName | None = None
    newest: bool = True
    differences: Sequence[str] = ()
    retried: bool = False

    @property
    def history(self) -> Mapping[str, Any] | None:
        return self.record.history if self.record.pair is None else None


def begin_training(
    session: Session, identity: Identity, check: Callable[[Saved], Saved], holder: object = None
) -> Beginning:
    """The training of that identity begins. ``holder`` is its model (see Ledger.begin).

    ``check`` raises InvalidPair for a state that is none of such a training. A newest pair that is no good is marked
    unusable, and the next older one is read; where another one is, the training begins anew, and a line says so.
    """
    while True:
        ledger = session.ledger or _read_ledger(session)
        known = [one for one in ledger.records if not one.claimed and one.identity is not None]
        current = ledger.current
        record, differences = ledger.begin(identity, session.extended, holder)
        before = record.pair
        if before is None:
            if record.history is None:
                _say_anew(session, identity, known)
            session.claim_record(record)
            return Beginning(record)
        try:
            saved = _load(session, before, check)
        except InvalidPair as error:
            if before == session.resume:
                session.mark_unusable(str(error))
                session.ledger = None
                continue
            if session.ranks > 1:  # the other ranks may have it: none begins anew alone
                session.refuse(f"{before}: {error}")
                raise
            session.say(f"{before}: {error}: the training that it belongs to begins anew")
            record.pair, record.done = None, False
            session.claim_record(record)
            return Beginning(record)
        if before != session.resume and not record.done:
            session.say(f"this training was not finished: it continues at epoch {saved.position.epoch}")
        else:
            _say_differences(session, differences, saved)
        session.claim_record(record)
        return Beginning(record, saved, before, record is ledger.records[-1], differences, record is current)


def _read_ledger(session: Session) -> Ledger:
    """From the newest pair that can be read."""
    while session.resume is not None:
        try:
            saved = session.load(session.resume)
            ledger = ledger_of(saved, session.resume, _is_done(saved, session), session.claimed)
        except InvalidPair as error:
            session.mark_unusable(str(error))
        else:
            session.step = max(session.step, saved.position.step)
            session.report_start(saved.position.batch)
            session.ledger = ledger
            return ledger
    session.report_start()
    session.ledger = Ledger()
    return session.ledger


def _load(session: Session, name: CheckpointName, check: Callable[[Saved], Saved]) -> Saved:
    for tries in range(_TRIES):  # it may be removed again to make room, just as it is read
        here = name == session.resume and session.spool.file(name.file("json")).exists()  # and checked
        if not here and not session.fetch(name):
            raise InvalidPair("it is gone, or damaged")
        try:
            return check(session.load(name))
        except OSError as error:
            if tries + 1 == _TRIES:
                raise InvalidPair(f"it cannot be read: {error.strerror}") from None
    raise AssertionError


def _is_done(saved: Saved, session: Session) -> bool:
    """Is nothing left to train? Only this start of the command knows that of a loop: did it report its end?"""
    fits, own = saved.facts.get("fits"), saved.facts.get("fit")
    identity = fits[own].get("identity") if isinstance(fits, list) and type(own) is int and own < len(fits) else None
    epochs = identity.get("epochs") if isinstance(identity, dict) else None
    within = bool(saved.facts.get("begun", saved.position.batch > 0))
    ended = saved.facts.get("ended") is True and not within
    if type(epochs) is not int:
        return own not in session.claimed or own in session.ended
    return ended or saved.position.epoch >= epochs


def _say_anew(session: Session, identity: Identity, known: list[TrainingRecord]) -> None:
    """Only where one that the run has, and that this start did not come to, begins at the same place of the script."""
    for record in reversed(known):
        found = difference(record.identity, identity)
        if not {"kind", "script", "site"} & set(found):
            why = f"its {_listed(found)} differ" if found else "an earlier training that it depends on has changed"
            epoch = record.pair.epoch if record.pair else 0
            session.say(
                f"this training does not match the checkpoint at epoch {epoch}: {why}. "
                "It starts from the beginning, and the old state is kept; --extend continues it all the same"
            )
            return


def _say_differences(session: Session, differences: list[str], saved: Saved) -> None:
    if found := [key for key in differences if key not in {*_OF_NO_MATTER, RATE}]:
        session.say(
            f"resuming at epoch {saved.position.epoch} a training that is changed ({_listed(found)}): the checkpoint's "
            "state is used"
        )


def _listed(fields: list[str]) -> str:
    return ", ".join(NAMES[key] for key in fields)
