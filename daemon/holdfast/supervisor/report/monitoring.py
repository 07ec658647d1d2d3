"""What can be seen of a run from outside: the status file, and metrics and a webhook where they are asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .journal import Journal
from .ping import Ping
from .status import StatusFile
from .view import Watch
from .webhook import Notifier


@contextlib.contextmanager
def watched(journal: Journal, work_dir: Path, given: Mapping[str, Any]) -> Iterator[None]:
    """Raises SettingsError if the port or the URL cannot be used."""
    watch = Watch(journal, work_dir)
    with contextlib.ExitStack() as held:
        if given["notify_url"]:
            notifier = Notifier(given["notify_url"], lambda: watch.facts, journal.event)
            held.callback(notifier.close)
            journal.listen(notifier.heard)
        if given["ping_url"]:
            ping = Ping(given["ping_url"], lambda: watch.standing().executed, journal.event)
            held.callback(ping.close)
            journal.listen(ping.heard)
        if given["metrics_port"]:
            from .metrics import MetricsServer  # its library is loaded only by those who use it

            held.callback(MetricsServer(given["metrics_host"], given["metrics_port"], watch.standing).close)
        held.callback(StatusFile(watch, journal).close)
        yield
