"""What the effect Restore asks for, in a thread of its own: the lease, an uploader, and the pair to resume from.

The events that tell of it are core/machine/events.py's Ready, Restored and RestoreFailed.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from ..core import wire
from ..core.checkpoint_name import CheckpointName
from ..core.errors import Cancelled, Exit, HoldfastError, InvalidPair, SettingsError, StoreError
from ..core.event_sink import EventSink
from ..core.gang.messages import Prepare
from ..core.machine import effects, events
from ..core.manifest import LAST_EPOCH, Manifest
from ..core.policy import Retention
from ..core.preload import Preload
from ..core.redact import Redactor
from ..core.runs import RunId
from ..core.wording import count
from ..spool import LOG_FILE, only_here, write_whole
from ..store import Store
from ..store.catalog import list_pairs, read_manifest
from .gang.hub import Hub
from .gang.standing import Stand
from .messages_to_events import Reports
from .provenance import changes, training_options
from .restore.candidates import newest_here
from .restore.earlier_starts import earlier_starts
from .restore.lease import RemembersConditions
from .restore.opening import Prepared
from .restore.prepare import Preparer
from .settings import RunSettings
from .upload.artifacts import Artifacts
from .upload.between_pairs import Prune, UploadArtifacts, UploadLogs
from .upload.logs import growing_logs, size_of
from .upload.uploader import Uploader

OPTIONS_FILE = "training_options.json"
_LOOK_EVERY = 0.2
_OTHER_COUNT = (
    "the newest checkpoint, {0}, was trained by {1}, and now --ranks is {2}: give as many machines as before, or begin "
    "anew under another --run name"
)


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
        hub: Hub | None = None,
    ) -> None:
        self._hub = hub
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
        self._asked_for: CheckpointName | None = None
        self._earlier_known = False
        self._stand: Stand | None = None

    def start(self, effect: effects.Restore) -> None:
        self._avoid = effect.avoid
        self.brought.clear()
        thread = threading.Thread(target=self._run, args=(effect,), name="restore", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # at a restart, what is owed must be stored all the same
            self._put(events.RestoreFailed(f"the restore cannot begin: {error}", Exit.FAILED))

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
            every=self._settings.every,
            ranks=self._settings.ranks,
        )

    def remember_preload(self, preload: Preload | None) -> None:
        """For the next machine; in the channel's thread."""
        lease = self._preparer.lease
        if lease is not None:
            lease.preload = preload

    def bring_needed(self, name: CheckpointName) -> None:
        """Another pair than the newest, with the state of another training of the run. Raises HoldfastError."""
        assert self.prepared is not None
        if str(name) in self._avoid:
            raise InvalidPair("the training process could not use it")
        self._asked_for = name
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
            self._report_earlier_starts()

    def _report_earlier_starts(self) -> None:
        """Once, and last of all: a start must not wait for it."""
        if self.prepared is None or self._earlier_known:
            return
        self._earlier_known = True
        resumed = 0 if self.resume is None else self.resume.name.step
        before = None if self._preparer.lease is None else self._preparer.lease.before
        beats = {} if before is None else before.heartbeat
        found = earlier_starts(self._store, str(self.prepared.run), self.prepared.incarnation, resumed, beats)
        if found is not None:
            self._say(
                "earlier-starts",
                starts=found.starts,
                executed=found.executed,
                base=found.base,
                interruptions=found.interruptions,
                began=found.began,
                ended=found.ended,
                seconds=dict(found.seconds),
            )

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
        self._report_owed(prepared, prepared.owed)
        if over := prepared.over or effect.only_store:
            return events.Restored(over=over, out_of_time=bool(prepared.over))
        if not self._settings.restore_first and self._hub is None:
            self._put(events.Ready(pairs=bool(prepared.found.newest_first)))
        self.resume = resume = self._preparer.bring(prepared, effect.avoid)
        if resume is not None and resume.ranks != self._settings.ranks:
            raise SettingsError(_OTHER_COUNT.format(resume.name, count(resume.ranks, "machine"), self._settings.ranks))
        if self._hub is not None:
            self._gather(self._hub, prepared, resume)
        if resume is None:
            return events.Restored()
        self._report_owed(prepared, {resume.name}.difference(prepared.owed))  # newer ones in the store are of no use
        self._reports.changed(changes(resume.origin, self._origin), midway=resume.reason != LAST_EPOCH)
        if resume.name in prepared.found.stored and self.uploader is not None:
            self.uploader.begin_with(resume)
        return events.Restored(checkpoint=str(resume.name), step=resume.name.step, midway=resume.reason != LAST_EPOCH)

    def _gather(self, hub: Hub, prepared: Prepared, resume: Manifest | None) -> None:
        """Until all ranks are ready to begin from that pair. They bring it from the store: there it must be."""
        if resume is not None and resume.name not in prepared.found.stored:
            self._report_owed(prepared, {resume.name})
            self._wait_until_stored(resume.name)
        order = partial(
            Prepare,
            run=str(prepared.run),
            incarnation=prepared.incarnation,
            resume=None if resume is None else str(resume.name),
            every=self._settings.every,
            extended=self._settings.extend or self._settings.source is not None,
        )
        if self._stand is None:  # one for all starts: it tells them apart
            self._stand = Stand(prepared.spool)
        hub.gather(order, self._preparer.cancelled, self._settings.lease.wait, self._stand)

    def _wait_until_stored(self, name: CheckpointName) -> None:
        """An outage is waited out; the uploader says it. Raises Cancelled, and InvalidPair if it never can be."""
        assert self.prepared is not None
        assert self.uploader is not None
        said = False
        while name not in self.prepared.spool.stored() and name not in self.uploader.settled:
            if said and self._preparer.cancelled.wait(_LOOK_EVERY):
                raise Cancelled("gave up waiting for the store to have the newest checkpoint")
            if not said:
                said = True
                text = f"waiting until the store has {name}: the other ranks bring it from there"
                self._say("gang-waits", text, ranks=list(range(1, self._settings.ranks)))
        if name in self.uploader.lost:
            raise InvalidPair(f"{name} is on this machine only and cannot be stored, so the other ranks cannot have it")

    def _complete(self, run: RunId | None) -> events.Restored:
        """A complete run that is started by another command is as a rule meant to be a new one."""
        if run is None:
            return events.Restored(complete=True)
        found = changes(_origin_of(self._store, run), self._origin, ("command", "script_sha256"))
        return events.Restored(complete=True, run=str(run), otherwise="; ".join(found))

    def _begin_uploading(self, prepared: Prepared) -> None:
        store = self._preparer.run_store
        artifacts = Artifacts(store, prepared.spool, self._settings.artifacts, self._say, self._clock, self._pressed)
        lease = self._preparer.lease
        artifacts.restore(self._preparer.cancelled, continues=lease is None or lease.continues)
        prepared.spool.unmark_stored(prepared.owed)  # the store lost them: until it has them again they must stay
        self._say(
            "machine",
            host=socket.gethostname(),
            disk=prepared.spool.identity().partition("-")[0],
            ranks=self._settings.ranks,
            cpu=self._origin.get("cpu", ""),
            versions=self._origin.get("versions", {}),
            log=size_of(prepared.spool.file(LOG_FILE)),
        )
        self.uploader = uploader = self._make_uploader(prepared, artifacts)
        self._preparer.start_thread(uploader.start)

    def _report_owed(self, prepared: Prepared, names: Iterable[CheckpointName]) -> None:
        """Reports what an earlier start left, and pairs whose message was lost when the command died.

        The marks are believed: while the store is away, all that is here seems to be owed.
        """
        assert self.uploader is not None
        stored = set(prepared.spool.stored())
        for name in self.uploader.unknown(names):
            if name not in stored:
                self._put(events.PairSpooled(str(name)))

    def _in_use(self) -> list[CheckpointName] | None:
        """Newer pairs that are of no use must not drive these from this machine: they may be the only valid ones.

        The command has read the pair that it resumes from when it has saved one itself.
        """
        if self.prepared is None or not self.brought.is_set():
            return None
        using = [] if self._asked_for is None else [self._asked_for]
        saved = (name for name in self.prepared.spool.pairs() if name.incarnation == self.prepared.incarnation)
        resume = None if self.resume is None else self.resume.name
        if resume and not any(n.finite and n.order > resume.order and str(n) not in self._avoid for n in saved):
            using.append(resume)
        return using

    def _is_incarnation_ours(self) -> bool:
        """On a store without create-only writes two machines may take one incarnation in the same moment."""
        return not isinstance(self._store, RemembersConditions) or self._store.creates is True

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
            prepared.incarnation if self._is_incarnation_ours() else 0,
            self._in_use,
            clock=self._clock,
        )
