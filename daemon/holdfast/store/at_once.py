"""Calls to a store side by side: what needs one round trip each needs one for all."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from typing import Generic, TypeVar

from .base import Store

T = TypeVar("T")


def at_once(store: Store, calls: Iterable[Callable[[], T]]) -> list[T]:
    """What each call returns, in their order. The first error in that order is raised when all have ended.

    Where ``store`` is not far, one after the other, and the first error ends it.
    """
    if not store.far:
        return [call() for call in calls]
    return [future.result() for future in answers(store, calls)]


def answers(store: Store, calls: Iterable[Callable[[], T]]) -> list[Future[T]]:
    """The same, with each call's result or error as a future that is done."""
    asked = [_Asked(call) for call in calls]
    for one in asked[1:] if store.far else ():
        one.begin()
    for one in asked:
        if not one.begun:
            one.run()
    wait(one.answer for one in asked)
    return [one.answer for one in asked]


class _Asked(Generic[T]):
    """A call, and its answer to be. ``begun``: it has a thread, which the end of the process does not wait for."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self.answer: Future[T] = Future()
        self.begun = False

    def begin(self) -> None:
        with contextlib.suppress(RuntimeError):  # a container may allow no more threads: the caller makes the call
            threading.Thread(target=self.run, name="at-once", daemon=True).start()
            self.begun = True

    def run(self) -> None:
        try:
            self.answer.set_result(self._call())
        except BaseException as error:
            self.answer.set_exception(error)
