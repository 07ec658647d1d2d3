"""``holdfast drill``: does this script end the same when it is interrupted? Tried, not argued.

The command runs undisturbed twice (a script that differs from itself is found out here), then once more on machines
that are interrupted at random batches. Each of them has an empty work dir, a fresh copy of the folder that the command
runs in, and the store. Then each fit's final state, its history and the artifacts are compared bit for bit, and the
batches that were executed are counted.
"""

from __future__ import annotations

import random
import re
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ..core.artifacts import FOLDER, shown
from ..core.errors import Exit, HoldfastError
from ..core.wording import count
from ..spool import Progress
from ..store.directory import DirectoryStore
from . import causes
from .compare_outputs import compare_files, contents, files_below
from .compare_runs import DataCompared, compare_runs
from .fake_imds import MetadataService
from .folder_copy import Deployment, missing
from .result import Interruption, Report
from .simulated_machine import DrillMachine

KINDS = ("notice", "sigterm", "sigkill")
RUN = "00001-drill"
_ON_ITS_WAY = 0.4
_LAST_LINES = 40
_NOT_FOUND = re.compile(r"No such file|not found|No module named|does not exist|unable to open", re.IGNORECASE)
# Nothing is tried twice: what fails once is a finding.
_QUICK = (
    *("--run", "drill", "--poll-interval", "0.05", "--max-restarts", "0"),
    *("--lease-heartbeat", "0.5", "--lease-expiry", "2"),
)


class _Left(NamedTuple):
    """What a machine's disk had at its end: digests of the artifacts, and of what was written to the working folder."""

    artifacts: Mapping[str, str]
    written: Mapping[str, str]


class _Undisturbed(NamedTuple):
    store: DirectoryStore
    batches: int
    pace: float
    left: _Left


