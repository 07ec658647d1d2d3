"""Reads side by side what a start will ask for one by one: between a machine and S3 there are 20 to 50 ms."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from ...core.errors import NotFound
from ...store import SMALL, Entry, Store
from ...store.at_once import answers
from ...store.wrapper import Wrapper

T = TypeVar("T")


class ReadAhead(Wrapper):
    """A store that gives what it has read ahead, each answer once; then it asks the store again.

    So no answer is older than the last ``read``, and a loop that looks again and again sees what changes. An error is
    an answer too: it is raised where that answer is asked for, once. Objects that are ``lasting`` never change: what
    was read of them is given until the next ``read``.
    """

    def __init__(self, store: Store, lasting: Collection[str] = ()) -> None:
        super().__init__(store)
        self._lasting = lasting
        self._objects: dict[str, Future[tuple[bytes, str]]] = {}
        self._listings: dict[str, Future[list[Entry]]] = {}

    def read(self, objects: Mapping[str, int], prefixes: Collection[str]) -> None:
        """Reads these objects, of at most so many bytes, and these listings. What was read before is forgotten."""
        calls: list[Callable[[], Any]] = [partial(self._store.get, key, most) for key, most in objects.items()]
        calls += [partial(self._store.list, prefix) for prefix in prefixes]
        found = answers(self._store, calls)
        self._objects = dict(zip(objects, found, strict=False))
        self._listings = dict(zip(prefixes, found[len(objects) :], strict=True))

    def know(self, objects: Mapping[str, bytes | None], empty: Iterable[str]) -> None:
        """Answers without asking: with these contents, None for what is missing; these listings are empty."""
        self._objects = {
            key: _failed(NotFound(f"{key} is not in the store")) if data is None else _done((data, ""))
            for key, data in objects.items()
        }
        self._listings = {prefix: _done([]) for prefix in empty}

    def forget(self) -> None:
        self._objects, self._listings = {}, {}

    def get(self, key: str, most: int = SMALL) -> tuple[bytes, str]:
        answer = self._objects.pop(key, None)
        if answer is None:
            return self._store.get(key, most)
        if key in self._lasting and answer.exception() is None:
            self._objects[key] = answer
        return answer.result()

    def list(self, prefix: str, shallow: bool = False) -> list[Entry]:
        answer = None if shallow else self._listings.pop(prefix, None)
        return answer.result() if answer is not None else self._store.list(prefix, shallow)


def _done(result: T) -> Future[T]:
    future: Future[T] = Future()
    future.set_result(result)
    return future


def _failed(error: Exception) -> Future[tuple[bytes, str]]:
    future: Future[tuple[bytes, str]] = Future()
    future.set_exception(error)
    return future
