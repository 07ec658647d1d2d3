"""``--ping-url``: a dead man's switch, in the manner of healthchecks.io.

A GET of the URL while batches are done, of URL/start at the command's start, of URL/fail at an end that needs somebody.
Who watches it notices a training that makes no progress, whatever the reason, by the silence.
"""

from __future__ import annotations

import queue
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

from ...core.errors import Exit
from ...core.event_sink import EventSink
from .webhook import check_url, http_opener, problem_of

EVERY = 60.0
_TIMEOUT = 5.0
_LAST_PING = 2.0
_WELL = (Exit.COMPLETE, Exit.STOPPED)


class Ping:
    """``executed`` is how many batches this start did. A ping that fails is a warning once, until one succeeds."""

    def __init__(self, url: str, executed: Callable[[], int], say: EventSink, every: float = EVERY) -> None:
        self._url = url
        self._shown = check_url(url, "--ping-url")
        self._executed = executed
        self._say = say
        self._every = every
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._failing = False
        self._opener = http_opener()
        self._started = False
        self._thread = threading.Thread(target=self._run, name="ping", daemon=True)
        self._thread.start()

    def heard(self, kind: str, event: Mapping[str, Any]) -> None:
        """A listener of the journal's."""
        if kind == "started" and not self._started:
            self._started = True
            self._queue.put("start")
        elif kind == "exit" and event["code"] not in _WELL:
            self._queue.put("fail")
        elif kind == "exit" and self._started:
            self._queue.put("")

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join(_LAST_PING)

    def _run(self) -> None:
        before = 0
        while True:
            try:
                what = self._queue.get(timeout=self._every)
            except queue.Empty:
                now = self._executed()
                if now > before:
                    before = now
                    self._send("")
                continue
            if what is None:
                return
            self._send(what)

    def _send(self, what: str) -> None:
        problem = self._get(address(self._url, what))
        if problem and not self._failing:
            self._say("ping-failed", f"--ping-url ({self._shown}): {problem}", warning=True)
        self._failing = bool(problem)

    def _get(self, url: str) -> str:
        request = urllib.request.Request(url, headers={"User-Agent": "holdfast"})  # noqa: S310  # the scheme was checked
        return problem_of(self._opener, request, _TIMEOUT)


def address(url: str, what: str) -> str:
    """``https://host/uuid?x=1`` and ``fail`` make ``https://host/uuid/fail?x=1``."""
    parts = urllib.parse.urlsplit(url)
    path = f"{parts.path.rstrip('/')}/{what}" if what else parts.path
    return urllib.parse.urlunsplit(parts._replace(path=path))
