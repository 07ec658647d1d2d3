"""What a drill found."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from .compare_runs import Difference


@dataclass(frozen=True)
class Interruption:
    """The end of the machine of ``rank``.

    Steps are batches done in all: ``planned`` is when it was to come, ``struck`` how many there were in the end.
    ``recovery`` is seconds from the next start to a new batch.
    """

    kind: str
    rank: int
    planned: int
    struck: int
    redone: int
    recovery: float


@dataclass
class Report:
    """``passed`` is the verdict; ``problems`` are what speaks against it.

    ``ranks`` is how many machines trained together, ``fits`` how many were compared. ``differences`` are variables;
    ``other_differences`` are metrics' histories and files under ``artifacts/``. ``not_compared`` names what differs
    between two undisturbed trainings as well, and ``not_kept``
    what callbacks hold and no checkpoint has. ``notes`` are no verdict: what a user should know. ``output`` is the end
    of a failed machine's.
    """

    seed: int
    ranks: int = 1
    batches: int = 0
    executed: int = 0
    fits: int = 0
    deterministic: bool = False
    identical: bool = False
    interruptions: list[Interruption] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    other_differences: list[str] = field(default_factory=list)
    not_compared: list[str] = field(default_factory=list)
    not_kept: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    cause: str = ""
    remedy: str = ""
    output: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return self.identical and not self.problems

    def to_json(self) -> dict[str, Any]:
        return {"passed": self.passed, **asdict(self)}
