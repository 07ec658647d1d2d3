"""``holdfast drill``: does this script end the same when it is interrupted? Tried, not argued.

The command runs undisturbed twice (a script that differs from itself is found out here), then once more on machines
that are interrupted at random batches. Each of them has an empty work dir, a fresh copy of the folder that the command
runs in, and the store. Then each fit's final state, its history and the artifacts are compared bit for bit, and the
batches that were executed are counted. Where several machines train together, all of that is rank 0's.
"""

from __future__ import annotations

import random
import re
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from ..core.artifacts import FOLDER, shown
from ..core.errors import Exit, HoldfastError
from ..core.wording import count
from ..spool import Progress
from ..store.directory import DirectoryStore
from . import causes
from .compare_outputs import compare_files, contents, files_below
from .compare_runs import DataCompared, compare_runs
from .folder_copy import missing
from .machine_group import MachineGroup, Site
from .plan import Strike, plan
from .result import Interruption, Report
from .simulated_machine import DrillMachine

RUN = "00001-drill"
_ON_ITS_WAY = 0.4
_LAST_LINES = 40
_NOT_FOUND = re.compile(r"No such file|not found|No module named|does not exist|unable to open", re.IGNORECASE)


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
    """One rehearsal, at ``site``. ``tell`` gets what happens."""

    def __init__(self, site: Site, tell: Callable[[str], None], patience: float = 24 * 3600.0) -> None:
        self._site = replace(site, show=self._line)
        self._show = site.show
        self._tell = tell
        self._patience = patience
        self._said: list[str] = []
        self._warned: list[str] = []
        self._output: deque[str] = deque(maxlen=_LAST_LINES)
        self._written: dict[str, str] = {}

    def run(self, interruptions: int, kinds: Sequence[str], seed: int) -> Report:
        """Raises HoldfastError if the command does not run, or stores nothing."""
        report = Report(seed, self._site.ranks)
        if self._site.deployment is not None:
            self._site.deployment.keep(self._site.folder / "deployed")
        self._tell("the reference: the command undisturbed")
        reference = self._undisturbed("reference")
        report.batches = reference.batches
        self._tell(f"{_batches(report.batches)}; once more, to see whether it equals itself")
        again = self._undisturbed("reference-again")
        itself = compare_runs(reference.store, again.store, RUN)
        report.differences, report.fits, report.not_kept = itself.differences, itself.fits, itself.not_kept
        report.deterministic = not report.differences
        if not report.deterministic:
            report.problems.append("the command does not end the same even when nothing interrupts it")
            found = causes.of_an_unequal_reference(report.differences, itself.data, self._said)
            report.cause, report.remedy = found
            return report
        warned_undisturbed = set(self._warned)
        batches = report.batches - _margin(reference.pace)
        strikes = plan(batches, interruptions, kinds, self._site.ranks, random.Random(seed))
        last = self._interrupted(strikes, report)
        if last is not None:
            data = self._compare(reference, again, itself.histories, last, report)
            self._judge(report, data)
            if report.identical:
                report.notes += causes.cautions(warned_undisturbed, self._warned)
        self._note_changes_at_home(report)
        return report

    # --- machines --------------------------------------------------------------------------------------------------

    def _undisturbed(self, name: str) -> _Undisturbed:
        with self._group(name, f"{name}-store") as group:
            group.wait_until(lambda p: p.executed > 0, self._patience)
            began = time.monotonic()
            codes = group.wait(self._patience)
            took = time.monotonic() - began
            left = self._left_of_all(group.machines)
            executed = group.first.progress().executed
        if bad := [code for code in codes if code != Exit.COMPLETE]:
            code = next((code for code in bad if code is not None), None)
            raise HoldfastError(f"the command fails by itself (exit {code}); its output is above{self._hint()}")
        return _Undisturbed(self._stored(f"{name}-store"), executed, executed / took, left)

    def _hint(self) -> str:
        if self._site.deployment is None or not any(_NOT_FOUND.search(line) for line in self._output):
            return ""
        return "; it ran in a copy of its folder, and --share-folder runs it in the folder itself"

    def _interrupted(self, strikes: Sequence[Strike], report: Report) -> _Left | None:
        """What was left when the training was complete; None if a machine failed, which is in the report."""
        with self._group("machine-1", "interrupted-store") as group:
            late = ""
            for number, strike in enumerate(strikes, 1):
                if not group.wait_until(_reached(strike.step), self._patience):
                    late = f"interruption {number} ({strike.kind} at batch {strike.step}) came too late: it had ended"
                    break
                self._interrupt(group, strike, f"machine-{number + 1}", report)
            codes = group.wait(self._patience)
            left = self._left_of_all(group.machines)
            report.executed += group.first.progress().executed
            for machine, code in zip(group.machines, codes, strict=True):
                if code not in (Exit.COMPLETE, None):
                    self._failed(machine, code, report)
                    return None
            report.problems += [late] if late else []
            return left

    def _interrupt(self, group: MachineGroup, strike: Strike, next_name: str, report: Report) -> None:
        """From the strike to the first new batch after it, which tells what it cost."""
        gone = self._strike(group, strike, report)
        self._left_of_all([group.machines[rank] for rank in gone])
        last = group.first.progress()
        before = 0 if 0 in gone else last.executed
        report.executed += last.executed - before
        if not 0 < last.step < report.batches:
            report.problems.append(
                f"the {strike.kind} struck at batch {last.step}, not between the first and the last: take fewer "
                "--interruptions or another --seed, or let it train longer"
            )
        started = time.monotonic()
        self._output.clear()
        group.replace(gone, next_name)
        trains = group.wait_until(lambda progress: progress.executed > before, self._patience)
        took = time.monotonic() - started
        now = group.first.progress()
        redone = last.step - (now.step - (now.executed - before)) if trains else 0
        report.interruptions.append(
            Interruption(strike.kind, strike.rank, strike.step, last.step, redone, round(took, 2))
        )
        if trains:
            self._tell(
                f"{group.first.name}: continues after batch {last.step - redone}, {_batches(redone)} to redo, "
                f"first new batch after {took:.1f} s"
            )

    def _strike(self, group: MachineGroup, strike: Strike, report: Report) -> Sequence[int]:
        """Returns the ranks whose machines are gone: all leave when one is asked to, and one that is lost is alone."""
        machine, service = group.machines[strike.rank], self._site.services[strike.rank]
        self._tell(f"{machine.name}: {strike.kind}, planned for batch {strike.step}")
        if strike.kind == "sigkill":
            group.lose(strike.rank, self._patience)
            return [strike.rank]
        if strike.kind == "notice":
            service.interrupt()
        else:
            machine.send(signal.SIGTERM)
        codes = group.wait(self._patience)
        service.clear()
        for one, code in zip(group.machines, codes, strict=True):
            if code != Exit.STOPPED:
                report.problems.append(f"{one.name} ended with exit {code} after the {strike.kind}, not with 75")
        return range(self._site.ranks)

    def _failed(self, machine: DrillMachine, code: int, report: Report) -> None:
        report.problems.append(f"{machine.name} failed (exit {code}), where the undisturbed training did not")
        report.output = list(self._output)
        gone = [] if machine.folder is None else missing(self._written, machine.folder)
        report.cause, report.remedy = causes.of_a_failure(gone, report.output)

    def _left_of_all(self, machines: Sequence[DrillMachine]) -> _Left:
        """What the first of them left; what the others' commands said and wrote is noted too."""
        for machine in machines:
            said = [event for event in machine.events() if event["event"] == "script"]
            self._said += [event["text"] for event in said]
            self._warned += [event["text"] for event in said if event.get("warning")]
        left = [
            _Left(contents(files_below(machine.work_dir / RUN / FOLDER)), contents(self._site.written(machine)))
            for machine in machines
        ]
        for one in left:
            self._written |= dict.fromkeys(one.written, "")
        return left[0]

    def _group(self, name: str, store: str) -> MachineGroup:
        self._output.clear()
        return MachineGroup(self._site, name, store)

    def _stored(self, store: str) -> DirectoryStore:
        return DirectoryStore(self._site.folder / store)

    def _line(self, text: str) -> None:
        self._output.append(text)
        self._show(text)

    # --- the verdict -----------------------------------------------------------------------------------------------

    def _compare(
        self, reference: _Undisturbed, again: _Undisturbed, unstable: Sequence[str], last: _Left, report: Report
    ) -> DataCompared:
        found = compare_runs(reference.store, self._stored("interrupted-store"), RUN)
        files = compare_files(reference.left.artifacts, again.left.artifacts, last.artifacts)
        report.differences = found.differences
        report.other_differences = [text for text in found.histories if text not in unstable]
        report.other_differences += [f"{FOLDER}/{name}" for name in files.differ]
        report.not_compared = [*unstable, *(f"{FOLDER}/{name}" for name in files.left_out)]
        report.not_kept = found.not_kept
        report.identical = not report.differences and not report.other_differences
        outside = compare_files(reference.left.written, again.left.written, last.written)
        if outside.differ:
            report.notes.append(
                f"files in the working folder are not kept: {shown(outside.differ)} is missing at the end, or other "
                "than after the undisturbed training (what is under holdfast.run_dir() / 'artifacts' is kept)"
            )
        return found.data

    def _note_changes_at_home(self, report: Report) -> None:
        changed = [] if self._site.deployment is None else self._site.deployment.changed_at_home()
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
        only_artifacts = all(text.startswith(f"{FOLDER}/") for text in report.other_differences)
        if not report.identical and only_artifacts and not report.differences:
            report.cause, report.remedy = causes.OF_ARTIFACTS
        elif not report.identical and not started_over:
            report.cause, report.remedy = causes.of_a_difference(self._said, data, sorted(self._written))


def _reached(step: int) -> Callable[[Progress], bool]:
    return lambda progress: progress.step >= step


def _margin(pace: float) -> int:
    """Batches that go by while an interruption is on its way: the last ones can't be struck."""
    return 2 + int(pace * _ON_ITS_WAY)


def _batches(number: int) -> str:
    return count(number, "batch", "batches")
