"""Debian's Chromium without a screen, by its own protocol over two pipes: no driver, no port."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-extensions")

_COMPLAINTS = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")


@dataclass
class Tab:
    """A page that was opened. ``complaints`` are lines of its console, and what the browser refused to load."""

    browser: _Browser
    session: str
    complaints: list[str] = field(default_factory=list)

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        found = self.browser.call("Runtime.evaluate", self, expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def picture(self, path: Path, height: int | None = None) -> None:
        """A PNG of the page, or of its first ``height`` pixels."""
        width, whole = self.ask("[innerWidth, document.documentElement.scrollHeight]")
        clip = {"x": 0, "y": 0, "width": width, "height": height or whole, "scale": 1}
        found = self.browser.call("Page.captureScreenshot", self, captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(found["data"]))


class _Browser:
    def __init__(self, receive: int, send: int) -> None:
        self._receive, self._send = os.fdopen(receive, "rb"), os.fdopen(send, "wb")
        self._numbers = itertools.count(1)
        self._left = b""

    def open(self, path: Path, width: int, dark: bool = False) -> Tab:
        """Opens a file in a window of that width, and waits until it is loaded."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        tab = Tab(self, self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable", tab)
        self.call("Emulation.setDeviceMetricsOverride", tab, width=width, height=900, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", tab, features=[scheme])
        self.call("Page.navigate", tab, url=path.absolute().as_uri())
        while self._hear(tab).get("method") != "Page.loadEventFired":
            pass
        return tab

    def call(self, method: str, tab: Tab | None = None, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        session = {} if tab is None else {"sessionId": tab.session}
        message = {"id": number, "method": method, "params": parameters, **session}
        self._send.write(json.dumps(message).encode() + b"\0")
        self._send.flush()
        while (answer := self._hear(tab)).get("id") != number:
            pass
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def _hear(self, tab: Tab | None) -> dict[str, Any]:
        while b"\0" not in self._left:
            chunk = self._receive.read1(1 << 16)
            assert chunk, "the browser is gone"
            self._left += chunk
        line, _, self._left = self._left.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        if tab is not None and message.get("method") in _COMPLAINTS:
            tab.complaints.append(json.dumps(message["params"])[:500])
        return message


@contextlib.contextmanager
def browser() -> Iterator[_Browser]:
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as profile:
        # The browser reads at 3 and writes at 4. Not every shell knows a number of two digits there.
        process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', "sh", "chromium", *_FLAGS,
             f"--user-data-dir={profile}", "--remote-debugging-pipe"],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        try:
            yield _Browser(ours_in, ours_out)
        finally:
            process.kill()
            process.wait()
