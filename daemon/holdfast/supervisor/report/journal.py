"""What happened, twice: events.jsonl for programs, lines on standard error for people. docs/events.md has the kinds."""

from __future__ import annotations

import contextlib
import json
import queue
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ...core.event_sink import TextSink
from ...core.redact import Redactor
from ...spool import append_to

NOTHING_SECRET = Redactor({})
_LEVELS = {"error": 3, "warning": 4, "info": 6, "debug": 7}
_ERRORS = ("failed", "fenced")
Listener = Callable[[str, Mapping[str, Any]], None]

_MOST_WAITING = 10_000
_LAST_LINES = 1.0


class Console:
    """Writes in a thread of its own: a terminal or pipe that nobody reads must not hold up the supervisor.

    What does not fit into the queue is dropped; the events are in events.jsonl all the same.
    """

    def __init__(self, stream: TextSink) -> None:
        self._stream = stream
        self._queue: queue.Queue[str | None] = queue.Queue(_MOST_WAITING)
        self._thread = threading.Thread(target=self._run, name="console", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(line)

    def close(self) -> None:
        """Waits a little for what is still to be shown."""
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(None)
        self._thread.join(_LAST_LINES)

    def _run(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # the reader is gone
            while (line := self._queue.get()) is not None:
                self._stream.write(line)
                self._stream.flush()


class Journal:
    """Keeps events until the run's folder is known, then appends them to its events.jsonl. Tells no secret.

    ``as_json`` makes the console's lines JSON objects, like those of the file and with a level. ``levels``: the console
    is systemd's journal, and each line begins with its level (sd-daemon(3)).
    """

    def __init__(
        self,
        console: TextSink | None,
        redactor: Redactor = NOTHING_SECRET,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
        as_json: bool = False,
        levels: bool = False,
    ) -> None:
        self._console = None if console is None else Console(console)
        self._redactor = redactor
        self._levels = levels
        self._wall = wall
        self._as_json = as_json
        self._listeners: list[Listener] = []
        self._lock = threading.Lock()
        self._waiting: list[str] = []
        self._path: Path | None = None

    def listen(self, listener: Listener) -> None:
        """``listener(kind, event)`` receives each event from the next one on, in order; ``event`` is its whole line.

        It is called in the thread that reports, so it must be quick, and it must not report anything itself.
        """
        with self._lock:
            self._listeners.append(listener)

    @property
    def folder(self) -> Path | None:
        """The run's folder, once it is known."""
        with self._lock:
            return None if self._path is None else self._path.parent

    def attach(self, path: Path) -> None:
        with self._lock:
            self._path = path
            waiting, self._waiting = self._waiting, []
            for line in waiting:
                self._append(line)

    def event(self, kind: str, text: str = "", *, warning: bool = False, debug: bool = False, **facts: Any) -> None:
        """``kind`` and ``facts`` are for programs; ``text``, if any, is shown to people.

        With ``debug`` it is shown only where lines have a level.
        """
        at = self._wall().isoformat(timespec="milliseconds")
        text, facts = self._redactor.text(text), self._redactor.value(facts)
        event = {"at": at, "event": kind, "text": text, **({"warning": True} if warning else {}), **facts}
        line = json.dumps(event)
        with self._lock:
            if self._path is None:
                self._waiting.append(line)
            else:
                self._append(line)
            if text and self._console is not None and (self._as_json or self._levels or not debug):
                level = "error" if kind in _ERRORS else "warning" if warning else "debug" if debug else "info"
                self._console.write(self._spelled(level, event))
            for listener in self._listeners:
                with contextlib.suppress(Exception):  # a listener must not disturb the training
                    listener(kind, event)

    def _spelled(self, level: str, event: Mapping[str, Any]) -> str:
        if self._as_json:
            return json.dumps({"level": level, **event}) + "\n"
        label = "" if level == "info" else f"{level}: "
        mark = f"<{_LEVELS[level]}>" if self._levels else ""
        return "".join(f"{mark}{line}\n" for line in f"holdfast: {label}{event['text']}".split("\n"))

    def _append(self, line: str) -> None:
        with contextlib.suppress(OSError):  # a full disk must not stop the training
            assert self._path is not None
            with append_to(self._path) as file:
                file.write(line.encode() + b"\n")

    def close(self) -> None:
        if self._console is not None:
            self._console.close()
