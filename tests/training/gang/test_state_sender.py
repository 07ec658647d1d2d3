from __future__ import annotations

import os
from pathlib import Path

from holdfast.core.wire import Message, RankState
from holdfast.spool import Spool
from holdfast.training.gang.part import GangPart
from holdfast.training.gang.state_sender import StateSender
from holdfast.training.pair.pair_files import Draft, Position, Written
from holdfast.training.session.base import Session


class Heard(Session):
    """A session that remembers what it is told."""

    def __init__(self, spool: Spool) -> None:
        super().__init__(spool, 1, 1, None, durable=False)
        self.errors: list[str] = []

    def failed(self, error: str) -> None:
        self.errors.append(error)


def no_h5(path: Path, most_dirty: int | None, over: Path | None = None) -> Written:
    raise AssertionError("a member writes no checkpoint")


def test_a_state_that_is_too_large_to_be_sent_is_refused_once_and_not_at_every_batch(tmp_path: Path) -> None:
    """Who offers it would try again at the next boundary, and rank 0 knows already that there is none."""
    told: list[Message] = []
    session = Heard(Spool(tmp_path / "00001-a"))
    sender = StateSender(session, GangPart(1, 2, tmp_path, told.append), lambda name: None)
    facts = {"mine": [os.urandom(10_000) for _ in range(100)]}
    assert sender.offer(Draft(Position(0, 7, 7), "interval", {}, {}, facts, no_h5))
    assert sender.failed
    assert len(session.errors) == 1
    (state,) = told
    assert isinstance(state, RankState)
    assert "may have 700" in state.error
    assert not sender.write_now(Draft(Position(0, 8, 8), "stop", {}, {}, facts, no_h5)), "a stop has stored nothing"
