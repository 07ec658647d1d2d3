"""Reads the pair that a session resumes from, or the next older one where it cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ...core.errors import InvalidPair
from ..pair.pair import Saved, load_from
from .base import Session

T = TypeVar("T")


def load_newest(session: Session, use: Callable[[Saved], T]) -> T | None:
    """Returns ``use(saved)`` of the newest usable pair, or None if there is none.

    A pair that cannot be read, or for which ``use`` raises InvalidPair, is marked unusable, and the next older one is
    read.
    """
    while session.resume is not None:
        try:
            saved = load_from(session.spool, session.resume)
            used = use(saved)
        except InvalidPair as error:
            session.mark_unusable(str(error))
        else:
            session.report_start(saved.position.batch)
            return used
    session.report_start()
    return None
