"""The name of a checkpoint: all that listing, ordering and retention need, so that a listing of the store is enough."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

_LOSS = r"-?(?:0|[1-9]\d{0,6})\.\d{4}|-?[1-9]\.\d{4}e\+\d{2,3}|nan|inf|none"
_NAME = re.compile(rf"model-(\d{{4,9}})-(\d{{8,15}})-({_LOSS})-i(\d{{1,9}})-q(\d{{1,9}})", re.ASCII)
MOST_EPOCHS, MOST_STEPS = 10**9 - 1, 10**15 - 1
"""The most that fit into a name."""


@dataclass(frozen=True)
class CheckpointName:
    """``model-0003-00000940-0.1284-i2-q17``: epochs completed, batches done in all, loss, incarnation, save number."""

    epoch: int
    step: int
    loss: str
    incarnation: int
    save: int

    def __str__(self) -> str:
        return f"model-{self.epoch:04d}-{self.step:08d}-{self.loss}-i{self.incarnation}-q{self.save}"

    @property
    def order(self) -> tuple[int, int]:
        """Newest means greatest: by incarnation, then by save number (design invariant 3)."""
        return (self.incarnation, self.save)

    @property
    def finite(self) -> bool:
        return self.loss not in ("nan", "inf")

    def file(self, part: str) -> str:
        return f"{self}.{part}"

    @classmethod
    def parse(cls, text: str) -> CheckpointName | None:
        """The name, if ``text`` is exactly how it is written; otherwise None."""
        match = _NAME.fullmatch(text)
        if match is None:
            return None
        name = cls(int(match[1]), int(match[2]), match[3], int(match[4]), int(match[5]))
        return name if str(name) == text else None

    @classmethod
    def of_manifest_file(cls, filename: str) -> CheckpointName | None:
        """The checkpoint whose manifest is called ``filename``, else None."""
        return cls.parse(filename.removesuffix(".json")) if filename.endswith(".json") else None


def spell_loss(loss: float | None) -> str:
    """The loss as it is written in a name: four decimals, with an exponent from a million on."""
    if loss is None:
        return "none"
    if math.isnan(loss):
        return "nan"
    if math.isinf(loss):
        return "inf"
    return f"{loss:.4f}" if abs(loss) < 1e6 else f"{loss:.4e}"
