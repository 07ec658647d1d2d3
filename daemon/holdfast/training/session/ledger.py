"""The trainings of a run, as far as its newest pair knows them: what each is, and which pair holds its newest state.

A run may have several: fits one after the other, of one script or of several. Each is known by its identity
(identity.py). Every pair holds the whole ledger, and its manifest names the pairs that the others' states are in.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ...core.checkpoint_name import CheckpointName
from ...core.errors import InvalidPair
from ..pair.pair_files import Saved
from .identity import LOSS_AT_END, Identity, choose, difference, is_edited


@dataclass
class TrainingRecord:
    """One training. ``pair`` is the one that it resumes from; ``latest`` its newest, whose loss may not be finite.
    ``done``: nothing of it is left to train. ``claimed``: this start of the command has come to it.

    ``holder`` is its model, if that is in this process. Pairs of early versions tell no ``identity``, and of finished
    fits the ``history`` alone.
    """

    identity: Identity | None
    pair: CheckpointName | None = None
    latest: CheckpointName | None = None
    done: bool = False
    history: Mapping[str, Any] | None = None
    claimed: bool = False
    holder: weakref.ref[object] | None = None


class Ledger:
    """``current`` is the record of the training under way, or of the last one. ``diverged``: a training that others may
    have built upon was trained further, so that those are no longer what the script would make.
    """

    def __init__(self, records: Iterable[TrainingRecord] = (), claimed: Iterable[int] = ()) -> None:
        self.records = list(records)
        self.current: TrainingRecord | None = None
        self.diverged = False
        for index in claimed:
            if index < len(self.records):
                self.records[index].claimed = True

    def begin(
        self, identity: Identity, extended: bool = False, holder: object = None
    ) -> tuple[TrainingRecord, list[str]]:
        """The training of that identity begins. Returns its record, a new one if none is known, and which fields
        differ from when it was last seen.

        ``extended`` says that the run is to do more than before. ``holder`` is the model: if it is that of the last
        training, which an exception ended, this is likely to be the same once more.
        """
        number = sum(record.claimed and record.done for record in self.records)
        if number < len(self.records) and self.records[number].identity is None:  # of an early version: by its number
            return self._claim(self.records[number], identity, holder), []
        retried = self._retried(identity, holder)
        record, differences = retried or choose(self.records, identity, extended, self.diverged)
        if record is None:
            before = [one for one in self.records if not one.claimed]
            self.diverged |= any(extended or is_edited(one.identity, identity) for one in before)
            record = TrainingRecord(identity)
            self.records.append(record)
        return self._claim(record, identity, holder), differences

    def _retried(self, identity: Identity, holder: object) -> tuple[TrainingRecord, list[str]] | None:
        current = self.current
        if current is None or current.done or current.holder is None or current.holder() is not holder:
            return None
        found = [key for key in difference(current.identity, identity) if key != "weights"]
        fewer = identity.get("epochs", 0) < (current.identity or {}).get("epochs", 0)
        another = fewer or {"kind", "model", "optimizer", "loops", "data"} & set(found)
        return None if another else (current, found)

    def _claim(self, record: TrainingRecord, identity: Identity, holder: object) -> TrainingRecord:
        before = record.identity
        kept = {} if before is None else {"weights": before.get("weights")}
        if before is not None and LOSS_AT_END in before:
            kept[LOSS_AT_END] = before[LOSS_AT_END]
        record.identity = {**identity, **kept}
        record.holder = None if holder is None else weakref.ref(holder)
        record.claimed, self.current = True, record
        return record

    def index(self, record: TrainingRecord) -> int:
        return next(index for index, one in enumerate(self.records) if one is record)

    @property
    def current_index(self) -> int:
        assert self.current is not None
        return self.index(self.current)

    def saved(self, name: CheckpointName) -> None:
        """A pair of the current training is written."""
        if self.current is not None:
            self.current.latest = name
            if name.finite:
                self.current.pair = name

    def trains(self) -> None:
        """The current one trains a batch: what comes after it, and was not met yet, was built upon another state."""
        later = self.records[self.index(self.current) + 1 :] if self.current is not None else []
        self.diverged |= any(not one.claimed for one in later)

    def finish(self, loss_at_end: str | None = None) -> None:
        """Nothing of the current one is left. Its last state is what it is, finite or not. ``loss_at_end`` is the
        identity's ``loss`` now, where this start has trained it.
        """
        if self.current is not None:
            self.current.done = True
            if loss_at_end is not None and self.current.identity is not None:
                self.current.identity = {**self.current.identity, LOSS_AT_END: loss_at_end}
            self.current.pair = self.current.latest or self.current.pair

    # --- in a pair -------------------------------------------------------------------------------------------------

    def needs(self) -> tuple[CheckpointName, ...]:
        """The pairs that hold the other trainings' states."""
        return tuple(one.pair for one in self.records if one is not self.current and one.pair is not None)

    def facts(self) -> dict[str, Any]:
        """For the ``.pkl``. A pair is named by its place among ``needs``."""
        places = {name: place for place, name in enumerate(self.needs())}
        return {"fit": self.current_index, "fits": [_entry(one, places) for one in self.records]}


def _entry(record: TrainingRecord, places: Mapping[CheckpointName, int]) -> dict[str, Any]:
    entry = {"identity": record.identity, "done": record.done}
    if record.history is not None:
        entry |= {"history": dict(record.history)}
    place = None if record.pair is None else places.get(record.pair)
    return entry if place is None else {**entry, "needs": place}


def ledger_of(saved: Saved, name: CheckpointName, done: bool, claimed: Iterable[int] = ()) -> Ledger:
    """What the pair ``name`` knows; ``done`` says that nothing of its own training is left. Raises InvalidPair."""
    fits, own = saved.facts.get("fits", []), saved.facts.get("fit", 0)
    if not (isinstance(fits, list) and all(isinstance(one, dict) for one in fits) and type(own) is int and own >= 0):
        raise InvalidPair("its .pkl is malformed: it does not say which trainings the run has")
    if not (own < len(fits) and all("identity" in one for one in fits)):  # of an early version
        finished = [TrainingRecord(None, done=True, history=one) for one in fits[:own]]
        return Ledger([*finished, TrainingRecord(None, name, done=done)], claimed)
    records = [_record(one, saved.needs) for one in fits]
    records[own].pair, records[own].done = name, done
    return Ledger(records, claimed)


def _record(entry: Mapping[str, Any], needs: tuple[CheckpointName, ...]) -> TrainingRecord:
    identity, done, place, history = (entry.get(key) for key in ("identity", "done", "needs", "history"))
    whole = (
        isinstance(identity, dict | None)
        and isinstance(done, bool)
        and isinstance(history, dict | None)
        and (place is None or (type(place) is int and 0 <= place < len(needs)))
    )
    if not whole:
        raise InvalidPair("its .pkl is malformed: it does not say which trainings the run has")
    pair = None if place is None else needs[place]
    return TrainingRecord(identity, pair, done=bool(done), history=history)
