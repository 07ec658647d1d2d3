"""A work dir on a full disk, and on one that becomes read-only: the training goes on, and the exit code is true.

The disks are a small tmpfs and an ext4 file system in a file, mounted in the test's own folder.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from holdfast.core.errors import Exit
from holdfast.store import StoreSettings, open_store
from holdfast.store.catalog import list_pairs, read_manifest
from integration.daemons import SCRIPTS, Daemon, Machines, machines

pytestmark = pytest.mark.real
RUN = "00001-count"
MIB = 1 << 20
PAIR = {"SIZE": "200000", "STEPS": "60", "EVERY": "10", "PACE": "0.02"}  # 1.6 MB each


@contextmanager
def mounted(*words: str, at: Path) -> Iterator[Path]:
    at.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", *words, str(at)], check=True)
    try:
        yield at
    finally:
        subprocess.run(["umount", str(at)], check=True)


@pytest.fixture
def park(tmp_path: Path) -> Iterator[Machines]:
    """A store on the test's own disk; machine ``one`` has a small one of 8 MB."""
    with machines(str(tmp_path / "store"), tmp_path / "machines", {}) as found:
        yield found


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted("-t", "tmpfs", "-o", "size=8m", "tmpfs", at=tmp_path / "machines" / "one") as path:
        yield path


@contextmanager
def filled(disk: Path) -> Iterator[None]:
    """Somebody else takes all room at once, and whatever becomes free."""
    done, full = threading.Event(), threading.Event()
    thread = threading.Thread(target=_fill, args=(disk / "somebody-elses", done, full))
    thread.start()
    assert full.wait(30)
    try:
        yield
    finally:
        done.set()
        thread.join()
        (disk / "somebody-elses").unlink()


def _fill(path: Path, done: threading.Event, full: threading.Event) -> None:
    with path.open("wb", buffering=0) as file:
        while not done.is_set():
            try:
                file.write(b"x" * 4096)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                full.set()
                done.wait(0.001)


def undisturbed(folder: Path) -> str:
    """The last line of the same training on a disk with room."""
    environment = {**os.environ, **PAIR, "PACE": "0"}
    words = [sys.executable, str(SCRIPTS / "count.py")]
    done = subprocess.run(words, env=environment, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


def check_truth(park: Machines, code: int, daemon: Daemon, scratch: Path) -> None:
    """The training came to its end; 0 says that it is in the store, 74 that it is not; nothing there is half."""
    assert undisturbed(scratch) in daemon.text, daemon.text
    assert code in (Exit.COMPLETE, Exit.UNSTORED), daemon.text
    store = open_store(park.store, StoreSettings())
    pairs = list_pairs(store, RUN)
    for name in pairs:
        manifest = read_manifest(store, RUN, name)
        for part, record in manifest.files.items():
            store.fetch(f"{RUN}/{name.file(part)}", scratch / "back")
            assert (scratch / "back").stat().st_size == record.size
    at_the_end = bool(pairs) and pairs[0].step == int(PAIR["STEPS"])
    complete = any(entry.key == f"{RUN}/complete.json" for entry in store.list(f"{RUN}/"))
    assert (code == Exit.COMPLETE) == (at_the_end and complete), (code, pairs)


def finish_elsewhere(park: Machines, scratch: Path) -> None:
    """A machine with room ends the run as if nothing had been."""
    daemon = park.start("two", **PAIR)
    assert daemon.wait() == Exit.COMPLETE, daemon.text
    assert undisturbed(scratch) in daemon.text or "the run is complete" in daemon.text


def test_a_training_outlives_a_disk_that_is_full_to_its_end(park: Machines, small_disk: Path, scratch: Path) -> None:
    daemon = park.start("one", **PAIR)
    park.until_step("one", 20, daemon)
    with filled(small_disk):
        code = daemon.wait()
    check_truth(park, code, daemon, scratch)
    assert code == Exit.UNSTORED
    finish_elsewhere(park, scratch)


def test_a_training_outlives_a_disk_that_is_full_for_a_while(park: Machines, small_disk: Path, scratch: Path) -> None:
    daemon = park.start("one", **PAIR)
    park.until_step("one", 20, daemon)
    with filled(small_disk):
        park.until_step("one", 45, daemon)
    code = daemon.wait()
    check_truth(park, code, daemon, scratch)
    assert code == Exit.COMPLETE, daemon.text


def test_the_oldest_stored_pairs_go_where_a_new_one_would_not_fit(
    park: Machines, small_disk: Path, scratch: Path
) -> None:
    """Room for one pair and a half: each needs the place of the one before, which may go once it is stored."""
    (small_disk / "somebody-elses").write_bytes(b"x" * (4 * MIB))
    daemon = park.start("one", **PAIR)
    code = daemon.wait()
    check_truth(park, code, daemon, scratch)
    assert code == Exit.COMPLETE, daemon.text


def test_a_disk_that_is_full_at_the_start_is_said_and_stores_nothing(
    park: Machines, small_disk: Path, scratch: Path
) -> None:
    (small_disk / RUN).mkdir()
    with filled(small_disk):
        daemon = park.start("one", **PAIR)
        code = daemon.wait()
    assert code != Exit.COMPLETE, daemon.text
    assert "No space left" in daemon.text or undisturbed(scratch) in daemon.text
    finish_elsewhere(park, scratch)


def test_a_training_outlives_a_disk_that_becomes_read_only(park: Machines, tmp_path: Path, scratch: Path) -> None:
    """As ext4 does when the disk under it fails."""
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(48 * MIB)
    subprocess.run(["mkfs.ext4", "-q", "-E", "lazy_itable_init=0", str(image)], check=True)
    with mounted("-o", "loop,errors=remount-ro", str(image), at=tmp_path / "machines" / "one") as disk:
        daemon = park.start("one", **PAIR)
        park.until_step("one", 20, daemon)
        _fail(disk)
        code = daemon.wait()
        check_truth(park, code, daemon, scratch)
        assert code == Exit.UNSTORED, daemon.text
    finish_elsewhere(park, scratch)


def _fail(disk: Path) -> None:
    """Lets the file system meet an error; it answers by going read-only."""
    for line in Path("/proc/mounts").read_text().splitlines():
        device, place, *_ = line.split()
        if place == str(disk):
            Path(f"/sys/fs/ext4/{Path(device).name}/trigger_fs_error").write_text("a test of a failing disk")
            return
    raise AssertionError(f"{disk} is not mounted")
