"""``--notify-url``: a POST of JSON on an interruption, a failure and a completion.

In a thread of its own: nothing waits for it but the exit, and that for two seconds. What cannot be delivered becomes a
warning without the URL's path, which often is the secret.
"""

from __future__ import annotations

import json
import queue
import socket
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from ...core.errors import Exit, SettingsError
from ...core.event_sink import EventSink
from ...core.view import Facts

_TIMEOUT = 5.0
_TRIES = 3
_LAST_WORDS = 2.0


class Notifier:
    """Posts the journal's events. ``close`` waits a little for what is on its way.

    A failed post is repeated after ``pause`` seconds, and after twice as many.
    """

    def __init__(self, url: str, facts: Callable[[], Facts], say: EventSink, pause: float = 1.0) -> None:
        self._url = url
        self._shown = check_url(url)
        self._facts = facts
        self._say = say
        self._pause = pause
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._opener = http_opener()
        self._thread = threading.Thread(target=self._run, name="notify", daemon=True)
        self._thread.start()

    def heard(self, kind: str, event: Mapping[str, Any]) -> None:
        """A listener of the journal's."""
        what = happened(kind, event, self._facts())
        if what is not None:
            self._queue.put(json.dumps(what).encode())

    def close(self) -> None:
        self._closed.set()
        self._queue.put(None)
        self._thread.join(_LAST_WORDS)

    def _run(self) -> None:
        while (body := self._queue.get()) is not None:
            error = ""
            for number in range(_TRIES):
                if number:
                    self._closed.wait(self._pause * number)
                error = self._post(body)
                if not error:
                    break
            if error:
                self._say("notify-failed", f"--notify-url ({self._shown}): {error}", warning=True)

    def _post(self, body: bytes) -> str:
        """What went wrong, if anything."""
        request = urllib.request.Request(  # noqa: S310  # the scheme was checked, and the opener knows no other
            self._url, data=body, headers={"Content-Type": "application/json", "User-Agent": "holdfast"}, method="POST"
        )
        return problem_of(self._opener, request, _TIMEOUT)


def happened(kind: str, event: Mapping[str, Any], facts: Facts) -> dict[str, Any] | None:
    """The message that an event calls for, if any. ``facts`` are those after it.

    A run that was complete already is no news: units start such a run again and again.
    """
    what = None
    if kind == "stopping" and facts.counts["stopping"] == 1 and facts.counts.get("started"):
        what = "interruption"
    elif kind == "exit" and event["code"] == Exit.COMPLETE and facts.counts.get("started"):
        what = "completion"
    elif kind == "exit" and event["code"] not in (Exit.COMPLETE, Exit.STOPPED):
        what = "failure"
    if what is None:
        return None
    stored = facts.stored
    return {
        "event": what,
        "text": _text(what, event, facts),
        "at": datetime.fromisoformat(event["at"]).isoformat(),
        "run": facts.run,
        "host": socket.gethostname(),
        "incarnation": facts.incarnation,
        "stored_step": None if stored is None else stored.step,
        "exit_code": event.get("code"),
    }


def _text(what: str, event: Mapping[str, Any], facts: Facts) -> str:
    run = f"run {facts.run}" if facts.run else "a run"
    if what == "completion":
        return f"{run} is complete"
    return f"{run}: {event['text'] if what == 'interruption' else facts.text or 'failed'}"


def check_url(url: str, setting: str = "--notify-url") -> str:
    """The part of the URL that may be shown. Raises SettingsError for anything but http and https."""
    try:
        parts = urllib.parse.urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        raise SettingsError(f"{setting}: it is not a URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError(f"{setting}: give an http:// or https:// URL")
    return f"{parts.scheme}://{parts.hostname}{port}"


def http_opener() -> urllib.request.OpenerDirector:
    """Knows HTTP only, by the environment's proxies, and follows no redirection: the URL that was given is meant."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


def problem_of(opener: urllib.request.OpenerDirector, request: urllib.request.Request, timeout: float) -> str:
    """Sends a request. What went wrong, if anything, without the URL."""
    try:
        with opener.open(request, timeout=timeout) as answer:
            return "" if 200 <= answer.status < 300 else f"HTTP {answer.status}"
    except urllib.error.HTTPError as error:
        error.close()
        return f"HTTP {error.code}"
    except urllib.error.URLError as error:
        return _reason(error.reason)
    except Exception as error:  # http.client has many, and a URL may be in their texts
        return type(error).__name__


def _reason(reason: object) -> str:
    return (reason.strerror if isinstance(reason, OSError) else None) or type(reason).__name__
