from __future__ import annotations

import pytest

from holdfast.supervisor.command.reaper import Ended


@pytest.mark.parametrize(
    ("how", "out_of_memory", "text"),
    [
        (Ended(3), False, "exit 3"),
        (Ended(0, 9), False, "killed by SIGKILL"),
        (Ended(0, 9), True, "killed by SIGKILL: out of memory"),
        (Ended(1), True, "exit 1; the kernel killed one of its processes: out of memory"),
        (Ended(0, 40), False, "killed by signal 40"),
    ],
)
def test_an_end_is_described(how: Ended, out_of_memory: bool, text: str) -> None:
    assert how.describe(out_of_memory) == text
    assert how.code == (128 + how.signal if how.signal else how.status)
