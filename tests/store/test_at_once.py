from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from fakes.stores import MemoryStore
from holdfast.store.at_once import at_once


class FarStore(MemoryStore):
    far = True


def test_what_a_far_store_is_asked_is_asked_side_by_side_and_answered_in_order() -> None:
    together = threading.Barrier(3, timeout=30)
    assert at_once(FarStore(), [lambda value=value: (together.wait(), value)[1] for value in "abc"]) == ["a", "b", "c"]


def test_the_first_error_is_raised_when_all_have_ended() -> None:
    ended = []

    def refuse() -> None:
        raise KeyError("first")

    with pytest.raises(KeyError, match="first"):
        at_once(FarStore(), [refuse, lambda: ended.append(True)])
    assert ended


def test_where_no_thread_can_be_started_the_caller_asks_one_after_the_other() -> None:
    """A container may allow no more of them, and a pair must be stored all the same."""
    code = """
import resource, threading
resource.setrlimit(resource.RLIMIT_AS, (1 << 32, 1 << 32))
threading.stack_size(1 << 40)
from holdfast.store.at_once import at_once
class Far: far = True
print(at_once(Far(), [lambda: 1, lambda: 2]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "[1, 2]\n", done.stderr


def test_an_answer_that_does_not_come_does_not_hold_the_end_of_the_process() -> None:
    """A stop has a deadline; a connection that hangs may take half a minute to fail."""
    code = """
import threading
from holdfast.store.at_once import at_once
class Far: far = True
silent, asked = threading.Event(), threading.Barrier(3)
def ask():
    asked.wait()
    silent.wait()
threading.Thread(target=at_once, args=(Far(), [ask, ask]), daemon=True).start()
asked.wait()
"""
    subprocess.run([sys.executable, "-c", code], timeout=30, check=True)
