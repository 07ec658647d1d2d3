from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from fakes.stores import MemoryStore
from holdfast.core.errors import SettingsError
from holdfast.core.gang.link import Prepare
from holdfast.spool import Spool
from holdfast.supervisor.gang.member_round import RankFolder

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


def test_a_work_dir_that_another_rank_uses_is_a_wrong_setting(tmp_path: Path) -> None:
    with Spool(tmp_path / RUN).lock(), pytest.raises(SettingsError, match="each rank needs a --work-dir of its own"):
        folder(tmp_path).open(ORDER)
