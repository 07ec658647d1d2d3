"""``holdfast.session``: the protocol for loops that are not ``model.fit``, in any framework or in none.

::

    with holdfast.session(every=100) as run:
        if run.resume_from:
            weights[:] = run.resume_from.arrays["weights"]
        for step in range(run.step, 10_000):
            loss = one_batch(weights, step)
            if run.boundary(step + 1) or step + 1 == 10_000:  # a commit is due, or this was the last batch
                run.commit({"weights": weights}, loss=loss)
"""

from __future__ import annotations

import operator
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from ...core.checkpoint_name import MOST_EPOCHS, MOST_STEPS, CheckpointName
from ...core.errors import InvalidPair
from ...core.policy import Cadence
from ...core.wording import count
from ...spool import Board, Progress
from ..pair.h5_writer import Layout, holds_numbers
from ..pair.pair_files import Draft, Place, Position, Saved, Written
from ..pair.plain import from_plain, name_of, to_plain
from . import random_state
from .base import LOOP, Session
from .identity import Identity, of_process
from .interval import Interval
from .load import begin_training
from .open import open_session, with_artifacts

KIND = "arrays"
_GROUP = "array"


@dataclass(frozen=True)
class LoopState:
    """What ``commit`` stored: ``arrays`` by name, ``values`` as they were given, and where the loop stood."""

    arrays: Mapping[str, np.ndarray]
    values: Any
    epoch: int
    batch: int
    step: int


