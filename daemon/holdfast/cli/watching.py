"""The options of ``holdfast run`` for monitoring it, and what they start."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from ..supervisor.report.journal import Journal
from ..supervisor.report.status import StatusFile
from ..supervisor.report.view import Watch
from ..supervisor.report.webhook import Notifier
from .options import option

F = TypeVar("F", bound=Callable[..., Any])


def watch_options(function: F) -> F:
    for decorate in reversed(
        [
            option(
                "--metrics-port", type=click.IntRange(0, 65535), default=0, help="Serve /metrics and /healthz; 0: off."
            ),
            option("--metrics-host", default="127.0.0.1", metavar="ADDRESS", help="Where to serve them."),
            option("--log-format", type=click.Choice(["text", "json"]), default="text", help="holdfast's own lines."),
            option("--notify-url", metavar="URL", help="POST JSON here on an interruption, a failure, a completion."),
        ]
    ):
        function = decorate(function)
    return function


@contextlib.contextmanager
def watched(journal: Journal, work_dir: Path, given: Mapping[str, Any]) -> Iterator[None]:
    """Raises SettingsError if the port or the URL cannot be used."""
    watch = Watch(journal, work_dir)
    with contextlib.ExitStack() as held:
        if given["notify_url"]:
            notifier = Notifier(given["notify_url"], lambda: watch.facts, journal.event)
            held.callback(notifier.close)
            journal.listen(notifier.heard)
        if given["metrics_port"]:
            from ..supervisor.report.metrics import MetricsServer  # its library is loaded only by those who use it

            held.callback(MetricsServer(given["metrics_host"], given["metrics_port"], watch.standing).close)
        held.callback(StatusFile(watch, journal).close)
        yield
