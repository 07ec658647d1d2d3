"""The file of a removed pair is kept for the next one, and is nothing else to anybody."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fakes.pairs import content_of, name_of, save_pair
from holdfast.core.checkpoint_name import CheckpointName
from holdfast.spool import PART, Spool

LARGE = 2 * PART


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "00001-digits")


def add(spool: Spool, save: int, size: int = LARGE) -> CheckpointName:
    save_pair(spool, name_of(save), size=size)
    return name_of(save)


def content(save: int) -> bytes:
    return content_of(name_of(save), "h5").ljust(LARGE)


def kept(spool: Spool) -> list[Path]:
    return [path for path in spool.path.iterdir() if path.stat().st_size >= PART]


def test_of_removed_pairs_one_file_is_kept_and_no_pair_is_left(spool: Spool) -> None:
    for save in (1, 2, 3):
        spool.mark_stored(add(spool, save))
    for save in (1, 2):
        spool.retire(name_of(save))
    assert (spool.pairs(), spool.stored()) == ([name_of(3)], [name_of(3)])
    assert list(spool.path.glob(f"*{name_of(2)}*")) == []
    with spool.retired() as path:
        assert path is not None
        assert path.read_bytes() == content(2)
        with spool.retired() as another:
            assert another is None
    assert kept(spool) == [spool.file(name_of(3).file("h5"))], "what was not used is gone"


def test_what_is_given_may_get_another_name(spool: Spool) -> None:
    spool.retire(add(spool, 1))
    with spool.retired() as path:
        assert path is not None
        path.rename(spool.file("next.h5"))
    assert kept(spool) == [spool.file("next.h5")]


def test_a_small_file_is_not_worth_keeping(spool: Spool) -> None:
    spool.retire(add(spool, 1, LARGE - 1))
    assert list(spool.path.iterdir()) == []


def test_a_pair_that_is_not_there_is_no_error(spool: Spool) -> None:
    spool.retire(name_of(1))
    assert not spool.drop_retired()


def test_who_reads_a_pair_that_is_removed_meanwhile_goes_on_reading_it(spool: Spool) -> None:
    name = add(spool, 1)
    with spool.file(name.file("h5")).open("rb") as reader:
        reader.read(1)
        spool.retire(name)
        with spool.retired() as path:
            assert path is None
    assert kept(spool) == []


def test_a_pair_that_has_another_name_too_keeps_its_content_there(spool: Spool, tmp_path: Path) -> None:
    name = add(spool, 1)
    os.link(spool.file(name.file("h5")), tmp_path / "backup.h5")
    spool.retire(name)
    with spool.retired() as path:
        assert path is None
    assert (tmp_path / "backup.h5").read_bytes() == content(1)


def test_a_link_in_the_place_of_a_pairs_file_is_removed_and_what_it_points_to_stays(
    spool: Spool, tmp_path: Path
) -> None:
    name = add(spool, 1)
    file = spool.file(name.file("h5")).rename(tmp_path / "elsewhere.h5")
    spool.file(name.file("h5")).symlink_to(file)
    spool.retire(name)
    assert (list(spool.path.iterdir()), file.stat().st_size) == ([], LARGE)


def test_a_start_sweeps_it_away(spool: Spool) -> None:
    spool.retire(add(spool, 1))
    assert len(kept(spool)) == 1
    spool.sweep()
    assert kept(spool) == []


def test_a_disk_that_cannot_rename_it_still_loses_the_pair(spool: Spool) -> None:
    """A folder is in the way."""
    spool.retire(add(spool, 1))
    (kept_as,) = kept(spool)
    kept_as.unlink()
    kept_as.mkdir()
    name = add(spool, 2)
    spool.retire(name)
    assert not spool.file(name.file("h5")).exists()
