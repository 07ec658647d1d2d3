"""Further pairs of the run, which the training process asks for: the last ones of fits that are finished.

They are brought when they are asked for, so that a start waits for none that its script skips.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from ..core import wire
from ..core.checkpoint_name import CheckpointName
from ..core.errors import HoldfastError, InvalidPair


class NeededPairs:
    """``bring`` raises HoldfastError or OSError for a pair that cannot be had. ``bringing``: one is on its way."""

    def __init__(self, bring: Callable[[CheckpointName], None], send: Callable[[wire.Message], bool]) -> None:
        self._bring = bring
        self._send = send
        self.bringing = False

    def want(self, message: wire.PairWanted) -> None:
        """In the channel's thread, which must go on reading."""
        self.bringing = True
        thread = threading.Thread(target=self._answer, args=(message.name,), name="needed-pair", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no further thread: what comes next waits
            self._answer(message.name)

    def _answer(self, text: str) -> None:
        error: str | None = None
        try:
            name = CheckpointName.parse(text)
            if name is None:
                raise InvalidPair("that is no checkpoint's name")
            self._bring(name)
        except (HoldfastError, OSError) as problem:
            error = str(problem)
        finally:
            self.bringing = False
        self._send(wire.PairHere(text, error))
