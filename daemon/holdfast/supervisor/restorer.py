"""What the effect Restore asks for, in a thread of its own: the lease, an uploader, and the pair to resume from.

The events that tell of it are core/machine/events.py's Ready, Restored and RestoreFailed.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Mapping
from typing import Any

from ..core import wire
from ..core.checkpoint_name import CheckpointName
from ..core.errors import Exit, HoldfastError, InvalidPair, StoreError
from ..core.event_sink import EventSink
from ..core.machine import effects, events
from ..core.manifest import LAST_EPOCH, Manifest
from ..core.policy import Retention
from ..core.redact import Redactor
from ..core.runs import RunId
from ..spool import only_here, write_whole
from ..store import Store
from ..store.catalog import list_pairs, read_manifest
from .messages_to_events import Reports
from .provenance import changes, training_options
from .restore.candidates import newest_here
from .restore.opening import Prepared
from .restore.prepare import Preparer
from .settings import RunSettings
from .upload.artifacts import Artifacts
from .upload.between_pairs import Prune, UploadArtifacts, UploadLogs
from .upload.logs import growing_logs
from .upload.uploader import Uploader

OPTIONS_FILE = "training_options.json"


def _origin_of(store: Store, run: RunId) -> Mapping[str, Any]:
    """What the run's newest pair came from, or its last start if it has none. Empty where that cannot be read."""
    try:
        newest = next(iter(list_pairs(store, str(run))), None)
        if newest is not None:
            return read_manifest(store, str(run), newest).origin
        document = json.loads(store.get(f"{run}/{OPTIONS_FILE}")[0])
    except (StoreError, InvalidPair, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


class Restorer:
    """``start`` once at first, and again for each restart of the command.

    ``prepared``, ``resume`` and ``uploader`` are there before the first event that tells of them; the uploader is one
    for all starts. ``brought`` is set once the pair that the command resumes from is here.
    """

    def __init__(
        self,
        settings: RunSettings,
        store: Store,
        say: EventSink,
        preparer: Preparer,
        reports: Reports,
        put: Callable[[events.Event], None],
        redactor: Redactor,
        origin: dict[str, Any],
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._store = store
        self._say = say
        self._preparer = preparer
        self._reports = reports
        self._put = put
        self._redactor = redactor
        self._origin = origin
        self._clock = clock
        self._avoid: frozenset[str] = frozenset()
        self.prepared: Prepared | None = None
        self.resume: Manifest | None = None
        self.uploader: Uploader | None = None
        self.brought = threading.Event()

    def start(self, effect: effects.Restore) -> None:
        self._avoid = effect.avoid
        self.brought.clear()
        threading.Thread(target=self._run, args=(effect,), name="restore", daemon=True).start()

    def welcome(self) -> wire.Welcome:
        """In the channel's thread. A command may start several processes that train, one after the other."""
        assert self.prepared is not None
        prepared = self.prepared
        newest, next_save = newest_here(prepared.spool, self.resume, prepared.found.next_save, self._avoid)
        return wire.Welcome(
            run_dir=str(prepared.spool.path.absolute()),
            run=str(prepared.run),
            incarnation=prepared.incarnation,
            next_save=next_save,
            resume=str(newest.name) if newest else None,
            durable=self._store.durable_spool,
            origin=self._origin,
            claimed=sorted(self._reports.claimed),
            finished=sorted(self._reports.finished),
            extended=self._settings.extend or self._settings.source is not None,
        )

    def bring_needed(self, name: CheckpointName) -> None:
        """Another pair than the newest, with the state of another training of the run. Raises HoldfastError."""
        assert self.prepared is not None
        if str(name) in self._avoid:
            raise InvalidPair("the training process could not use it")
        self._preparer.bring_needed(self.prepared, name)

    # --- the thread ------------------------------------------------------------------------------------------------

    def _run(self, effect: effects.Restore) -> None:
        try:
            event = self._bring(self._preparer.prepare(effect.avoid), effect)
        except StoreError as error:
            self._put(self._unreached(error))
        except HoldfastError as error:
            self._put(events.RestoreFailed(str(error), error.exit_code))
        except OSError as error:
            self._put(events.RestoreFailed(f"--work-dir {self._settings.work_dir}: {error}", Exit.USAGE))
        except Exception as error:
            self._put(events.RestoreFailed(f"a defect in holdfast: {error!r}", Exit.FAILED))
            raise
        else:
            self._put(event)
            self.brought.set()  # after the news of it: what the training says must come later

    def _unreached(self, error: StoreError) -> events.RestoreFailed:
        """A store of no use is taken for a wrong setting, but not where a state of this machine waits for it."""
        left = only_here(self._settings.work_dir, self._settings.name)
        if left is None:
            return events.RestoreFailed(str(error), Exit.USAGE)
        return events.RestoreFailed(f"{error}; the last state is on this machine alone: {left}.*", Exit.UNSTORED)

    def _bring(self, prepared: Prepared | None, effect: effects.Restore) -> events.Event:
        if prepared is None:
            return self._complete(self._preparer.complete)
        self.prepared = prepared
        if self.uploader is None:
            self._begin_uploading(prepared)
        self._report_owed(prepared)
        if over := prepared.over or effect.only_store:
            return events.Restored(over=over, out_of_time=bool(prepared.over))
        if not self._settings.restore_first:
            self._put(events.Ready(pairs=bool(prepared.found.newest_first)))
        self.resume = resume = self._preparer.bring(prepared, effect.avoid)
        if resume is not None:
            self._report_changes(resume)
        if resume is None:
            return events.Restored()
        return events.Restored(checkpoint=str(resume.name), step=resume.name.step, midway=resume.reason != LAST_EPOCH)

    def _complete(self, run: RunId | None) -> events.Restored:
        """A complete run that is started by another command is as a rule meant to be a new one."""
        if run is None:
            return events.Restored(complete=True)
        found = changes(_origin_of(self._store, run), self._origin, ("command", "script_sha256"))
        return events.Restored(complete=True, run=str(run), otherwise="; ".join(found))

    def _report_changes(self, resume: Manifest) -> None:
        """Two starts of one command may end differently for reasons outside of it."""
        found = changes(resume.origin, self._origin)
        if found:
            text = f"not as it was when the checkpoint was made: {'; '.join(found)}. The result may differ"
            self._say("origin-changed", text, warning=True, changes=found)

    def _begin_uploading(self, prepared: Prepared) -> None:
        store = self._preparer.run_store
        artifacts = Artifacts(store, prepared.spool, self._settings.artifacts, self._say, self._clock, self._pressed)
        artifacts.restore(self._preparer.cancelled)
        prepared.spool.unmark_stored(prepared.owed)  # the store lost them: until it has them again they must stay
        self.uploader = self._make_uploader(prepared, artifacts)
        self.uploader.start()

    def _report_owed(self, prepared: Prepared) -> None:
        """Reports what an earlier start left, and pairs whose message was lost when the command died.

        The marks are believed: while the store is away, all that is here seems to be owed.
        """
        assert self.uploader is not None
        stored = set(prepared.spool.stored())
        for name in self.uploader.unknown(prepared.owed):
            if name not in stored:
                self._put(events.PairSpooled(str(name)))

    def _pressed(self) -> bool:
        return self.uploader is not None and self.uploader.gives_way

    def _seconds_left(self) -> float | None:
        return None if self.uploader is None else self.uploader.seconds_left()

    def _make_uploader(self, prepared: Prepared, artifacts: Artifacts) -> Uploader:
        run, spool, settings, store = str(prepared.run), prepared.spool, self._settings, self._preparer.run_store
        growing = growing_logs(spool, prepared.incarnation)
        logs = UploadLogs(store, growing, self._pressed, self._seconds_left, self._clock, self._reports.given_up)
        options = training_options(settings, self._store.uri, run, prepared.incarnation, self._redactor)
        with contextlib.suppress(OSError):  # a full disk must not stop the training
            write_whole(spool.file(OPTIONS_FILE), options, durable=False)
            logs.bring(f"{run}/{OPTIONS_FILE}", spool.file(OPTIONS_FILE))
        prune = Prune(store, run, settings.keep, prepared.found.stored, self._reports.prune_failed)
        newest = max((name.order for name in prepared.found.stored), default=(0, 0))
        return Uploader(
            store,
            spool,
            self._reports,
            (prune, logs, UploadArtifacts(artifacts)),
            self._preparer.finish,
            Retention(settings.keep_local),
            newest,
            set(prepared.found.local) - set(prepared.owed),
            clock=self._clock,
        )