class Loop:
    """A training loop's part in a run. Made by ``session``; use it in a ``with`` statement.

    ``resume_from`` is the LoopState to resume from, or None; ``step`` is its step, or 0. Python's and NumPy's global
    random states are stored and restored by themselves.
    """

    def __init__(self, session: Session, cadence: Cadence, identity: Identity) -> None:
        self._session = session
        self._writer = session.writer
        self._interval = Interval(cadence, time.monotonic())
        self._executed = Board.read(session.spool.file(Board.FILE)).executed
        self._position = Position(0, 0, 0)
        self._committed_step = -1
        self._said: set[str] = set()
        self.resume_from = self._read(identity)

    @property
    def step(self) -> int:
        return self._position.step

    @property
    def run_dir(self) -> Path:
        return with_artifacts(self._session.spool.path)

    @property
    def busy(self) -> bool:
        """True while a commit is being written in the background."""
        return self._writer.busy

    @property
    def should_stop(self) -> bool:
        """True once a stop was requested. The next ``commit`` then ends the process."""
        return self._session.stop_reason is not None

    def __enter__(self) -> Loop:
        self._session.began(None, training=self._training)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.wait()
        if kind is not None:
            if not self._session.ending:
                self._session.restore_signal_handler()
            return
        if self._session.ledger is not None:
            self._session.ledger.finish()
        left = self._position.step - max(0, self._committed_step)
        if left:
            last = count(left, "batch", "batches")
            self._session.failed(f"no commit holds the last {last}: call run.commit after the last batch too")
        self._session.finished(stored=not left and not self._writer.failed, training=self._training)

    def boundary(self, step: int, epoch: int = 0, batch: int | None = None) -> bool:
        """Call between two batches, with the number of batches done in all (and the epochs, and this one's batches).

        True says that the state is to be committed now: a stop or a save was requested, or an interval is over.
        Raises TypeError or ValueError for what is no count, or a larger one than a checkpoint's name has room for.
        """
        step, epoch = _count("step", step, MOST_STEPS), _count("epoch", epoch, MOST_EPOCHS)
        batch = step if batch is None else _count("batch", batch, MOST_STEPS)
        done = step - self._position.step
        self._executed += done if done >= 0 else 1  # a loop that goes back begins again with its first batch
        self._position = Position(epoch, batch, step)
        self._session.board.write(Progress(self._executed, epoch, batch, step))
        self._session.keep_signal_handler()
        self._session.arrive()
        if self._session.stop_reason is not None:
            return True
        now = time.monotonic()
        self._interval.boundary(now, self._writer.busy)
        self._session.report_interval(self._interval)
        if self._session.save_reason is not None:
            return True
        due = self._interval.is_due(step, now)
        if due and self._interval.by_the_clock and self._session.save_together("interval"):
            due = False
        return due

    def commit(
        self,
        arrays: Mapping[str, Any],
        values: Any = None,
        *,
        loss: float | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """Stores the state as it is at the last boundary.

        Args:
            arrays: names and arrays, or anything that NumPy makes an array of (Keras variables, tensors).
            values: plain values (dict, list, tuple, str, bytes, int, float, bool, None) or NumPy arrays in such.
            loss: stands in the checkpoint's name; a pair whose loss is not finite is never resumed from.
            metrics: more numbers for the manifest.

        The arrays are copied, and written in the background. After a stop was requested they are written at once, and
        SystemExit(75) is raised (74 if they could not be written). Raises TypeError for arrays and metrics
        whose names are no texts, for arrays of objects, and for values that are not plain.
        """
        _check_names("arrays", arrays)
        _check_names("metrics", metrics or {})
        reason = self._session.stop_reason or self._session.save_reason or "commit"
        began = time.monotonic()
        draft = self._draft(arrays, values, reason, {**(metrics or {}), **({} if loss is None else {"loss": loss})})
        self._committed_step, now = self._position.step, time.monotonic()
        self._interval.taken(self._position.step, now, now - began)
        if self._session.stop_reason is not None:
            self._session.end_process(self._writer.write_now(draft))
        self._session.save_reason = None
        if not self._writer.offer(draft, required=True):
            self._writer.write_now(draft)

    def _draft(self, arrays: Mapping[str, Any], values: Any, reason: str, metrics: Mapping[str, float]) -> Draft:
        copies = {Place(_GROUP, i): (str(name), _copy(name, array)) for i, (name, array) in enumerate(arrays.items())}
        assert self._session.ledger is not None
        facts = {
            "values": to_plain(values, typed=True, say=self._say_once),
            "random": random_state.get_state(),
            **self._session.ledger.facts(),
        }
        numbers = {name: float(value) for name, value in metrics.items()}
        draft = draft_of(self._position, reason, numbers, copies, facts, self._session.ledger.needs())
        return replace(draft, fit=self._session.ledger.current_index + 1)

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._session.say(f"in the values of a commit, {text}")

    def _read(self, identity: Identity) -> LoopState | None:
        states: list[LoopState] = []

        def check(saved: Saved) -> Saved:
            """What cannot be set is no good: an older pair serves then."""
            states.append(_state_of(_checked(saved)))
            return saved

        begun = begin_training(self._session, identity, check)
        assert self._session.ledger is not None
        self._training = self._session.ledger.index(begun.record)
        if begun.saved is None:
            return None
        state = states[-1]
        self._position = Position(state.epoch, state.batch, state.step)
        self._committed_step = state.step
        self._interval.resumed_at(state.step)
        return state


def session(every: str | int | timedelta | None = None, directory: str | None = None, keep: int = 5) -> Loop:
    """Opens this process's part in the run.

    Args:
        every: a number of batches or a timedelta between commits, or such a time as text (``"10m"``); ``"epoch"``
            leaves it to the loop when to commit. By default what ``holdfast run --every`` says, and else ``"epoch"``.
        directory: where to keep pairs when no supervisor runs the script; ``./runs`` if not given.
        keep: how many pairs to keep there.

    Raises SettingsError if the process has, or had, another session or a ``fit`` with ``holdfast.Resume``.
    """
    cadence = None if every is None else Cadence.of(every)
    opened = open_session(directory, keep)
    opened.claim(LOOP)
    cadence = cadence or Cadence.parse(opened.every)
    return Loop(opened, cadence, {"kind": LOOP, **of_process(opened.origin.get("command"))})  # one in a process


def _checked(saved: Saved) -> Saved:
    """Raises InvalidPair if the pair is not a loop's."""
    if "random" not in saved.facts or "values" not in saved.facts:
        raise InvalidPair("it was not written by holdfast.session")
    return saved


def _state_of(saved: Saved) -> LoopState:
    """Sets the random states, too."""
    arrays = dict(saved.values[place] for place in saved.values if place.group == _GROUP)
    values = from_plain(saved.facts["values"])
    random_state.set_state(saved.facts["random"])
    return LoopState(arrays, values, saved.position.epoch, saved.position.batch, saved.position.step)


def _count(what: str, value: Any, most: int) -> int:
    """Also of NumPy's integers, which a checkpoint cannot hold."""
    try:
        number = int(operator.index(value))
    except TypeError:
        raise TypeError(f"run.boundary: {what} is a whole number, not {type(value).__name__}") from None
    if not 0 <= number <= most:
        raise ValueError(f"run.boundary: {what} is {number}, and must be from 0 to {most}")
    return number


def _check_names(what: str, named: Any) -> None:
    if not isinstance(named, Mapping):
        raise TypeError(f"run.commit: give a dict of names and {what}, not {type(named).__name__}")
    for name in named:
        if not isinstance(name, str):
            raise TypeError(f"run.commit: the names of {what} are texts, not {type(name).__name__}: {name!r:.40}")


def _copy(name: str, array: Any) -> np.ndarray:
    copy = np.asarray(array).copy()
    try:
        name_of(copy.dtype)
    except TypeError as error:
        raise TypeError(f"run.commit: {name!r:.40} cannot be kept: it is {error}") from None
    return copy


def draft_of(
    position: Position,
    reason: str,
    metrics: Mapping[str, float],
    arrays: Mapping[Place, tuple[str, np.ndarray]],
    facts: Mapping[str, Any],
    needs: tuple[CheckpointName, ...] = (),
) -> Draft:
    def write_h5(path: Path, most_dirty: int | None, over: Path | None = None) -> Written:
        with Layout(path) as layout:
            group = layout.file.create_group("arrays")
            for place, (name, array) in arrays.items():
                if holds_numbers(array):
                    layout.plan(group, str(place.index), place, array).attrs["name"] = name
        values = {place: array for place, (_, array) in arrays.items()}
        return Written(KIND, layout.names, layout.write(values, most_dirty, over), layout.pieces)

    return Draft(position, reason, metrics, arrays, facts, write_h5, needs)
