"""``holdfast demo``: the main job, seen from a chair.

A training of handwritten digits loses its machine to a spot notice in the middle of an epoch, continues on a new one,
is completed, and is later extended. Beside it the same training runs undisturbed. All processes, files, signals and
HTTP requests are real; the store is a directory and the metadata service is on loopback.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ..core.errors import Exit, HoldfastError
from ..spool import Progress
from ..store.directory import DirectoryStore
from .compare_runs import compare_runs
from .fake_imds import MetadataService
from .simulated_machine import DrillMachine

RUN = "00001-digits"
_FIRST_EPOCHS, _ALL_EPOCHS = 3, 6
_STRIKE = (1, 20)
_PATIENCE = 300.0
_FRAMEWORK_NOISE = re.compile(r"[IWEF]\d{4} |WARNING: All log messages|20\d\d-\d\d-\d\d .*tensorflow")


@dataclass
class _Story:
    """What happened, with the time since the beginning."""

    console: Console
    began: float = field(default_factory=time.monotonic)
    rows: list[tuple[float, str, str]] = field(default_factory=list)

    def tell(self, who: str, what: str) -> None:
        at = time.monotonic() - self.began
        self.rows.append((at, who, what))
        self.console.print(f"[bold cyan]{at:5.1f} s[/]  [bold]{who:<10}[/] {what}")

    def output(self, line: str) -> None:
        """The training's own output, dimmed; frameworks' start-up messages are left out."""
        if line.strip() and not _FRAMEWORK_NOISE.match(line):
            self.console.print(f"         [dim]│ {_escaped(line)}[/]", highlight=False)


def demo(console: Console, check: Callable[[], None]) -> int:
    """Returns 0 if nothing was lost and the weights are identical, else 70. Raises HoldfastError, and what ``check``
    does.
    """
    _need_training_packages()
    story = _Story(console)
    console.print(
        "\n[bold]holdfast demo[/]: a training loses its machine in the middle of an epoch, and ends as if it had not.\n"
    )
    with tempfile.TemporaryDirectory(prefix="holdfast-demo-") as folder, MetadataService() as service:
        code = _Demo(story, Path(folder), service, check).play()
        kept = _keep(Path(folder, "store"))
    if kept is not None:
        command = f"{_this_program()} report digits --store {shlex.quote(str(kept))} --html digits.html"
        console.print(f"The interrupted run as a page:\n  {_escaped(command)}\n", highlight=False, soft_wrap=True)
    return code


class _Demo:
    def __init__(self, story: _Story, folder: Path, service: MetadataService, check: Callable[[], None]) -> None:
        self._story = story
        self._folder = folder
        self._service = service
        self._check = check
        self._executed = 0

    def play(self) -> int:
        stopped = self._interrupted()
        self._continued(stopped)
        self._extended()
        reference = self._undisturbed()
        return self._verdict(stopped, reference)

    def _interrupted(self) -> Progress:
        self._story.tell("machine 1", f"starts the training: {_FIRST_EPOCHS} epochs of handwritten digits")
        with self._machine("machine-1", "store", _FIRST_EPOCHS) as machine:
            if not machine.wait_until(lambda p: (p.epoch, p.batch) >= _STRIKE, _PATIENCE):
                raise HoldfastError(f"the training did not start (exit {machine.wait(_PATIENCE)}); its output is above")
            self._story.tell("EC2", "spot notice: this machine will be terminated in 2 minutes")
            self._service.interrupt()
            noticed = time.monotonic()
            _expect(machine.wait(_PATIENCE), Exit.STOPPED, "machine 1")
            took = time.monotonic() - noticed
            progress = machine.vanish()
        self._executed += progress.executed
        where = f"epoch {progress.epoch + 1}, batch {progress.batch}"
        self._story.tell("machine 1", f"stopped in {where}, stored its state and left, {took:.1f} s after the notice")
        self._story.tell("EC2", "machine 1 and its disk are gone")
        self._service.clear()
        return progress

    def _continued(self, stopped: Progress) -> None:
        self._story.tell("machine 2", "starts with an empty disk")
        with self._machine("machine-2", "store", _FIRST_EPOCHS) as machine:
            _expect(machine.wait(_PATIENCE), Exit.COMPLETE, "machine 2")
            self._executed += machine.vanish().executed
        where = f"epoch {stopped.epoch + 1}, batch {stopped.batch}"
        self._story.tell("machine 2", f"continued from {where} and completed {_FIRST_EPOCHS} epochs")

    def _extended(self) -> None:
        self._story.tell("machine 3", f"extends the complete run to {_ALL_EPOCHS} epochs (--extend)")
        with self._machine("machine-3", "store", _ALL_EPOCHS, "--extend") as machine:
            _expect(machine.wait(_PATIENCE), Exit.COMPLETE, "machine 3")
            self._executed += machine.vanish().executed

    def _undisturbed(self) -> int:
        self._story.tell("reference", f"the same training, undisturbed: {_ALL_EPOCHS} epochs in one go")
        with self._machine("reference", "reference-store", _ALL_EPOCHS) as machine:
            _expect(machine.wait(_PATIENCE), Exit.COMPLETE, "the reference")
            return machine.vanish().executed

    def _machine(self, name: str, store: str, epochs: int, *arguments: str) -> DrillMachine:
        command = [sys.executable, "-m", "holdfast.examples.digits", "--epochs", str(epochs)]
        environment = {
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": self._service.endpoint,
            "AWS_EC2_METADATA_DISABLED": "false",
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }
        settings = ["--run", "digits", "--poll-interval", "0.1", *arguments]
        return DrillMachine(
            name,
            self._folder / name,
            str(self._folder / store),
            settings,
            command,
            environment,
            self._story.output,
            self._check,
        )

    def _verdict(self, stopped: Progress, reference: int) -> int:
        ours, theirs = DirectoryStore(self._folder / "store"), DirectoryStore(self._folder / "reference-store")
        found = compare_runs(ours, theirs, RUN)
        inside = stopped.batch > 0
        lost = self._executed - reference
        checks = [
            ("interrupted in the middle of an epoch", f"epoch {stopped.epoch + 1}, batch {stopped.batch}", inside),
            ("batches lost or done twice", str(lost), lost == 0),
            ("batches executed, 3 machines / undisturbed", f"{self._executed} / {reference}", lost == 0),
            ("epochs' losses and metrics", _same(not found.histories), not found.histories),
            (
                f"final weights and optimizer state ({found.arrays} arrays)",
                _same(not found.differences),
                not found.differences,
            ),
        ]
        self._print(checks)
        for difference in found.differences[:5]:
            self._story.console.print(f"  differs: {difference.path} by up to {difference.largest:g}")
        return 0 if all(passed for _, _, passed in checks) else int(Exit.FAILED)

    def _print(self, checks: list[tuple[str, str, bool]]) -> None:
        happened = Table(title="\nWhat happened", title_justify="left", show_edge=False, pad_edge=False)
        happened.add_column("time", justify="right")
        happened.add_column("who")
        happened.add_column("what")
        for at, who, what in self._story.rows:
            happened.add_row(f"{at:.1f} s", who, what)
        result = Table(title="\nWhat came of it", title_justify="left", show_edge=False, pad_edge=False)
        result.add_column("check")
        result.add_column("result")
        result.add_column("")
        for what, value, passed in checks:
            result.add_row(what, value, "[green]✔[/]" if passed else "[red]✘[/]")
        console = self._story.console
        console.print(happened, result)
        if all(passed for _, _, passed in checks):
            console.print(
                "\n[bold green]The interrupted training and the undisturbed one are identical, bit for bit.[/]\n"
            )
        else:
            console.print("\n[bold red]The trainings differ.[/]\n")


def _keep(store: Path) -> Path | None:
    """Where the store of this demo stays until the next one; None where there is no such place."""
    with contextlib.suppress(OSError, RuntimeError):  # the latter where nobody knows the home folder
        kept = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "holdfast", "demo")
        if kept.exists():
            shutil.rmtree(kept)
        shutil.copytree(store, kept)
        return kept
    return None


def _this_program() -> str:
    program = Path(sys.argv[0])
    return shlex.quote(str(program)) if program.name == "holdfast" else f"{shlex.quote(sys.executable)} -m holdfast"


def _need_training_packages() -> None:
    from importlib.util import find_spec

    missing = [name for name in ("tensorflow", "keras", "h5py") if find_spec(name) is None]
    if missing:
        raise HoldfastError(f"the demo needs {', '.join(missing)}: pip install '.[tensorflow]' in a clone of it")


def _expect(code: int, wanted: Exit, who: str) -> None:
    if code != wanted:
        raise HoldfastError(f"{who} ended with exit {code} where {int(wanted)} was expected; its output is above")


def _same(equal: bool) -> str:
    return "identical" if equal else "different"


def _escaped(line: str) -> str:
    return line.replace("[", "\\[")
