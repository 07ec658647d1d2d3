"""Messages of the training process and reports of the uploader, made into events for the journal and the loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..core import wire
from ..core.checkpoint_name import CheckpointName
from ..core.event_sink import EventSink
from ..core.machine import events
from ..core.wording import bytes_text, fit_text


class Reports:
    """Called in the threads of the channel and of the uploader.

    ``stacks`` is how the training process can be asked for its stacks, once it said so. ``claimed`` are the numbers of
    the run's trainings that this start of the command has come to, and ``finished`` of those that reported their end.
    ``imported``: a process of it has imported holdfast, ``connected``: one has opened its session.
    """

    def __init__(self, say: EventSink, put: Callable[[events.Event], None]) -> None:
        self._say = say
        self._put = put
        self._reasons: dict[str, str] = {}
        self._fits: dict[str, int] = {}
        self._changed: Sequence[str] = ()
        self.stacks: wire.StacksBy | None = None
        self.imported = False
        self.connected = False
        self.claimed: set[int] = set()
        self.finished: set[int] = set()

    def command_starts(self) -> None:
        """Forgets what the processes of an earlier start said."""
        self.stacks = None
        self.imported = self.connected = False
        self.claimed.clear()
        self.finished.clear()

    def changed(self, found: Sequence[str], midway: bool) -> None:
        """What is not as it was when the checkpoint was made. After one of a training's end it matters only if there is
        another that has something left.
        """
        self._changed = found
        if midway:
            self._report_changes()

    def _report_changes(self) -> None:
        """Two starts of one command may end differently for reasons outside of it."""
        found, self._changed = self._changed, ()
        if found:
            text = f"not as it was when the checkpoint was made: {'; '.join(found)}. The result may differ"
            self._say("origin-changed", text, warning=True, changes=list(found))

    def heard(self, message: wire.Message) -> None:
        """In the channel's thread."""
        if isinstance(message, wire.Hello):
            self.connected = True
            self._put(events.TrainingConnected())
        elif isinstance(message, wire.Imported):
            self.imported = True
        elif isinstance(message, wire.Unprotected):
            self._put(events.TrainingUnprotected(message.text))
        elif isinstance(message, wire.NotServed):
            self._put(events.TrainingNotServed(message.text))
        elif isinstance(message, wire.TrainingBegan):
            self._say("training-began", epochs=message.epochs, batches=message.batches, fit=message.training + 1)
            if message.left:
                self._report_changes()
            self._put(events.TrainingStarted(message.training, message.left))
        elif isinstance(message, wire.TrainingFinished):
            self.finished.add(message.training)
            self._say("training-finished")
            self._put(events.TrainingEnded(message.training))
        elif isinstance(message, wire.TrainingClaimed):
            self.claimed.add(message.number)
            self.finished.discard(message.number)
        elif isinstance(message, wire.Refused):
            self._put(events.CheckpointRefused(message.error))
        elif isinstance(message, wire.Unusable):
            self._put(events.PairUnusable(message.name, message.error))
        elif isinstance(message, wire.PairSaved) and CheckpointName.parse(message.name):
            self._reasons[message.name], self._fits[message.name] = message.reason, message.fit
            seconds = round(message.seconds, 3)
            self._say(
                "saved",
                checkpoint=message.name,
                seconds=seconds,
                reason=message.reason,
                batch=message.batch,
                metrics=message.metrics,
                validated=round(message.validated, 3),
                fit=message.fit,
            )
            self._put(events.PairSpooled(message.name))
        elif isinstance(message, wire.SavesEvery):
            interval, cost = round(message.seconds, 1), round(message.cost, 4)
            text = f"a checkpoint costs the training {cost:.2g} s, so one is saved every {interval:.0f} s"
            self._say("interval", text, seconds=interval, cost=cost)
        elif isinstance(message, wire.SaveFailed):
            self._say("save-failed", message.error, warning=True)
            self._put(events.SavingFailed())
        elif isinstance(message, wire.StacksBy):
            self.stacks = message
        elif isinstance(message, wire.Notice):
            self._say("script", message.text, warning=message.warning)

    def stored(self, name: CheckpointName, size: int, copied: int, seconds: float) -> None:
        reason = self._reasons.pop(str(name), "left over")
        sent = f", {bytes_text(size - copied)} sent" if copied else ""
        fit = fit_text(self._fits.pop(str(name), 1))
        about = f"{reason}, {bytes_text(size)}{sent}, {seconds:.2f} s"
        text = f"stored {fit}epoch {name.epoch}, step {name.step} ({about})"
        self._say(
            "stored",
            text,
            checkpoint=str(name),
            bytes=size,
            sent=size - copied,
            copied=copied,
            seconds=round(seconds, 3),
            reason=reason,
        )
        self._put(events.PairStored(str(name)))

    def cannot_copy(self, why: str) -> None:
        text = f"the store does not copy the parts of a checkpoint that have not changed ({why}): each is sent whole"
        self._say("no-copies", text)

    def lost(self, name: CheckpointName, error: str) -> None:
        self._put(events.PairLost(str(name), error))

    def skipped(self, name: CheckpointName) -> None:
        reason = self._reasons.pop(str(name), "left over")
        self._fits.pop(str(name), None)
        self._say("skipped", checkpoint=str(name), reason=reason)
        self._put(events.PairSkipped(str(name)))

    def left_behind(self, name: CheckpointName) -> None:
        self._put(events.PairLeftBehind(str(name)))

    def prune_failed(self, text: str) -> None:
        self._say("prune-failed", text, warning=True)

    def failing(self, error: str, retry_in: float) -> None:
        text = f"the store does not take it: {error}; trying again in {retry_in:.1f} s"
        self._say("store-away", text, warning=True)

    def given_up(self, text: str) -> None:
        self._say("not-stored", text, warning=True)

    def finalized(self, refusal: str) -> None:
        self._put(events.Finalized(refusal))
