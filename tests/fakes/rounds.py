"""How many answers a caller waits for, one after the other."""

from __future__ import annotations

import threading
from typing import Any

from holdfast.store import Store
from holdfast.store.wrapper import Wrapper

_QUIET = 0.2
"""Seconds without another request, after which all that wait are let through together."""


class Rounds(Wrapper):
    """Passes on to another store. Requests that are made side by side wait for each other and count as one round.

    ``count`` is the number of rounds while it was entered; ``asked`` lists the requests of each.
    """

    far = True

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.asked: list[list[str]] = []
        self._changed = threading.Condition()
        self._waiting: list[str] = []
        self._open = False
        self._thread = threading.Thread(target=self._let_through, daemon=True)

    @property
    def count(self) -> int:
        return len(self.asked)

    def __enter__(self) -> Rounds:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._open = True
            self._changed.notify_all()
        self._thread.join()

    def _let_through(self) -> None:
        with self._changed:
            while not self._open:
                number = len(self._waiting)
                if self._changed.wait(_QUIET) or number == 0 or len(self._waiting) > number:
                    continue
                self.asked.append(self._waiting)
                self._waiting = []
                self._changed.notify_all()

    def _take_part(self, request: str) -> None:
        with self._changed:
            if self._open:
                return
            self._waiting.append(request)
            mine = self._waiting
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._open or self._waiting is not mine)

    def create(self, key: str, data: bytes) -> str:
        self._take_part(f"create {key}")
        return super().create(key, data)

    def replace(self, key: str, data: bytes, if_match: str) -> str:
        self._take_part(f"replace {key}")
        return super().replace(key, data, if_match)

    def put(self, key: str, *rest: Any, **more: Any) -> None:
        self._take_part(f"put {key}")
        super().put(key, *rest, **more)

    def get(self, key: str, *rest: Any) -> tuple[bytes, str]:
        self._take_part(f"get {key}")
        return super().get(key, *rest)

    def fetch(self, key: str, *rest: Any) -> None:
        self._take_part(f"fetch {key}")
        super().fetch(key, *rest)

    def list(self, prefix: str, shallow: bool = False) -> Any:
        self._take_part(f"list {prefix}")
        return super().list(prefix, shallow)

    def delete(self, key: str) -> None:
        self._take_part(f"delete {key}")
        super().delete(key)

    def sweep(self, prefix: str) -> None:
        self._take_part(f"sweep {prefix}")
        super().sweep(prefix)
