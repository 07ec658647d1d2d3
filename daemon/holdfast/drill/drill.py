"""``holdfast drill``: does this script end the same when it is interrupted? Tried, not argued.

The command runs undisturbed twice (a script that differs from itself is found out here), then once more on machines
that are interrupted at random batches, each with an empty work dir and only the store. Then the final states are
compared bit for bit, and the batches that were executed are counted.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..core.errors import Exit, HoldfastError
from ..core.wording import count
from ..spool import Progress
from ..store.directory import DirectoryStore
from .compare import Difference, Final, differences, final_state
from .machine import DrillMachine
from .metadata import MetadataService

KINDS = ("notice", "sigterm", "sigkill")
RUN = "00001-drill"
_ON_ITS_WAY = 0.4
_QUICK = ("--run", "drill", "--poll-interval", "0.05", "--lease-heartbeat", "0.5", "--lease-expiry", "2")


@dataclass(frozen=True)
class Interruption:
    """One machine's end. Steps are batches done in all; ``recovery`` is seconds from the next start to a new batch."""

    kind: str
    planned: int
    struck: int
    redone: int
    recovery: float


@dataclass
class Report:
    """What a drill found. ``passed`` is the verdict; ``problems`` are what speaks against it."""

    seed: int
    batches: int = 0
    executed: int = 0
    deterministic: bool = False
    identical: bool = False
    interruptions: list[Interruption] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    cause: str = ""
    remedy: str = ""

    @property
    def passed(self) -> bool:
        return self.identical and not self.problems

    def to_json(self) -> dict[str, Any]:
        return {"passed": self.passed, **asdict(self)}


class Drill:
    """One rehearsal. ``tell`` gets what happens, ``show`` the training's output."""

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        service: MetadataService,
        tell: Callable[[str], None],
        show: Callable[[str], None],
        patience: float = 24 * 3600.0,
    ) -> None:
        self._command = command
        self._folder = folder
        self._service = service
        self._tell = tell
        self._show = show
        self._patience = patience
        self._said: list[str] = []

    def run(self, interruptions: int, kinds: Sequence[str], seed: int) -> Report:
        """Raises HoldfastError if the command does not run, or stores nothing."""
        report = Report(seed)
        self._tell("the reference: the command undisturbed")
        reference, report.batches, pace = self._undisturbed("reference")
        self._tell(f"{_batches(report.batches)}; once more, to see whether it equals itself")
        again, _, _ = self._undisturbed("reference-again")
        report.differences = differences(reference, again)
        report.deterministic = not report.differences
        if not report.deterministic:
            report.problems.append("the command does not end the same even when nothing interrupts it")
            report.cause, report.remedy = _why_not_deterministic(report.differences, reference)
            return report
        plan = _plan(report.batches - _margin(pace), interruptions, kinds, random.Random(seed))
        self._interrupted(plan, report)
        ours = final_state(DirectoryStore(self._folder / "interrupted-store"), RUN)
        report.differences = differences(reference, ours)
        report.identical = not report.differences and reference.history == ours.history
        self._judge(report, reference)
        return report

    def _undisturbed(self, name: str) -> tuple[Final, int, float]:
        """The final state, the batches, and how many of them are done in a second."""
        machine = self._machine(name, f"{name}-store")
        machine.wait_until(lambda p: p.executed > 0, self._patience)
        began = time.monotonic()
        code = machine.wait(self._patience)
        took = time.monotonic() - began
        executed = machine.vanish().executed
        if code != Exit.COMPLETE:
            raise HoldfastError(f"the command fails by itself (exit {code}); its output is above")
        return final_state(DirectoryStore(self._folder / f"{name}-store"), RUN), executed, executed / took

    def _interrupted(self, plan: list[tuple[int, str]], report: Report) -> None:
        struck: tuple[str, int, Progress] | None = None
        for number, (step, kind) in enumerate([*plan, (0, "")]):
            started = time.monotonic()
            machine = self._machine(f"machine-{number + 1}", "interrupted-store")
            if struck is not None:
                self._account(struck, machine, started, report)
            if not kind:
                self._complete(machine, report)
                return
            if not machine.wait_until(_reached(step), self._patience):
                report.problems.append(
                    f"interruption {number + 1} ({kind} at batch {step}) came too late: it had ended"
                )
            struck = (kind, step, self._strike(machine, kind, report))

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
        redone = last.step - machine.resumed_at() if machine.progress().executed else 0
        report.interruptions.append(Interruption(kind, planned, last.step, redone, round(took, 2)))
        self._tell(f"{machine.name}: goes on, {_batches(redone)} to redo, first new batch after {took:.1f} s")

    def _complete(self, machine: DrillMachine, report: Report) -> None:
        code = machine.wait(self._patience)
        self._remember(machine)
        report.executed += machine.vanish().executed
        if code != Exit.COMPLETE:
            raise HoldfastError(f"the last start did not complete the training (exit {code}); its output is above")

    def _remember(self, machine: DrillMachine) -> None:
        self._said += [event["text"] for event in machine.events() if event["event"] == "script"]

    def _judge(self, report: Report, reference: Final) -> None:
        redone = sum(i.redone for i in report.interruptions)
        for interruption in report.interruptions:
            if interruption.kind != "sigkill" and interruption.redone:
                report.problems.append(f"redone after a {interruption.kind}: {_batches(interruption.redone)}")
        if report.executed != report.batches + redone:
            report.problems.append(f"executed: {_batches(report.executed)}, where {report.batches + redone} explain it")
        if any(i.redone == i.struck > 1 for i in report.interruptions if i.kind != "sigkill"):
            report.problems.append("the script started over instead of going on")
            report.cause = "the script does not use what was restored"
            report.remedy = "give fit a holdfast.Resume(), or put holdfast.session's resume_from to use"
        if not report.identical:
            report.problems.append("the interrupted training ended with another state")
        if not report.identical and not report.cause:
            report.cause, report.remedy = self._why_different(reference)

    def _why_different(self, reference: Final) -> tuple[str, str]:
        if not reference.own_data or any("another order" in text for text in self._said):
            return (
                "the order of the data: it is not the same when an epoch is resumed in its middle",
                "feed fit from holdfast.dataset(x, y, batch_size=, seed=), or holdfast.dataset(make_epoch, seed=)",
            )
        kept = next((text for text in self._said if "not kept" in text), "")
        if kept:
            return kept, "give that callback get_state() and set_state(state)"
        return (
            "state that the script keeps outside of what holdfast stores (globals, files, generators of its own)",
            "move it into a layer, a callback with get_state() and set_state(), or holdfast.session's values",
        )

    def _machine(self, name: str, store: str) -> DrillMachine:
        environment = {
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": self._service.endpoint,
            "AWS_EC2_METADATA_DISABLED": "false",
        }
        return DrillMachine(
            name, self._folder / name, str(self._folder / store), _QUICK, self._command, environment, self._show
        )


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


def _why_not_deterministic(found: list[Difference], reference: Final) -> tuple[str, str]:
    if any("seed_generator" in difference.path for difference in found):
        return "an unseeded layer: its random numbers differ from start to start", (
            "call keras.utils.set_random_seed(…) first of all, or give each random layer a seed"
        )
    if not reference.own_data:
        return "the order of the data: it is shuffled without a seed", (
            "call keras.utils.set_random_seed(…) first of all, and feed fit from holdfast.dataset(…, seed=)"
        )
    return "unseeded initial weights, or nondeterministic kernels", (
        "call keras.utils.set_random_seed(…) first of all; on a GPU also tf.config.experimental.enable_op_determinism()"
    )
