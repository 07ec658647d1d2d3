"""A member looks for rank 0 in the store, again and again, until it is let in or there is a reason to end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from ...core.errors import Exit, SettingsError, StoreError
from ...core.event_sink import EventSink
from ...core.wording import duration_text
from ...spool import only_here
from ...store import Store
from ..settings import RunSettings
from .find import find, join
from .link import Link


class LetIn(NamedTuple):
    """As ``rank`` of ``run``; ``link`` is the connection to its rank 0."""

    run: str
    link: Link
    rank: int


class Search:
    """``begin`` each time that rank 0 is lost. ``code`` is set where there is nothing left to look for."""

    def __init__(
        self, settings: RunSettings, store: Store, say: EventSink, clock: Callable[[], float] = time.monotonic
    ) -> None:
        assert settings.rank is not None
        self._settings = settings
        self._rank = settings.rank.number
        self._store = store
        self._say = say
        self._clock = clock
        self._answered = False
        self.code: Exit | None = None
        self.begin()

    def begin(self) -> None:
        self._began, self._failing, self._said = self._clock(), 0.0, ""

    def pause(self, seconds: float) -> None:
        """So long nobody looked: that is no waiting for rank 0."""
        self._began += seconds

    def look(self) -> LetIn | None:
        """Raises StoreError where the store never answered within --store-wait, and SettingsError."""
        why, let_in = self._why()
        if let_in is not None or self.code is not None:
            return let_in
        if why and why != self._said:
            self._said = why
            self._say("waiting", f"rank {self._rank} waits for rank 0: {why} (--ranks 1: to train alone)")
        if self._clock() - self._began >= self._settings.lease.wait:
            self._give_up(why)
        return None

    def _why(self) -> tuple[str, LetIn | None]:
        """The connection, or why there is none."""
        try:
            found = find(self._store, self._settings.name)
        except StoreError as error:
            self._failing = self._failing or self._clock()
            if not self._answered and self._clock() - self._failing >= self._settings.store_wait:
                raise
            return f"the store does not answer: {error}", None
        self._failing, self._answered = 0.0, True
        if found.complete:
            self._say("complete", run=str(found.run))
            self.code = Exit.COMPLETE
        if found.complete or found.gang is None:
            return found.why, None
        answer = join(found.gang, self._rank)
        if isinstance(answer, str):
            return answer, None
        link, joined = answer
        if joined.ranks != self._settings.ranks:
            link.close()
            raise SettingsError(
                f"--ranks {self._settings.ranks}: rank 0 was told of {joined.ranks}: give all machines the same number"
            )
        return "", LetIn(str(found.run), link, joined.rank)

    def _give_up(self, why: str) -> None:
        """Nothing is lost, and the next start waits again: that is what 75 says to what starts it."""
        left = only_here(self._settings.work_dir, self._settings.name)
        self.code = Exit.STOPPED if left is None else Exit.UNSTORED
        here = "" if left is None else f"; the last state is on this machine alone: {left}.*"
        waited = f"--lease-wait {duration_text(self._settings.lease.wait)} is over"
        self._say("exit", f"{why} ({waited}){here} (exit {int(self.code)})", code=int(self.code))
