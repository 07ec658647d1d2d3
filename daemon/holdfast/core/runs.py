"""Run ids: a number that grows and a name, ``00001-digits``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from .errors import SettingsError

RUN_FILE = "run.json"
LEASE_FILE = "lease.json"
COMPLETE_FILE = "complete.json"

_MOST_DIGITS = 15
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_RUN_ID = re.compile(r"(\d{5,12})-([A-Za-z0-9][A-Za-z0-9._-]{0,62})")


@dataclass(frozen=True, order=True)
class RunId:
    number: int
    name: str

    def __str__(self) -> str:
        return f"{self.number:05d}-{self.name}"

    @classmethod
    def parse(cls, text: str) -> RunId | None:
        """The run id, if ``text`` is exactly how it is written; otherwise None."""
        match = _RUN_ID.fullmatch(text)
        if match is None:
            return None
        run = cls(int(match[1]), match[2])
        return run if str(run) == text else None


def check_name(name: str, setting: str = "--run") -> str:
    """Returns ``name``; raises SettingsError, which names the ``setting``, if it can't be part of a run id."""
    if _NAME.fullmatch(name) is None:
        raise SettingsError(
            f"{setting} {name!r}: a run's name starts with a letter or digit, followed by letters, digits, "
            "'.', '_' and '-', 63 characters at most"
        )
    return name


def next_id(name: str, existing: Iterable[RunId]) -> RunId:
    """The first id after all existing ones, whatever their names."""
    return RunId(max((run.number for run in existing), default=0) + 1, name)


@dataclass(frozen=True)
class ForkSource:
    """A checkpoint to continue from (``--from``): the ``step`` of a ``run``, which is a run id or a name."""

    run: str
    step: int

    @classmethod
    def parse(cls, text: str) -> ForkSource:
        """Raises SettingsError unless ``text`` is RUN@STEP."""
        run, _, step = text.rpartition("@")
        if not run or not (step.isascii() and step.isdecimal()):
            raise SettingsError(f"--from {text!r}: give RUN@STEP, as in 00001-digits@940 (holdfast ls shows the steps)")
        if len(step) > _MOST_DIGITS:
            raise SettingsError(
                f"--from {text!r}: a step has {_MOST_DIGITS} digits at most, and this one {len(step)} "
                "(holdfast ls shows the steps)"
            )
        if RunId.parse(run) is None:
            check_name(run, "--from")
        return cls(run, int(step))

    def __str__(self) -> str:
        return f"{self.run}@{self.step}"

    def means(self, run: RunId, step: int) -> bool:
        return step == self.step and self.run in (str(run), run.name)
