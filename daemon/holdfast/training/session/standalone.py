"""Training without a supervisor: the run is one folder on this machine, and SIGTERM requests a stop."""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from ...core.checkpoint_name import CheckpointName
from ...core.errors import Exit, InvalidPair, NoValidPair
from ...core.manifest import Manifest
from ...core.policy import Retention
from ...core.runs import COMPLETE_FILE, RunId, next_id
from ...spool import Spool, write_whole
from .base import Session


class StandaloneSession(Session):
    """A session without a supervisor.

    The run is complete once the training is over and stored, and then the script ends, or this session is closed. An
    error in what a script does after its training, or between two, leaves the run open, and the next start does that
    part again. ``complete`` is the script's complete run that this one follows.
    """

    def __init__(self, spool: Spool, keep: Retention, complete: RunId | None = None) -> None:
        self._lock = spool.lock()
        self._lock.__enter__()  # the kernel drops it with the process
        spool.sweep()
        pairs = spool.pairs()
        incarnation = max((name.incarnation for name in pairs), default=0) + 1
        next_save = max((name.save for name in pairs), default=0) + 1
        super().__init__(spool, incarnation, next_save, None, durable=True)
        self._keep = keep
        self._unusable: set[CheckpointName] = set()
        self._over = False
        self._was_interrupted = False
        self._complete_before = complete
        self._start_reported = False
        self.resume = self._newest_valid() if pairs else None
        atexit.register(self._script_ends)

    def began(
        self,
        epochs: int | None,
        inside: Callable[[FrameType | None], bool] | None = None,
        training: int = 0,
        left: bool = True,
        batches: int | None = None,
    ) -> None:
        self.spool.file(COMPLETE_FILE).unlink(missing_ok=True)
        self._over = self._was_interrupted = False
        super().began(epochs, inside, training, left, batches)

    def report_start(self, batch: int = 0) -> None:
        """Only once: later trainings of the script are no start."""
        if self._start_reported:
            return
        self._start_reported = True
        if self.resume is not None:
            where = f"going on from epoch {self.resume.epoch}, batch {batch} (step {self.resume.step})"
        else:
            where = f"a new run ({self._complete_before} is complete)" if self._complete_before else "a new run"
        self.say(f"{self.spool.path}: {where}")

    def report_stop(self, stored: bool) -> None:
        code = Exit.STOPPED if stored else Exit.UNSTORED
        self.say(f"stopped by {self.stop_reason}; {self._what_is(stored)}; start again to go on (exit {int(code)})")

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        """Ctrl-C raises KeyboardInterrupt, as without holdfast, and saves nothing. Where that leaves the run is said as
        the script ends, below Python's traceback; at once where someone types.
        """
        self._was_interrupted = self._inside(frame)
        if hasattr(sys, "ps1"):
            self._report_interruption()
        signal.default_int_handler(number, frame)

    def _report_interruption(self) -> None:
        if not self._was_interrupted:
            return
        self._was_interrupted = False
        newest = next(iter(self.spool.pairs()), None)
        left = f"the newest checkpoint is epoch {newest.epoch}, step {newest.step}" if newest else "nothing is saved"
        again = "start again to go on from there" if newest else "the next start begins anew"
        text = f"\nholdfast: interrupted; {left} in {self.spool.path}; {again} (SIGTERM saves first)\n"
        with contextlib.suppress(OSError):
            os.write(2, text.encode())  # Python's own stream may be in the middle of a line

    def _what_is(self, stored: bool) -> str:
        if not stored:
            return "the last state could not be stored"
        has_pairs = any(self.spool.path.glob("model-*.json"))
        return f"the state is in {self.spool.path}" if has_pairs else "nothing was trained yet"

    def finished(self, stored: bool = True, training: int = 0) -> None:
        """A stop that was requested after the last boundary ends the process here: nothing else would."""
        if self.stop_reason is None:
            super().finished(stored, training)
        if self.stop_reason is not None:
            self.end_process(stored)
        self._over = stored and not self.unfinished
        self._was_interrupted = False

    def close(self) -> None:
        super().close()
        self._report_interruption()
        atexit.unregister(self._script_ends)
        self._conclude()
        self._lock.__exit__(None, None, None)

    def _script_ends(self) -> None:
        self._report_interruption()
        died = hasattr(sys, "last_value") and not hasattr(sys, "ps1")  # where someone types, an error ends nothing
        self._conclude(complete=not died)

    def _conclude(self, complete: bool = True) -> None:
        with contextlib.suppress(OSError):
            self.spool.drop_retired()
        if not self._over or not complete:
            return
        try:
            write_whole(self.spool.file(COMPLETE_FILE), b'{"format": 1}\n', durable=True)
        except OSError as error:
            self.say(f"{self.spool.path}: its end could not be noted: {type(error).__name__}: {error}")

    def saved(self, manifest: Manifest, seconds: float) -> None:
        super().saved(manifest, seconds)
        with contextlib.suppress(OSError):  # what cannot be removed stays: the next pair is written all the same
            for name in self._keep.expendable(self.spool.pairs(), self._needed()):
                self.spool.retire(name)

    def _expendable(self) -> list[CheckpointName]:
        needed = self._needed()
        return [name for name in self.spool.pairs()[1:] if name not in needed]

    def _needed(self) -> set[CheckpointName]:
        """The pairs that hold the states of the run's trainings."""
        return set() if self.ledger is None else {one.pair for one in self.ledger.records if one.pair is not None}

    def fetch(self, name: CheckpointName) -> bool:
        try:
            self.spool.verify(self.spool.manifest(name))
        except (InvalidPair, OSError):
            return False
        return True

    def mark_unusable(self, error: str, name: CheckpointName | None = None) -> None:
        if unusable := name or self.resume:
            self._note_unusable(unusable, error)
        self.resume = self._newest_valid()

    def _newest_valid(self) -> CheckpointName:
        for name in self.spool.pairs():
            if name in self._unusable:
                continue
            try:
                if not name.finite:
                    raise InvalidPair("its loss is not finite")
                self.spool.verify(self.spool.manifest(name))
            except (InvalidPair, OSError) as error:
                self._note_unusable(name, str(error))
            else:
                return name
        raise NoValidPair(f"{self.spool.path}: none of its checkpoints is valid; move the folder away")

    def _note_unusable(self, name: CheckpointName, error: str) -> None:
        self.say(f"{name}: passed over: {error}")
        self._unusable.add(name)


def open_standalone(directory: Path, keep: Retention, epochs: int | None) -> StandaloneSession:
    """Resumes this script's newest run, or begins a new one if that is complete and no more epochs are requested."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = (re.sub(r"[^A-Za-z0-9_-]", "-", Path(sys.argv[0]).stem).lstrip("-_") or "run")[:63]
    existing = [run for entry in directory.iterdir() if (run := RunId.parse(entry.name))]
    newest = max((run for run in existing if run.name == name), default=None)
    if newest is not None and not _is_over(directory / str(newest), epochs):
        complete = (directory / str(newest) / COMPLETE_FILE).exists()
        session = StandaloneSession(Spool(directory / str(newest)), keep)
        session.extended = complete
        return session
    return StandaloneSession(Spool(directory / str(next_id(name, existing))), keep, complete=newest)


def _is_over(path: Path, epochs: int | None) -> bool:
    if not (path / COMPLETE_FILE).exists():
        return False
    done = max((name.epoch for name in Spool(path).pairs()), default=0)
    return epochs is None or epochs <= done
