"""The test's side of driver.py: cases are started there, killed, started again, and what they left is judged."""

from __future__ import annotations

import json
import os
import queue
import random
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from holdfast.core.checkpoint_name import CheckpointName
from holdfast.spool import Spool, check_file
from holdfast.store import StoreSettings, open_store
from holdfast.store.catalog import list_pairs, read_manifest

from .driver import PAIRS, holds

RUN = "00001-crash"
PATIENCE = 60.0


class Driver:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def run(self, case: dict[str, Any], attach: Callable[[int], object] = lambda pid: None) -> int:
        """The child's exit code, negative for a signal. ``attach`` is called before it does anything."""
        assert self._process.stdin is not None
        print(json.dumps(case), file=self._process.stdin, flush=True)
        pid = int(self._lines.get(timeout=PATIENCE))
        attach(pid)
        os.kill(pid, signal.SIGCONT)
        return int(self._lines.get(timeout=PATIENCE))

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)


@contextmanager
def driver() -> Iterator[Driver]:
    words = [sys.executable, "-m", "faults.driver"]
    tests = Path(__file__).parents[1]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tests) as process:
        yield Driver(process)
        assert process.stdin is not None
        process.stdin.close()


class Place:
    """Where one case works: a store, a work dir, and the report of what it did."""

    def __init__(
        self,
        folder: Path,
        store: str,
        endpoint: str | None = None,
        direct: str | None = None,
        frozen: int = 0,
        pairs: int = PAIRS,
    ) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.report = folder / "report"
        self.case = {"store": store, "work_dir": str(folder / "work"), "report": str(self.report), "endpoint": endpoint}
        self.case |= {"frozen": frozen, "pairs": pairs}
        self._pairs = pairs
        self.store = open_store(store, StoreSettings(endpoint_url=direct or endpoint))

    def said(self, word: str, after: int = 0) -> list[str]:
        return [line.partition(" ")[2] for line in self.lines()[after:] if line.split()[0] == word]

    def lines(self) -> list[str]:
        return self.report.read_text().splitlines() if self.report.exists() else []

    def check_after_the_kill(self) -> None:
        """What was reported as stored is there, whole, and what is there is whole."""
        present = {str(name): name for name in list_pairs(self.store, RUN)} if self._began() else {}
        for stored in set(self.said("stored")) - set(self.said("removing")):
            assert stored in present, f"{stored} was reported as stored"
        for name in present.values():
            self._check_pair(name)

    def _began(self) -> bool:
        return bool(self.store.list(f"{RUN}/"))

    def _check_pair(self, name: CheckpointName) -> None:
        manifest, back = read_manifest(self.store, RUN, name), self.folder / "back"
        for part, record in manifest.files.items():
            self.store.fetch(f"{RUN}/{name.file(part)}", back)
            check_file(back, record)
            if part == "h5":
                assert holds(back, name.step)

    def check_after_the_restart(self, lines_before: int, step_before: int) -> None:
        """It went on from what was stored, and came to the undisturbed end."""
        assert self.said("damaged") == []
        if not self.said("complete", lines_before):  # else the kill came after the mark was set
            (resumed,) = self.said("resumed", lines_before)
            assert int(resumed) >= step_before
            assert self.said("done", lines_before) == [""]
        (newest, *others) = list_pairs(self.store, RUN)
        assert newest.step == self._pairs
        self._check_pair(newest)
        for other in others:
            assert str(other) in self.said("removing"), "removing was begun before the kill, or never"
        spool = Spool(self.folder / "work" / RUN)
        for name in spool.pairs():
            spool.verify(spool.manifest(name))

    def newest_stored_step(self) -> int:
        names = [CheckpointName.parse(text) for text in self.said("stored")]
        return max((name.step for name in names if name), default=0)


def kill_everywhere(
    driver: Driver, places: Callable[[int], Place], kill: Callable[[Place, int], int], least: int, every: int = 1
) -> int:
    """Kills at the first effect, the second, and so on, until nothing is left to kill at. Returns how often.

    With ``every``, it begins at a random one of the first ``every``, and leaves out ``every`` - 1 between two kills.
    """
    number = 1 + random.SystemRandom().randrange(every)
    kills = 0
    while True:
        place = places(number)
        code = kill(place, number)
        if code == 0:
            break
        assert code == -signal.SIGKILL, f"at effect {number}"
        place.check_after_the_kill()
        lines, step = len(place.lines()), place.newest_stored_step()
        assert driver.run(place.case) == 0, f"the restart after a kill at effect {number}"
        place.check_after_the_restart(lines, step)
        number += every
        kills += 1
    assert kills >= least, "the kills hit what they were meant for"
    return kills


def strace(pid: int, call: str, number: int, log: Path) -> None:
    """Attaches to a stopped process: it dies by SIGKILL when it enters that call for the ``number``-th time."""
    process = subprocess.Popen(
        [
            *("strace", "-f", "-p", str(pid), "-o", str(log)),
            *("-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={number}"),
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if re.search(r"Process \d+ attached", line):
            break
    else:
        raise AssertionError(f"strace did not attach to {pid}")
    threading.Thread(target=_drain, args=(process,), daemon=True).start()


def _drain(process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    with process.stderr:
        for _ in process.stderr:
            pass
    process.wait()
