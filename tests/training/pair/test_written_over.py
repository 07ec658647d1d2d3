"""A pair's file is written over an earlier one's: only what differs, and the result is the same."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from holdfast.core.manifest import Manifest
from holdfast.spool import PART, Spool, check_file
from holdfast.training.pair import pair_files, part_sums
from holdfast.training.pair.pair_files import Place, Position
from holdfast.training.session.base import Session
from holdfast.training.session.loop import draft_of

MIB = 1 << 20
ARRAYS = 12
Arrays = list[np.ndarray]


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(Spool(tmp_path / "00001-digits"), 1, 1, None, durable=False)


def arrays(*sizes: int) -> Arrays:
    random = np.random.default_rng(0)
    return [random.random(size // 4, np.float32) for size in sizes or [4 * MIB] * ARRAYS]


def write(session: Session, step: int, given: Arrays, most_dirty: int | None = None) -> Manifest:
    named = {Place("array", number): (str(number), array.copy()) for number, array in enumerate(given)}
    draft = draft_of(Position(0, step, step), "interval", {}, named, {"step": step})
    return pair_files.write(session, draft, most_dirty)


def check(session: Session, manifest: Manifest, given: Arrays) -> None:
    session.spool.verify(manifest)
    saved = pair_files.load_from(session.spool, manifest.name)
    for number, array in enumerate(given):
        np.testing.assert_array_equal(saved.values[Place("array", number)][1], array)


def written_by(work: Callable[[], object]) -> int:
    """Bytes that this process's threads wrote meanwhile, as the kernel counts them."""
    before = _written()
    work()
    return _written() - before


def _written() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["wchar"])


def pairs_in_turn(session: Session, change: Callable[[Arrays, int], Arrays], count: int = 6) -> list[int]:
    """Writes pairs, and retires the last but one after each: the bytes that each took."""
    given, last, took = arrays(), None, []
    for step in range(1, count + 1):
        given = change(given, step)
        made: list[Manifest] = []
        took.append(written_by(lambda: made.append(write(session, step, given))))  # noqa: B023  # called at once
        check(session, made[0], given)
        if last is not None:
            session.spool.retire(last.name)
        last = made[0]
    return took


def last_trained(given: Arrays, step: int) -> Arrays:
    given[-1] += 1
    return given


def test_only_the_parts_that_differ_are_written(session: Session) -> None:
    took = pairs_in_turn(session, last_trained)
    assert min(took[:2]) > ARRAYS * 4 * MIB
    assert max(took[2:]) < 2 * PART + MIB, "the last array, and what is smaller than a part"


def test_once_the_disk_has_failed_no_file_is_taken_for_what_was_written_to_it(session: Session) -> None:
    def fails_before_the_fourth(given: Arrays, step: int) -> Arrays:
        if step == 4:
            part_sums.trust_no_file()
        return last_trained(given, step)

    took = pairs_in_turn(session, fails_before_the_fourth, 5)
    assert took[2] < 2 * PART + MIB
    assert took[3] > ARRAYS * 4 * MIB


def test_what_was_trained_in_the_meantime_is_written(session: Session) -> None:
    """One part differs from that of two pairs ago, and not from the last pair's."""

    def change(given: Arrays, step: int) -> Arrays:
        given[step // 2] += 1
        return given

    pairs_in_turn(session, change)


@pytest.mark.parametrize(
    "change",
    [
        lambda given, step: [array + 1 for array in given],
        lambda given, step: [*given, *arrays(3 * MIB)],
        lambda given, step: given[1:],
        lambda given, step: given[::-1],
        lambda given, step: [*arrays(200), *given],
    ],
    ids=["all trained", "more arrays", "fewer arrays", "another order", "a small array before them"],
)
def test_whatever_has_changed_the_pair_is_whole(session: Session, change: Any) -> None:
    pairs_in_turn(session, change)


def test_without_a_fast_hash_all_is_written_over(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_sums, "_known", None)
    took = pairs_in_turn(session, last_trained, 3)
    assert took[2] > ARRAYS * 4 * MIB


@pytest.mark.parametrize("at", [0, 20 * MIB, -1])
def test_what_somebody_else_has_changed_in_the_file_is_written(session: Session, at: int) -> None:
    given = arrays()
    first, second = write(session, 1, given), write(session, 2, given)
    with session.spool.file(first.name.file("h5")).open("r+b") as file:
        file.seek(at, os.SEEK_SET if at >= 0 else os.SEEK_END)
        file.write(b"\xff")
    session.spool.retire(first.name)
    third = write(session, 3, given)
    check(session, second, given)
    check(session, third, given)


@pytest.mark.whole
def test_a_file_is_written_anew_after_a_number_of_times(session: Session) -> None:
    """What the disk has damaged in it unseen does not stay for ever."""
    took = pairs_in_turn(session, last_trained, 64)
    anew = [number for number, size in enumerate(took) if size > ARRAYS * 4 * MIB]
    assert len(anew) == 4, "twice each of the two files that take turns"


def test_the_disk_is_waited_for_and_what_it_has_is_on_it(session: Session) -> None:
    given = arrays()
    for step in range(1, 4):
        given[-1] += 1
        manifest = write(session, step, given, most_dirty=MIB)
        check(session, manifest, given)
        if step < 3:
            session.spool.retire(manifest.name)


def test_a_pair_whose_writing_fails_leaves_nothing(session: Session) -> None:
    first = write(session, 1, arrays())
    session.spool.retire(first.name)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (first.size, before[1]))
    try:
        with pytest.raises((OSError, RuntimeError), match="too large"):
            write(session, 2, arrays(60 * MIB))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(session.spool.path.glob("*.h5")) == list(session.spool.path.glob(".*.h5")) == []


def test_a_full_disk_costs_the_retired_file_before_any_pair(session: Session) -> None:
    names = [write(session, step, arrays()).name for step in (1, 2, 3)]
    for name in names:
        session.spool.mark_stored(name)
    session.spool.retire(names[0])
    assert session.make_room()
    assert session.spool.pairs() == names[:0:-1]
    assert session.make_room()
    assert session.spool.pairs() == names[2:]


def test_the_files_stay_private(session: Session) -> None:
    before = os.umask(0)
    try:
        for step in (1, 2, 3):
            manifest = write(session, step, arrays())
            assert session.spool.file(manifest.name.file("h5")).stat().st_mode & 0o777 == 0o600
            check_file(session.spool.file(manifest.name.file("h5")), manifest.files["h5"])
            session.spool.retire(manifest.name)
    finally:
        os.umask(before)
