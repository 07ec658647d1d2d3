from __future__ import annotations

import contextlib
import hashlib
import os
import resource
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fakes.pairs import name_of, save_pair
from holdfast.core.checkpoint_name import CheckpointName
from holdfast.core.errors import Busy, InvalidPair
from holdfast.core.manifest import Manifest
from holdfast.spool import (
    PART,
    TEMPORARY,
    Board,
    Progress,
    Spool,
    append_to,
    check_file,
    file_lock,
    part_size_of,
    record_in_parts,
    record_of,
    replacing,
    write_whole,
)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "work" / "00001-digits")


def pair_name(save: int, incarnation: int = 1) -> CheckpointName:
    return CheckpointName(1, 100 * save, "0.5000", incarnation, save)


def add_pair(spool: Spool, name: CheckpointName, durable: bool = False) -> Manifest:
    for part in ("h5", "pkl"):
        write_whole(spool.file(name.file(part)), f"{part} of {name}".encode(), durable)
    files = {part: record_of(spool.file(name.file(part))) for part in ("h5", "pkl")}
    manifest = Manifest(name, spool.run, 0, "model", "epoch", "2025-01-02T03:04:05+00:00", files)
    spool.commit(manifest, durable)
    return manifest


def names_in(path: Path) -> set[str]:
    return {entry.name for entry in path.iterdir()}


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@contextlib.contextmanager
def disk_full_after(size: int) -> Iterator[None]:
    """Lets every file grow to ``size`` bytes only."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def other_process(script: str, path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that has run ``script`` and waits, until it is killed or the block ends."""
    code = f"import sys\nfrom pathlib import Path\nfrom holdfast.spool import *\npath = Path(sys.argv[1])\n{script}"
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process
        process.kill()


WAIT = "print('ready', flush=True); sys.stdin.read()"


# --- a file appears whole or not at all ----------------------------------------------------------------------------


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_written_and_replaced_whole(durable: bool, tmp_path: Path) -> None:
    path = tmp_path / "file"
    for data in (b"old", b"a longer new content", b""):
        write_whole(path, data, durable)
        assert path.read_bytes() == data
    assert names_in(tmp_path) == {"file"}


