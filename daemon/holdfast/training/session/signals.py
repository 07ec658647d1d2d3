"""Signals while a training runs: our handlers, which stay in place, and which forked processes do not inherit.

A C++ runtime that the process joins (a cluster of JAX or TensorFlow) may replace the handler below Python, which still
shows its own. And a process that is forked while Python has a handler may lose a SIGTERM in its first moments, so that
a pool that ends its workers by one waits for ever: in a child a signal means what it meant before.
"""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

_Handler = Callable[[int, FrameType | None], None]
_SIZE_OF_SIGACTION = 512  # more than any system's; the handler stands first
_libc = ctypes.CDLL(None)


class TakenSignal:
    """Calls ``handler`` for the signal from ``take`` to ``give_back``. For the main thread."""

    def __init__(self, number: int, handler: _Handler) -> None:
        self.number = number
        self.handler = handler
        self._before: Any = None
        self._address: int | None = None

    @property
    def taken(self) -> bool:
        return self._before is not None

    def take(self) -> None:
        before = signal.signal(self.number, self.handler)
        if before != self.handler:  # else an exception ended an earlier training
            self._before = before
        self._address = _address(self.number)
        _forks.taken.add(self)

    def keep(self) -> None:
        """Takes it again from what took it without Python's knowledge. Costs microseconds."""
        if not self.taken or threading.current_thread() is not threading.main_thread():
            return
        if _address(self.number) != self._address and signal.getsignal(self.number) == self.handler:
            signal.signal(self.number, self.handler)

    def give_back(self) -> None:
        """The signal does again what it did before ``take``."""
        if self.taken:
            before, self._before = self._before, None
            _forks.taken.discard(self)
            signal.signal(self.number, before)


class _Forks:
    """Holds the signals back while a process is forked, until the child has its handlers of before."""

    def __init__(self) -> None:
        self.taken: set[TakenSignal] = set()
        self._mask = threading.local()
        os.register_at_fork(before=self._hold, after_in_parent=self._release, after_in_child=self._release_child)

    def _hold(self) -> None:
        held = [taken.number for taken in self.taken]
        self._mask.before = signal.pthread_sigmask(signal.SIG_BLOCK, held) if held else None

    def _release(self) -> None:
        if self._mask.before is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask.before)

    def _release_child(self) -> None:
        """The thread that forked is the child's main thread."""
        for taken in [*self.taken]:
            if signal.getsignal(taken.number) == taken.handler:
                taken.give_back()
        self._release()


_forks = _Forks()


def _address(number: int) -> int | None:
    """Of the function that the kernel calls for that signal."""
    action = (ctypes.c_void_p * (_SIZE_OF_SIGACTION // ctypes.sizeof(ctypes.c_void_p)))()
    return action[0] if _libc.sigaction(int(number), None, action) == 0 else None
