"""``/metrics`` for Prometheus and ``/healthz``, read from how this start stands (supervisor/report/view.py).

Names follow Prometheus' conventions: base units, ``_total`` for what only grows. What is not known yet is not there.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.exposition import choose_encoder

from ... import __version__
from ...core.errors import SettingsError
from ...core.machine.table import Phase
from ...core.view import Facts, Mark
from .view import Standing

_COUNTED = {
    "saved": ("holdfast_checkpoints_saved", "Checkpoints that the training wrote into the work dir."),
    "stored": ("holdfast_checkpoints_stored", "Checkpoints that came into the store, manifest and all."),
    "skipped": ("holdfast_checkpoints_skipped", "Checkpoints that a newer one made unnecessary to store."),
    "pair-lost": ("holdfast_checkpoints_lost", "Checkpoints that can never be stored."),
    "left-behind": ("holdfast_checkpoints_left_behind", "Checkpoints that could not make it before a deadline."),
    "save-failed": ("holdfast_save_failures", "Checkpoints that the training could not write, or did not at its end."),
    "store-away": ("holdfast_store_failures", "Calls to the store that failed and were tried again."),
    "stalled": ("holdfast_stalls", "Times that the command was found to hang (--stall-timeout)."),
    "crashed": ("holdfast_crashes", "Times that the command failed and was to be started again."),
}


class Metrics:
    """A collector. ``wall`` is seconds since 1970."""

    def __init__(self, standing: Callable[[], Standing], wall: Callable[[], float] = time.time) -> None:
        self._standing = standing
        self._wall = wall

    def collect(self) -> Iterator[Metric]:
        standing, now = self._standing(), self._wall()
        yield from _of_the_run(standing.facts)
        yield from _of_progress(standing)
        yield from _of_all_starts(standing)
        yield from _of_checkpoints(standing, now)
        yield from _of_interruptions(standing.facts, now)


def _of_the_run(facts: Facts) -> Iterator[Metric]:
    info = GaugeMetricFamily("holdfast_info", "The version, and the run that is worked on.", labels=["version", "run"])
    info.add_metric([__version__, facts.run or ""], 1)
    yield info
    phases = GaugeMetricFamily("holdfast_phase", "1 for the phase that the supervisor is in.", labels=["phase"])
    for phase in Phase:
        phases.add_metric([phase.value], float(facts.phase == phase.value))
    yield phases
    if facts.incarnation is not None:
        yield _gauge("holdfast_lease_incarnation", "The number of the lease that is held.", facts.incarnation)
    yield _counter("holdfast_restarts", "Starts of the command after the first.", facts.restarts)
    yield _counter(
        "holdfast_orphans", "Processes below the command that lost their parent and were reaped.", facts.orphans
    )
    if facts.gang > 1:
        yield _gauge("holdfast_ranks", "The machines that train together; on rank 0.", facts.gang)
        yield _gauge("holdfast_ranks_joined", "Those of them that are there.", 1 + len(facts.ranks))
        text = "Times that a rank's machine, or the connection to it, was lost."
        yield _counter("holdfast_gang_losses", text, facts.counts.get("gang-lost", 0))
    events = CounterMetricFamily("holdfast_events", "Events by kind (docs/events.md).", labels=["event"])
    for kind, count in sorted(facts.counts.items()):
        events.add_metric([kind], count)
    yield events


def _of_progress(standing: Standing) -> Iterator[Metric]:
    progress = standing.progress
    yield _gauge("holdfast_epoch", "The epoch that is being trained, from 0.", progress.epoch)
    yield _gauge("holdfast_step", "Batches done in the whole run, all machines counted.", progress.step)
    course, at = standing.facts.course, (progress.epoch, progress.batch)
    for name, text, value in (
        ("holdfast_epochs", "The epochs that the training is to do.", course.epochs),
        ("holdfast_epoch_batches", "The batches of an epoch.", course.batches),
        ("holdfast_progress_ratio", "The share of the training that is done.", course.share(*at)),
        ("holdfast_batch_seconds", "Seconds that a batch takes, validation and all.", course.batch_seconds),
        ("holdfast_training_left_seconds", "Seconds until all epochs are done.", course.seconds_left(*at)),
    ):
        if value is not None:
            yield _gauge(name, text, value)
    yield _counter(
        "holdfast_batches_executed", "Batches executed since this start, repeated ones too.", standing.executed
    )
    if standing.useful_batches is not None:
        text = "The share of the batches executed since this start that were not lost or done again."
        yield _gauge("holdfast_useful_batches_ratio", text, standing.useful_batches)


def _of_all_starts(standing: Standing) -> Iterator[Metric]:
    """There once the events of the earlier ones were read."""
    earlier, seconds = standing.facts.earlier, standing.run_seconds
    if earlier is None or seconds is None:
        return
    yield _gauge("holdfast_run_starts", "Starts of holdfast on this run, this one too.", earlier.starts + 1)
    text = "Starts of this run that were interrupted, or ended without a word."
    yield _gauge("holdfast_run_interruptions", text, earlier.interruptions)
    text = "Seconds of the whole run, over all its starts, by what they were used for (holdfast report)."
    times = GaugeMetricFamily("holdfast_run_seconds", text, labels=["kind"])
    for kind, value in seconds.items():
        times.add_metric([kind], value)
    yield times
    runtime, overall = standing.run_goodput
    shares: tuple[tuple[str, str, float | None], ...] = (
        (
            "holdfast_run_batches_executed",
            "Batches executed in the whole run, over all its starts, repeated ones too.",
            standing.run_executed,
        ),
        (
            "holdfast_run_useful_batches_ratio",
            "The share of the batches executed in the whole run that were not lost or done again.",
            standing.run_useful_batches,
        ),
        (
            "holdfast_run_runtime_goodput_ratio",
            "The share of the time with a machine at work, over all starts of the run, that is training or validation "
            "that counts.",
            runtime,
        ),
        ("holdfast_run_overall_goodput_ratio", "That share of the time since the run began.", overall),
    )
    for name, text, share in shares:
        if share is not None:
            yield _gauge(name, text, share)


def _of_checkpoints(standing: Standing, now: float) -> Iterator[Metric]:
    facts = standing.facts
    for kind, (name, text) in _COUNTED.items():
        yield _counter(name, text, facts.counts.get(kind, 0))
    yield _counter("holdfast_stored_bytes", "Bytes of the checkpoints that came into the store.", facts.size)
    text = "Seconds from a checkpoint's snapshot until its files in the work dir were whole."
    yield SummaryMetricFamily("holdfast_save_seconds", text, facts.counts.get("saved", 0), facts.save_seconds)
    text = "Seconds that storing a checkpoint took."
    yield SummaryMetricFamily("holdfast_store_duration_seconds", text, facts.counts.get("stored", 0), facts.seconds)
    yield from _of_newest("saved", facts.saved, now)
    yield from _of_newest("stored", facts.stored, now)
    if facts.interval is not None and facts.at_risk is not None:
        text = "Seconds between two checkpoints, as --every auto decided."
        yield _gauge("holdfast_save_interval_seconds", text, facts.interval)
        text = "Seconds of training that a loss of this machine without notice costs at most, with --every auto."
        yield _gauge("holdfast_at_risk_seconds", text, facts.at_risk)
    if standing.owed is not None:
        yield _gauge("holdfast_checkpoints_owed", "Checkpoints in the work dir that the store lacks.", standing.owed)
    yield _counter("holdfast_artifacts_stored", "Artifacts that came into the store.", facts.artifacts)
    yield _counter("holdfast_artifacts_stored_bytes", "Bytes of those artifacts.", facts.artifacts_size)


def _of_newest(what: str, mark: Mark | None, now: float) -> Iterator[Metric]:
    if mark is not None:
        name = f"holdfast_last_{what}"
        yield _gauge(f"{name}_step", f"The step of the newest checkpoint that was {what}.", mark.step)
        yield _gauge(f"{name}_timestamp_seconds", f"When that one was {what}, since 1970.", mark.at)
        yield _gauge(f"{name}_age_seconds", f"Seconds since that one was {what}.", max(0.0, now - mark.at))


def _of_interruptions(facts: Facts, now: float) -> Iterator[Metric]:
    notices = CounterMetricFamily("holdfast_notices", "Interruption notices by kind.", labels=["kind"])
    for kind, count in sorted(facts.notices.items()):
        notices.add_metric([kind], count)
    yield notices
    yield _gauge("holdfast_notice_standing", "1 while an interruption notice stands.", facts.notice is not None)
    if facts.until is not None:
        left = max(0.0, facts.until - now)
        yield _gauge("holdfast_drain_left_seconds", "Seconds that the stop under way may still take.", left)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, float(value))


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, float(value))


class MetricsServer:
    """Serves until ``close``. Raises SettingsError if the address can't be had."""

    def __init__(self, host: str, port: int, standing: Callable[[], Standing]) -> None:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(Metrics(standing))
        ProcessCollector(registry=registry)

        class Handler(_Handler):
            pages = {"/metrics": _metrics_page(registry), "/healthz": _health_page(standing)}  # noqa: RUF012

        try:
            self._server = ThreadingHTTPServer((host, port), Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise SettingsError(f"--metrics-port {port}: {host} cannot be listened on: {reason}") from None
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


_Page = Callable[[str], tuple[int, str, bytes]]
"""Of what the client accepts: a status, a content type and a body."""


def _metrics_page(registry: CollectorRegistry) -> _Page:
    def page(accept: str) -> tuple[int, str, bytes]:
        encode, content_type = choose_encoder(accept)
        return 200, content_type, encode(registry)

    return page


def _health_page(standing: Callable[[], Standing]) -> _Page:
    """Healthy is a supervisor whose loop runs. Whether a training makes progress is for alerts to judge."""

    def page(accept: str) -> tuple[int, str, bytes]:
        facts = standing().facts
        healthy = threading.main_thread().is_alive() and facts.phase != Phase.FAILED.value
        body = {"healthy": healthy, "run": facts.run, "phase": facts.phase}
        return 200 if healthy else 503, "application/json", json.dumps(body).encode() + b"\n"

    return page


class _Handler(BaseHTTPRequestHandler):
    pages: dict[str, _Page]
    timeout = 10.0
    server_version = "holdfast"
    sys_version = ""

    def do_GET(self) -> None:
        page = self.pages.get(self.path.partition("?")[0])
        status, kind, body = (
            page(self.headers.get("Accept", "")) if page else (404, "text/plain", b"/metrics, /healthz\n")
        )
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Silent: the console is the training's."""
