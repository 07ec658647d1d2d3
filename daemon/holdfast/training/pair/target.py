"""What the writer of pairs needs from the process that it writes for. A session (``training/session``) gives it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ...core.checkpoint_name import CheckpointName
from ...core.manifest import Manifest
from ...spool import Spool


class PairTarget(Protocol):
    """The folder that pairs are written to, their names, and who receives the result.

    With ``durable``, files are synced to the disk before the manifest names them. ``origin`` goes into the manifest.
    """

    @property
    def spool(self) -> Spool: ...

    @property
    def durable(self) -> bool: ...

    @property
    def origin(self) -> Mapping[str, Any]: ...

    def next_name(self, epoch: int, step: int, loss: float | None) -> CheckpointName:
        """A name that no pair of this run ever had."""

    def make_room(self) -> bool:
        """Removes the oldest pair that may be removed. False if there is none."""

    def saved(self, manifest: Manifest, seconds: float) -> None:
        """The pair is complete, ``seconds`` after its snapshot was taken."""

    def states_of_ranks(
        self, at: tuple[int, int, int], facts: Mapping[str, Any], digests: Callable[[], Mapping[str, str]]
    ) -> Mapping[int, bytes]:
        """What only each other rank of a gang knows of the state at that epoch, batch and step.

        ``facts`` are this rank's, ``digests`` of the values that all ranks have. Raises OSError if a rank's does not
        come, or is of another state.
        """

    def failed(self, error: str) -> None:
        """The pair could not be written."""