class Drill:
    """One rehearsal. ``tell`` gets what happens, ``show`` the training's output; ``check`` may raise to end it all.

    Without a ``deployment`` all machines share the present folder.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        service: MetadataService,
        tell: Callable[[str], None],
        show: Callable[[str], None],
        check: Callable[[], None],
        deployment: Deployment | None = None,
        patience: float = 24 * 3600.0,
    ) -> None:
        self._command = command
        self._folder = folder
        self._service = service
        self._tell = tell
        self._show = show
        self._check = check
        self._deployment = deployment
        self._patience = patience
        self._said: list[str] = []
        self._output: deque[str] = deque(maxlen=_LAST_LINES)
        self._written: dict[str, str] = {}

    def run(self, interruptions: int, kinds: Sequence[str], seed: int) -> Report:
        """Raises HoldfastError if the command does not run, or stores nothing."""
        report = Report(seed)
        if self._deployment is not None:
            self._deployment.keep(self._folder / "deployed")
        self._tell("the reference: the command undisturbed")
        reference = self._undisturbed("reference")
        report.batches = reference.batches
        self._tell(f"{_batches(report.batches)}; once more, to see whether it equals itself")
        again = self._undisturbed("reference-again")
        itself = compare_runs(reference.store, again.store, RUN)
        report.differences, report.fits = itself.differences, itself.fits
        report.deterministic = not report.differences
        if not report.deterministic:
            report.problems.append("the command does not end the same even when nothing interrupts it")
            found = causes.of_an_unequal_reference(report.differences, itself.data, self._said)
            report.cause, report.remedy = found
            return report
        plan = _plan(report.batches - _margin(reference.pace), interruptions, kinds, random.Random(seed))
        last = self._interrupted(plan, report)
        if last is not None:
            data = self._compare(reference, again, itself.histories, last, report)
            self._judge(report, data)
        self._note_changes_at_home(report)
        return report

    # --- machines --------------------------------------------------------------------------------------------------

    def _undisturbed(self, name: str) -> _Undisturbed:
        with self._machine(name, f"{name}-store") as machine:
            machine.wait_until(lambda p: p.executed > 0, self._patience)
            began = time.monotonic()
            code = machine.wait(self._patience)
            took = time.monotonic() - began
            left = self._left(machine)
            self._remember(machine)
            executed = machine.vanish().executed
        if code != Exit.COMPLETE:
            raise HoldfastError(f"the command fails by itself (exit {code}); its output is above{self._hint()}")
        return _Undisturbed(DirectoryStore(self._folder / f"{name}-store"), executed, executed / took, left)

    def _hint(self) -> str:
        if self._deployment is None or not any(_NOT_FOUND.search(line) for line in self._output):
            return ""
        return "; it ran in a copy of its folder, and --share-folder runs it in the folder itself"

    def _interrupted(self, plan: list[tuple[int, str]], report: Report) -> _Left | None:
        """What the machine left that completed the training; None if one failed, which is in the report."""
        struck: tuple[str, int, Progress] | None = None
        for number, (step, kind) in enumerate([*plan, (0, "")]):
            started = time.monotonic()
            with self._machine(f"machine-{number + 1}", "interrupted-store") as machine:
                if struck is not None:
                    self._account(struck, machine, started, report)
                if kind and machine.wait_until(_reached(step), self._patience):
                    struck = (kind, step, self._strike(machine, kind, report))
                    continue
                code = machine.wait(self._patience)
                self._remember(machine)
                if code != Exit.COMPLETE:
                    self._failed(machine, code, report)
                    return None
                if kind:
                    report.problems.append(
                        f"interruption {number + 1} ({kind} at batch {step}) came too late: it had ended"
                    )
                report.executed += machine.progress().executed
                return self._left(machine)
        raise AssertionError("the last machine is not struck")

    def _strike(self, machine: DrillMachine, kind: str, report: Report) -> Progress:
        self._tell(f"{machine.name}: {kind} at batch {machine.progress().step}")
        if kind == "notice":
            self._service.interrupt()
        else:
            machine.send(signal.SIGKILL if kind == "sigkill" else signal.SIGTERM)
        code = machine.wait(self._patience)
        self._service.clear()
        if kind != "sigkill" and code != Exit.STOPPED:
            report.problems.append(f"{machine.name} ended with exit {code} after the {kind}, not with 75")
        self._remember(machine)
        self._left(machine)
        last = machine.vanish()
        report.executed += last.executed
        if not 0 < last.step < report.batches:
            report.problems.append(f"the {kind} struck at batch {last.step}, not between the first and the last")
        return last

    def _account(
        self, struck: tuple[str, int, Progress], machine: DrillMachine, started: float, report: Report
    ) -> None:
        """The next machine's first new batch tells what the interruption cost."""
        kind, planned, last = struck
        machine.wait_until(lambda p: p.executed > 0, self._patience)
        took = time.monotonic() - started
        trains = machine.progress().executed > 0
        redone = last.step - machine.resumed_at() if trains else 0
        report.interruptions.append(Interruption(kind, planned, last.step, redone, round(took, 2)))
        if trains:
            self._tell(f"{machine.name}: continues, {_batches(redone)} to redo, first new batch after {took:.1f} s")

    def _failed(self, machine: DrillMachine, code: int, report: Report) -> None:
        report.executed += machine.progress().executed
        report.problems.append(f"{machine.name} failed (exit {code}), where the undisturbed training did not")
        report.output = list(self._output)
        gone = [] if machine.folder is None else missing(self._written, machine.folder)
        report.cause, report.remedy = causes.of_a_failure(gone, report.output)

    def _remember(self, machine: DrillMachine) -> None:
        self._said += [event["text"] for event in machine.events() if event["event"] == "script"]

    def _left(self, machine: DrillMachine) -> _Left:
        written = {} if self._deployment is None else self._deployment.written(machine.disk / "root")
        left = _Left(contents(files_below(machine.work_dir / RUN / FOLDER)), contents(written))
        self._written |= dict.fromkeys(written, "")
        return left

    def _machine(self, name: str, store: str) -> DrillMachine:
        """All machines lie in the same place, one after the other: no path tells them apart."""
        disk = self._folder / "machine"
        self._output.clear()
        environment = {
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": self._service.endpoint,
            "AWS_EC2_METADATA_DISABLED": "false",
        }
        command, folder = self._command, None
        if self._deployment is not None:
            folder = self._deployment.install(disk / "root")
            command = self._deployment.command_in(disk / "root")
            environment |= self._deployment.environment_in(disk / "root")
        store = str(self._folder / store)
        return DrillMachine(name, disk, store, _QUICK, command, environment, self._line, self._check, folder)

    def _line(self, text: str) -> None:
        self._output.append(text)
        self._show(text)

    # --- the verdict -----------------------------------------------------------------------------------------------

    def _compare(
        self, reference: _Undisturbed, again: _Undisturbed, unstable: Sequence[str], last: _Left, report: Report
    ) -> DataCompared:
        found = compare_runs(reference.store, DirectoryStore(self._folder / "interrupted-store"), RUN)
        files = compare_files(reference.left.artifacts, again.left.artifacts, last.artifacts)
        report.differences = found.differences
        report.other_differences = [text for text in found.histories if text not in unstable]
        report.other_differences += [f"{FOLDER}/{name}" for name in files.differ]
        report.not_compared = [*unstable, *(f"{FOLDER}/{name}" for name in files.left_out)]
        report.identical = not report.differences and not report.other_differences
        outside = compare_files(reference.left.written, again.left.written, last.written)
        if outside.differ:
            report.notes.append(
                f"files in the working folder are not kept: {shown(outside.differ)} is missing at the end, or other "
                "than after the undisturbed training (what is under holdfast.run_dir() / 'artifacts' is kept)"
            )
        return found.data

    def _note_changes_at_home(self, report: Report) -> None:
        changed = [] if self._deployment is None else self._deployment.changed_at_home()
        if changed:
            report.notes.append(
                f"{shown(changed)} changed in the folder itself meanwhile: if the script did that, by an absolute path "
                "or a link, all machines share it, and the drill does not see whether it is read back"
            )

    def _judge(self, report: Report, data: DataCompared) -> None:
        redone = sum(i.redone for i in report.interruptions)
        for interruption in report.interruptions:
            if interruption.kind != "sigkill" and interruption.redone:
                report.problems.append(f"redone after a {interruption.kind}: {_batches(interruption.redone)}")
        if report.executed != report.batches + redone:
            report.problems.append(f"executed: {_batches(report.executed)}, where {report.batches + redone} explain it")
        started_over = any(i.redone == i.struck > 1 for i in report.interruptions if i.kind != "sigkill")
        if started_over:
            report.problems.append("the script started over instead of going on")
            report.cause, report.remedy = causes.STARTED_OVER
        if report.differences:
            report.problems.append("the interrupted training ended with another state")
        elif report.other_differences:
            report.problems.append("the interrupted training left another history, or other artifacts")
        if not report.identical and not started_over:
            report.cause, report.remedy = causes.of_a_difference(self._said, data, sorted(self._written))


def _reached(step: int) -> Callable[[Progress], bool]:
    return lambda progress: progress.step >= step


def _margin(pace: float) -> int:
    """Batches that go by while an interruption is on its way: the last ones can't be struck."""
    return 2 + int(pace * _ON_ITS_WAY)


def _plan(batches: int, interruptions: int, kinds: Sequence[str], chance: random.Random) -> list[tuple[int, str]]:
    """Which kind strikes after how many batches: every kind once before any twice, at different moments."""
    room = range(1, max(1, batches))
    if len(room) < interruptions:
        raise HoldfastError(f"there is no room for {interruptions} interruptions: let the command train for longer")
    moments = sorted(chance.sample(room, interruptions))
    order = [kinds[i % len(kinds)] for i in range(interruptions)]
    chance.shuffle(order)
    return list(zip(moments, order, strict=True))


def _batches(number: int) -> str:
    return count(number, "batch", "batches")
