"""A run that many machines worked on, told by the journal as supervisors do, with an account of what happened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fakes.stored import Run
from holdfast.core.checkpoint_name import CheckpointName, spell_loss
from holdfast.supervisor.report.journal import Journal

Report = Callable[..., dict[str, Any]]
"""Makes the document of a run; see tests/inspect/report/conftest.py."""

BEGAN = datetime(2026, 11, 22, 16, 0, 0, tzinfo=UTC)


@dataclass
class Account:
    """Batches and seconds, counted as they pass and not from events."""

    executed: int = 0
    seen: set[int] = field(default_factory=set)
    seconds: dict[str, float] = field(default_factory=dict)

    def batch(self, step: int) -> None:
        self.executed += 1
        self.seen.add(step)

    @property
    def again(self) -> int:
        return self.executed - len(self.seen)


class Told:
    """``batch_seconds`` is what a batch takes, and an epoch has ``batches`` of them; at each end it is validated for
    ``validation_seconds``, and a pair is saved. After each ``fit_batches`` another fit begins.

    Each method is a start of holdfast, on an empty disk.
    """

    def __init__(
        self,
        run: Run,
        folder: Path,
        epochs: int = 10,
        batches: int = 100,
        batch_seconds: float = 0.5,
        validation_seconds: float = 3.0,
    ) -> None:
        self.run = run
        self.account = Account()
        self.now = BEGAN
        self.step = 0
        self.stored = 0
        self._folder = folder
        self._epochs, self._batches, self._batch_seconds = epochs, batches, batch_seconds
        self._validation_seconds, self._validated = validation_seconds, 0.0
        self._incarnation = self._save = 0
        self.metrics: Mapping[str, float] = {}
        self.fit_batches = epochs * batches

    def pass_time(self, seconds: float, kind: str = "") -> None:
        self.now += timedelta(seconds=seconds)
        self.account.seconds[kind] = self.account.seconds.get(kind, 0.0) + seconds

    def interrupted(self, batches: int, gap: float = 60.0) -> None:
        """A notice after so many batches: the state is stored."""
        journal = self._begin()
        self._train(journal, batches)
        journal.event("notice", what="spot notice (terminate at 16:19:15 UTC)", seconds=120.0)
        journal.event("stopping", "spot notice (terminate at 16:19:15 UTC): draining, 110 s are left")
        journal.event("phase", phase="draining", seconds_left=110.0)
        self.pass_time(2, "drain")
        self._pair(journal, "spot notice")
        self._exit(journal, 75)
        self._over(gap)

    def killed(self, batches: int, gap: float = 60.0) -> None:
        """The machine vanishes without a word after so many batches; what came after the last pair is lost."""
        journal = self._begin()
        self._train(journal, batches)
        self._over(gap)

    def crashed(self, batches: int) -> None:
        """The command fails after so many batches, twice, and the run has failed."""
        journal = self._begin()
        self._train(journal, batches)
        lines = ["Traceback (most recent call last):", "ValueError: </script><script>document.title = 'x'</script>"]
        journal.event("exited", code=1, how="exit 1", executed=self._executed, orphans=0, last_lines=lines)
        journal.event("failed", "the command failed (exit 1): correct the script, and run it again", warning=True)
        journal.event("exit", "exit 70", code=70)
        self._over(0)

    def completed(self) -> None:
        journal = self._begin()
        self._train(journal, self._epochs * self._batches - self.step)
        journal.event("training-finished")
        self.pass_time(3, "after")
        self._exit(journal, 0)
        self._over(0)
        self.run.finish()

    def goes_on(self, batches: int) -> None:
        self._train(self._begin(), batches)
        self._over(0)

    # --- parts -----------------------------------------------------------------------------------------------------

    def _begin(self) -> Journal:
        self._incarnation += 1
        self._executed, self._validated = 0, 0.0
        journal = Journal(None, wall=lambda: self.now)
        journal.attach(self._folder / f"events-i{self._incarnation}.jsonl")
        journal.event("waiting", "waiting for the lease: it is held by another")
        self.pass_time(5, "waiting")
        journal.event("lease", run=str(self.run.id), incarnation=self._incarnation)
        host = f"ip-10-0-0-{self._incarnation % 250}"
        journal.event("machine", host=host, cpu="a CPU", versions={"python": "3.11.2"})
        journal.event("phase", phase="starting", seconds_left=None)
        journal.event("started", pid=77, command=["python", "train.py"], executed=0, validated=0.0)
        self.pass_time(4, "restore")
        self.step = self.stored
        if self.stored:
            journal.event("restored", "resuming", checkpoint=str(self._newest), local=False)
        else:
            journal.event("fresh", "starting from the beginning")
        self.pass_time(6, "startup")
        journal.event("training-began", epochs=self._epochs, batches=self._batches)
        journal.event("phase", phase="running", seconds_left=None)
        return journal

    def _train(self, journal: Journal, batches: int) -> None:
        for number in range(1, batches + 1):
            self.pass_time(self._batch_seconds, "training")
            self.step += 1
            self._executed += 1
            self.account.batch(self.step)
            if self.step % self._batches == 0:
                self.pass_time(self._validation_seconds, "validation")
                self._validated += self._validation_seconds
                self._pair(journal, "epoch")
            if number % 10 == 0 or number == batches:
                self._progress(journal)

    def _progress(self, journal: Journal) -> None:
        left = (self._epochs * self._batches - self.step) * self._batch_seconds
        journal.event(
            "progress",
            epoch=self.step // self._batches,
            batch=self.step % self._batches,
            step=self.step,
            executed=self._executed,
            validated=self._validated,
            epochs=self._epochs,
            batches=self._batches,
            batch_seconds=self._batch_seconds,
            seconds_left=left,
        )

    def _pair(self, journal: Journal, reason: str) -> None:
        self._save += 1
        loss = 2.3 * 0.999**self.step + 0.1
        epoch, batch = divmod(self.step, self._batches)
        self._newest = CheckpointName(epoch, self.step, spell_loss(loss), self._incarnation, self._save)
        metrics = {"loss": loss, "val_loss": loss * 1.1, "accuracy": 1 - loss / 3, **self.metrics}
        told = {"seconds": 0.0, "reason": reason, "batch": batch, "metrics": metrics, "validated": self._validated}
        fit = 1 + (self.step - 1) // self.fit_batches
        journal.event("saved", checkpoint=str(self._newest), **told, fit=fit)
        self.stored = self.step
        if self._save % 10 == 1 or self._save < 20:  # retention let the others go
            self.run.pair(self._newest, metrics)
        journal.event("stored", checkpoint=str(self._newest), bytes=1000, seconds=0.5, reason=reason)

    def _exit(self, journal: Journal, code: int) -> None:
        facts = {"executed": self._executed, "validated": self._validated, "orphans": 0, "last_lines": []}
        journal.event("exited", code=code, how=f"exit {code}", **facts)
        journal.event("phase", phase="flushing", seconds_left=None)
        self.pass_time(1, "saving")
        journal.event("closing", outcome="stopped" if code == 75 else "complete")

    def _over(self, gap: float) -> None:
        """What the uploader stores of a start, and then no machine for a while."""
        name = f"events-i{self._incarnation}.jsonl"
        self.run.file(name, (self._folder / name).read_bytes())
        self.pass_time(gap, "gap")