@pytest.mark.parametrize("old", [None, b"old"])
def test_when_the_disk_is_full_the_old_content_stays_and_nothing_is_left_over(
    old: bytes | None, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    if old is not None:
        path.write_bytes(old)
    with disk_full_after(1000), pytest.raises(OSError, match="File too large"):
        write_whole(path, b"x" * 5000, durable=True)
    assert names_in(tmp_path) == ({"file"} if old else set())
    assert not old or path.read_bytes() == old


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_when_a_writer_gives_up_the_old_content_stays_and_nothing_is_left_over(
    error: type[BaseException], tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def give_up() -> None:
        with replacing(path, durable=True) as temporary:
            temporary.write_bytes(b"half of the n")
            raise error

    with pytest.raises(error):
        give_up()
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == {"file"}


def test_when_the_name_cannot_be_taken_nothing_is_left_over(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_whole(tmp_path / "file", b"new", durable=False)
    assert names_in(tmp_path) == {"file"}


def test_a_writer_that_is_killed_leaves_the_old_content_and_a_temporary_file_that_is_swept(spool: Spool) -> None:
    path = spool.file("file")
    path.write_bytes(b"old")
    script = f"with replacing(path, False) as temporary:\n    temporary.write_bytes(b'half')\n    {WAIT}"
    with other_process(script, path) as writer:
        assert path.read_bytes() == b"old"
        writer.kill()
        writer.wait()
    assert path.read_bytes() == b"old"
    assert len(names_in(spool.path)) == 2
    spool.sweep()
    assert names_in(spool.path) == {"file"}


def test_a_log_grows_over_several_writers(tmp_path: Path) -> None:
    for text in (b"one\n", b"two\n"):
        with append_to(tmp_path / "log.txt") as log:
            log.write(text)
            assert (tmp_path / "log.txt").read_bytes().endswith(text)
    assert (tmp_path / "log.txt").read_bytes() == b"one\ntwo\n"


def test_only_the_owner_can_read_what_is_stored(spool: Spool) -> None:
    before = os.umask(0)
    try:
        folder = Spool(spool.path / "another")
        spool.file("readable").write_bytes(b"old")
        write_whole(spool.file("readable"), b"new", durable=False)
        add_pair(spool, pair_name(1))
        spool.identity()
        append_to(spool.file("log.txt")).close()
        Board(spool.file(Board.FILE))
        with spool.lock():
            modes = {entry.name: mode(entry) for entry in spool.path.iterdir()}
    finally:
        os.umask(before)
    assert modes.pop("another") == 0o700
    assert mode(folder.path) == 0o700
    assert modes == dict.fromkeys(modes, 0o600)
    assert len(modes) == 8


# --- pairs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("durable", [False, True])
def test_a_pair_exists_from_its_manifest_on(durable: bool, spool: Spool) -> None:
    name = pair_name(1)
    spool.file(name.file("h5")).write_bytes(b"weights")
    spool.file(name.file("pkl")).write_bytes(b"state")
    assert spool.pairs() == []
    manifest = add_pair(spool, name, durable)
    assert spool.pairs() == [name]
    assert spool.manifest(name) == manifest
    spool.verify(manifest)


def test_pairs_are_listed_newest_first_and_other_files_are_none(spool: Spool) -> None:
    held = [pair_name(2, incarnation=2), pair_name(1, incarnation=2), pair_name(10), pair_name(9)]
    for name in reversed(held):
        add_pair(spool, name)
    for other in ("training_options.json", "model-1.json", f"{TEMPORARY}0-{pair_name(11)}.json", "log.txt"):
        spool.file(other).write_bytes(b"{}")
    assert spool.pairs() == held


def test_a_pair_that_is_not_there_has_no_manifest(spool: Spool) -> None:
    with pytest.raises(FileNotFoundError):
        spool.manifest(pair_name(1))


def test_a_damaged_manifest_is_an_invalid_pair(spool: Spool) -> None:
    add_pair(spool, pair_name(1))
    spool.file(pair_name(1).file("json")).write_bytes(b"{")
    with pytest.raises(InvalidPair):
        spool.manifest(pair_name(1))


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut_the_end(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def add_a_byte(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def put_a_folder_there(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("part", ["h5", "pkl"])
@pytest.mark.parametrize("damage", [flip_a_bit, cut_the_end, add_a_byte, Path.unlink, put_a_folder_there])
def test_any_damage_to_a_data_file_is_found(damage: Callable[[Path], None], part: str, spool: Spool) -> None:
    manifest = add_pair(spool, pair_name(1))
    spool.verify(manifest)
    damage(spool.file(manifest.name.file(part)))
    with pytest.raises(InvalidPair, match=manifest.name.file(part)):
        spool.verify(manifest)


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (3 << 20) + 7])
def test_a_record_is_size_and_sha256_of_the_whole_file(size: int, tmp_path: Path) -> None:
    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)
    record = record_of(tmp_path / "file")
    assert (record.size, record.sha256) == (size, hashlib.sha256(data).hexdigest())
    assert record.crc32 == zlib.crc32(data)


@pytest.mark.parametrize("size", [2 * PART, 2 * PART + 1, 3 * PART - 1])
def test_a_large_file_has_a_record_of_its_parts_and_one_that_is_computed_from_theirs(size: int, tmp_path: Path) -> None:
    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)
    record = record_in_parts(tmp_path / "file")
    parts = [data[at : at + PART] for at in range(0, size, PART)]
    assert record.parts is not None
    assert record.parts.sha256 == tuple(hashlib.sha256(part).hexdigest() for part in parts)
    assert record.parts.crc32 == tuple(map(zlib.crc32, parts))
    assert record.sha256 == hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
    assert record.crc32 == zlib.crc32(data)
    check_file(tmp_path / "file", record)


@pytest.mark.parametrize("at", [0, PART - 1, PART, 2 * PART])
def test_a_changed_byte_is_found_in_any_part(at: int, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(2 * PART + 1))
    record = record_in_parts(path)
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"x")
    with pytest.raises(InvalidPair, match="differs from its checksum"):
        check_file(path, record)


def test_a_file_has_no_more_parts_than_a_manifest_has_room_for() -> None:
    assert part_size_of(2 * PART - 1) is None
    for size in (2 * PART, 8 << 30, 14 << 30, 1 << 40):
        length = part_size_of(size)
        assert length is not None
        assert -(-size // length) <= 1000


def test_a_removed_pair_is_gone_and_may_be_removed_again(spool: Spool) -> None:
    add_pair(spool, pair_name(1))
    add_pair(spool, pair_name(2))
    spool.remove(pair_name(1))
    spool.remove(pair_name(1))
    assert names_in(spool.path) == {pair_name(2).file(part) for part in ("json", "h5", "pkl")}


def test_a_removal_that_fails_half_way_has_removed_the_manifest(spool: Spool) -> None:
    add_pair(spool, pair_name(1))
    put_a_folder_there(spool.file(pair_name(1).file("h5")))
    with pytest.raises(OSError, match="directory"):
        spool.remove(pair_name(1))
    assert spool.pairs() == []


def test_a_pair_that_is_marked_stored_is_known_to_be_so_until_it_is_removed(spool: Spool) -> None:
    for save in (1, 2):
        save_pair(spool, name_of(save))
    spool.mark_stored(name_of(1))
    spool.sweep()
    assert spool.stored() == [name_of(1)]
    spool.remove(name_of(1))
    assert spool.stored() == []
    assert [path for path in spool.path.iterdir() if str(name_of(1)) in path.name] == []


def test_a_sweep_clears_temporaries_and_orphans_and_keeps_all_else(spool: Spool) -> None:
    add_pair(spool, pair_name(1))
    kept = ("log.txt", "events.jsonl", "best.h5", "model.pkl", "progress", ".spool-id", f"{pair_name(2)}.txt")
    for name in kept:
        spool.file(name).write_bytes(b"kept")
    Spool(spool.path / "artifacts").file("best.h5").write_bytes(b"kept")
    before = names_in(spool.path)
    orphans = (pair_name(2).file("h5"), pair_name(2).file("pkl"), pair_name(3).file("h5"))
    for name in (*orphans, f"{TEMPORARY}0123-log.txt", f"{TEMPORARY}4567-{pair_name(4)}.h5"):
        spool.file(name).write_bytes(b"half")
    spool.sweep()
    assert names_in(spool.path) == before
    spool.verify(spool.manifest(pair_name(1)))
    assert (spool.path / "artifacts" / "best.h5").exists()


def test_what_a_killed_training_was_writing_goes_and_what_others_write_stays(spool: Spool) -> None:
    add_pair(spool, pair_name(1))
    for name in ("log-i2.txt", "artifact", "retired.h5", "0123456789ab-lease.json"):
        spool.file(f"{TEMPORARY}{name}").write_bytes(b"kept")
    before = names_in(spool.path)
    for name in (pair_name(2).file("h5"), pair_name(2).file("pkl"), "retired.h5"):
        spool.file(f"{TEMPORARY}0123456789ab-{name}").write_bytes(b"half")
    spool.sweep_unfinished()
    assert names_in(spool.path) == before


def test_a_folder_keeps_its_identity_and_shares_it_with_none(spool: Spool) -> None:
    identity = spool.identity()
    assert len(identity) >= 32
    assert Spool(spool.path).identity() == identity
    assert Spool(spool.path.parent / "00002-digits").identity() != identity


@pytest.mark.parametrize("garbage", [b"", b"\xff\xfe\x00", b"[" * 300, b"0123"])
def test_an_identity_that_is_garbage_is_made_anew(spool: Spool, garbage: bytes) -> None:
    spool.file(".spool-id").write_bytes(garbage)
    identity = spool.identity()
    assert len(identity) >= 32
    assert Spool(spool.path).identity() == identity


# --- the lock ------------------------------------------------------------------------------------------------------


def test_a_lock_excludes_a_second_holder_and_is_given_back(spool: Spool) -> None:
    with spool.lock():
        with pytest.raises(Busy, match="00001-digits"), spool.lock():
            pytest.fail("there were two holders")
        with pytest.raises(Busy), spool.lock():
            pytest.fail("the first refusal gave the lock away")
    with spool.lock():
        pass


def test_a_lock_is_given_back_when_its_work_fails(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="work"), file_lock(tmp_path / "lock"):
        raise ValueError("work")
    with file_lock(tmp_path / "lock"):
        pass


def test_a_lock_is_given_back_though_a_forked_process_lives_on(tmp_path: Path) -> None:
    """A data loader's worker, say."""
    with file_lock(tmp_path / "lock"):
        pid = os.fork()
        if pid == 0:
            signal.pause()
            os._exit(0)
    try:
        with file_lock(tmp_path / "lock"):
            pass
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_a_lock_excludes_another_process_and_is_free_when_that_is_killed(spool: Spool) -> None:
    with other_process(f"with Spool(path).lock():\n    {WAIT}", spool.path) as holder:
        with pytest.raises(Busy), spool.lock():
            pytest.fail("there were two holders")
        holder.kill()
        assert holder.wait() == -signal.SIGKILL
        with spool.lock():
            pass


def test_what_a_holder_started_does_not_keep_its_lock(spool: Spool) -> None:
    start = "import subprocess; subprocess.Popen([sys.executable, '-c', 'input()'], stderr=subprocess.DEVNULL)"
    with other_process(f"with Spool(path).lock():\n    {start}\n    {WAIT}", spool.path) as holder:
        holder.kill()
        holder.wait()
        with spool.lock():
            pass


# --- the board -----------------------------------------------------------------------------------------------------


def test_there_is_no_progress_before_there_is_a_board(tmp_path: Path) -> None:
    assert Board.read(tmp_path / "progress") == Progress(0, 0, 0, 0)


@pytest.mark.parametrize("size", [0, 8, 31, 33, 39, 41])
def test_a_board_of_a_wrong_size_shows_no_progress(size: int, tmp_path: Path) -> None:
    (tmp_path / "progress").write_bytes(b"\1" * size)
    assert Board.read(tmp_path / "progress") == Progress()


def test_a_board_shows_what_was_written_last(tmp_path: Path) -> None:
    board = Board(tmp_path / "progress")
    assert Board.read(tmp_path / "progress") == Progress()
    for progress in (Progress(1, 0, 1, 1), Progress(2**40, 3, 17, 2**62)):
        board.write(progress)
        assert Board.read(tmp_path / "progress") == progress


def test_validation_is_counted_beside_the_batches_and_over_all_processes(tmp_path: Path) -> None:
    path = tmp_path / "progress"
    for number in (1, 2):
        board = Board(path)
        board.write(Progress(number, 0, number, number))
        board.add_validation(1.5)
        board.add_validation(0.25)
    assert Board.read(path) == Progress(2, 0, 2, 2, validated=3.5)


def test_a_board_of_an_earlier_version_has_no_validation_and_is_written_on(tmp_path: Path) -> None:
    path = tmp_path / "progress"
    path.write_bytes(struct.pack("<4q", 940, 3, 120, 940))
    assert Board.read(path) == Progress(940, 3, 120, 940)
    Board(path).add_validation(2)
    assert Board.read(path) == Progress(940, 3, 120, 940, validated=2.0)


def test_a_board_has_its_room_on_the_disk_before_it_is_written_to(tmp_path: Path) -> None:
    """A write to memory that a full disk has no room for would kill the training."""
    Board(tmp_path / "progress")
    assert (tmp_path / "progress").stat().st_blocks > 0


def test_a_board_that_is_opened_again_keeps_its_counts(tmp_path: Path) -> None:
    Board(tmp_path / "progress").write(Progress(940, 3, 120, 940))
    Board(tmp_path / "progress")
    assert Board.read(tmp_path / "progress") == Progress(940, 3, 120, 940)


def test_a_board_survives_a_sigkill_of_its_writer(tmp_path: Path) -> None:
    path = tmp_path / "progress"
    script = f"board = Board(path)\nfor n in range(1, 941): board.write(Progress(n, n // 300, n % 300, n))\n{WAIT}"
    with other_process(script, path) as writer:
        assert Board.read(path) == Progress(940, 3, 40, 940)
        writer.kill()
        assert writer.wait() == -signal.SIGKILL
    assert Board.read(path) == Progress(940, 3, 40, 940)


def test_no_descriptor_is_left_open(spool: Spool) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for save in range(3):
        spool.verify(add_pair(spool, pair_name(save), durable=True))
        with spool.lock(), contextlib.suppress(Busy), spool.lock():
            pass
        append_to(spool.file("log.txt")).close()
        Board(spool.file(Board.FILE)).write(Progress(save))
    spool.sweep()
    assert len(os.listdir("/proc/self/fd")) == before
