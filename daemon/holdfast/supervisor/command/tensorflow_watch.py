"""Has the command loaded TensorFlow, or Keras on JAX or PyTorch? That is seen from outside: their libraries are mapped
into a process.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

from .isolation import unreached

_EVERY, _SELDOM = 2.0, 10.0
_HELPER = 20.0
_TENSORFLOW, _OTHERS = b"libtensorflow", (b"/jaxlib/", b"/libtorch")
_OF_KERAS = (b"/h5py/", b"/optree/")  # which has no library itself, and imports these


class TensorFlowWatch:
    """Of one start of the command. ``seen`` once it has; ``look`` costs a few milliseconds every other second until
    then, or until it is ``over``.

    ``unreached`` is why no process that has it now is reached by ``--auto``, whose folder on PYTHONPATH is ``hook``,
    and that of its ``marks``; '' if one is, or without such a folder. With it, JAX and PyTorch count by themselves, and
    it looks again now and then: one process may look for GPUs, and the next one train. Whether one trains cannot be
    seen from outside, but a helper is over soon: so one counts after 20 seconds.
    """

    def __init__(self, hook: str = "", marks: Path = Path()) -> None:
        self.seen = False
        self.unreached = ""
        self._hook = hook
        self._marks = marks
        self.over = False
        self._since = float("inf")
        self._unreached_since: dict[int, float] = {}
        self._due = float("-inf")

    def look(self, now: float, processes: Callable[[], Iterable[psutil.Process]]) -> None:
        if self.over or now < self._due or (self.seen and not self._hook):
            return
        self._due = now + (_SELDOM if self.seen else _EVERY)
        loaded = [process.pid for process in processes() if _has_loaded(process.pid, alone=bool(self._hook))]
        if loaded and not self.seen:
            self.seen, self._since = True, now
        if self._hook:
            self.unreached = self._why_unreached(loaded, now)

    def _why_unreached(self, loaded: list[int], now: float) -> str:
        reasons = {pid: unreached(pid, self._hook, self._marks) for pid in loaded}
        self._unreached_since = {pid: self._unreached_since.get(pid, now) for pid, why in reasons.items() if why}
        if not all(reasons.values()):
            return ""
        return next((reasons[pid] for pid, since in self._unreached_since.items() if now - since >= _HELPER), "")

    def seen_for(self, now: float) -> float:
        """The seconds since it was first seen; negative if it was not."""
        return now - self._since


def _has_loaded(pid: int, alone: bool) -> bool:
    """``alone``: JAX and PyTorch count without Keras."""
    with contextlib.suppress(OSError):  # it ended, or is another user's
        maps = Path(f"/proc/{pid}/maps").read_bytes()
        other = any(name in maps for name in _OTHERS) and (alone or all(name in maps for name in _OF_KERAS))
        return _TENSORFLOW in maps or other
    return False
