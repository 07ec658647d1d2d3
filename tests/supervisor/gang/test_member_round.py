from __future__ import annotations

import errno
import queue
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from fakes.stores import MemoryStore
from holdfast.core.errors import SettingsError
from holdfast.core.gang.messages import LinkMessage, Prepare, ReadyToStart
from holdfast.spool import Spool
from holdfast.supervisor.gang.member_round import Preparation, RankFolder

from .members import PATIENCE

RUN = "00001-a"
ORDER = Prepare(1, RUN, 1, None, "epoch", False)


def folder(tmp_path: Path, attach: Callable[[Path], None] = lambda path: None) -> RankFolder:
    return RankFolder(tmp_path, MemoryStore(), lambda kind, text="", **facts: None, attach)


def test_a_disk_that_is_full_for_a_moment_is_tried_again_with_the_lock_that_is_held(tmp_path: Path) -> None:
    """The kernel takes a second lock of one process for another process's."""
    left = [OSError(errno.ENOSPC, "no space left")]

    def attach(path: Path) -> None:
        if left:
            raise left.pop()

    found = folder(tmp_path, attach)
    with pytest.raises(OSError, match="no space left"):
        found.open(ORDER)
    found.open(ORDER)
    assert found.order == ORDER
    found.close()


def test_the_port_that_a_rank_tells_stays_its_own_until_its_command_starts(tmp_path: Path) -> None:
    """Until the last rank is ready, which may take minutes."""
    told: queue.SimpleQueue[LinkMessage] = queue.SimpleQueue()

    def tell(message: LinkMessage) -> bool:
        told.put(message)
        return True

    rank = folder(tmp_path)
    preparation = Preparation(rank, lambda kind, text="", **facts: None, lambda failed: None)
    preparation.begin(ORDER, tell)
    ready = told.get(timeout=PATIENCE)
    assert isinstance(ready, ReadyToStart)
    with socket.socket() as other:
        with pytest.raises(OSError, match="in use"):
            other.bind(("", ready.port))
        preparation.give_port()
        other.bind(("", ready.port))
    rank.close()


def test_a_work_dir_that_another_rank_uses_is_a_wrong_setting(tmp_path: Path) -> None:
    with Spool(tmp_path / RUN).lock(), pytest.raises(SettingsError, match="each rank needs a --work-dir of its own"):
        folder(tmp_path).open(ORDER)
