"""In place of the writer of pairs, on all ranks of a gang but the first: they write none."""

from __future__ import annotations

from collections.abc import Callable

from ...core.checkpoint_name import CheckpointName
from ..pair.background_writer import Writer
from ..pair.pair_files import Draft
from ..pair.target import PairTarget
from .part import STATES_WAIT, GangPart
from .rank_state import OwnState


class StateSender(Writer):
    """Takes drafts as a Writer does, and sends what is not on all ranks the same, at once, in the caller's thread.

    ``written`` is called with the pair that rank 0 made of it, in a later call of this object.
    """

    def __init__(self, target: PairTarget, part: GangPart, written: Callable[[CheckpointName], None]) -> None:
        super().__init__(target)
        self._part = part
        self._written = written
        self._sent: int | None = None

    @property
    def busy(self) -> bool:
        return False

    def has_room(self, size: int, required: bool = False) -> bool:
        return True

    def wait(self) -> None:
        """Until rank 0 has written the pair of the last state, or says nothing of it for long."""
        self._look(STATES_WAIT)

    def _look(self, wait: float) -> None:
        if self._sent is None:
            return
        try:
            name = self._part.pair_of(self._sent, wait)
        except OSError:  # rank 0 has said why
            self._sent, self.failed = None, True
            return
        if name is not None:
            self._sent = None
            self._written(name)

    def offer(self, draft: Draft, required: bool = False) -> bool:
        """Taken in any case, as a writer takes a draft that it cannot write then: no later boundary changes that."""
        self.write_now(draft)
        return True

    def write_now(self, draft: Draft) -> bool:
        try:
            self._part.send_state(OwnState.of(draft, draft.made_facts()))
        except (ValueError, TypeError) as error:
            self.failed = True
            self._target.failed(f"a checkpoint cannot be written: {error}")
            return False
        self._look(0.0)
        self.failed, self._sent = False, draft.position.step
        return True
