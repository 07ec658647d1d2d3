"""The beginning of a training in its session: which one of the run's it is, and the state that it resumes from."""

from __future__ import annotations

import contextlib
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
                _say_anew(session, ledger, record, known)
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
            with contextlib.suppress(InvalidPair, OSError):  # it was said as that pair was made
                session.ways.add(session.spool.manifest(session.resume).data)
            _say_finished(session, ledger)
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


def _say_finished(session: Session, ledger: Ledger) -> None:
    """As a start begins: the pair that it resumes from may be one of a fit that the script does not come to again."""
    found = [
        number
        for number, one in enumerate(ledger.records, 1)
        if one.done and not one.claimed and type((one.identity or {}).get("epochs")) is int  # of a loop nobody knows
    ]
    if not found:
        return
    in_a_row = len(found) > 2 and found[-1] - found[0] + 1 == len(found)
    numbers = f"{found[0]} to {found[-1]}" if in_a_row else _all_of(list(map(str, found)))
    which = f"fits {numbers} are" if len(found) > 1 else f"fit {numbers} is"
    session.say(f"{which} finished: not trained again, unless the script asks for more epochs", warning=False)


def _say_anew(session: Session, ledger: Ledger, now: TrainingRecord, known: list[TrainingRecord]) -> None:
    """Only where one that the run has, and that this start did not come to, begins at the same place of the script."""
    assert now.identity is not None
    compared = [(record, difference(record.identity, now.identity)) for record in reversed(known)]
    likely = [(record, found) for record, found in compared if not {"kind", "script", "site"} & set(found)]
    if not likely:
        return
    record, found = min(likely, key=lambda one: "loops" in one[1])
    fit, epoch = ledger.index(record) + 1, record.pair.epoch if record.pair else 0
    if "loops" in found:  # a tuner's next trial
        this, place = f"fit {ledger.index(now) + 1}", f"fit {fit}, which is at epoch {epoch}"
        session.say(f"{this} begins: another iteration of the loop than {place}", warning=False)
        return
    why = "an earlier training that it depends on has changed"
    if found:
        names = [NAMES[key] for key in found]
        why = f"its {_all_of(names)} {'differ' if len(names) > 1 or names[0].endswith('s') else 'differs'}"
    session.say(
        f"this training does not match the checkpoint of fit {fit} at epoch {epoch}: {why}. "
        "It starts from the beginning, and the old state is kept; --extend continues it all the same"
    )


def _all_of(names: list[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _say_differences(session: Session, differences: list[str], saved: Saved) -> None:
    if found := [key for key in differences if key not in {*_OF_NO_MATTER, RATE}]:
        session.say(
            f"resuming at epoch {saved.position.epoch} a training that is changed ({_listed(found)}): the checkpoint's "
            "state is used"
        )


def _listed(fields: list[str]) -> str:
    return ", ".join(NAMES[key] for key in fields)
