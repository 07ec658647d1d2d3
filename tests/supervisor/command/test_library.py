"""Which library a process has loaded, seen from outside. A file of TensorFlow's name stands for TensorFlow."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from holdfast.supervisor.command.library import LibraryWatch


def myself() -> list[psutil.Process]:
    return [psutil.Process()]


@pytest.fixture
def loaded(tmp_path: Path) -> Iterator[None]:
    library = tmp_path / "libtensorflow_of_a_test.so.2"
    library.write_bytes(bytes(mmap.PAGESIZE))
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ):
        yield


def test_a_library_that_a_process_has_mapped_is_seen(loaded: None) -> None:
    watch = LibraryWatch()
    watch.look(0.0, myself)
    assert watch.seen
    watch.look(100.0, lambda: pytest.fail("it is known"))


def test_it_is_looked_for_now_and_then_until_it_no_longer_matters() -> None:
    looks: list[float] = []
    watch = LibraryWatch()
    for tenth in range(100):
        watch.look(tenth / 10, lambda now=tenth / 10: looks.append(now) or [])  # type: ignore[misc]
    assert looks == [0.0, 2.0, 4.0, 6.0, 8.0]
    watch.over = True
    watch.look(100.0, lambda: pytest.fail("it trains"))


def test_a_process_that_is_gone_has_loaded_nothing() -> None:
    class Gone:
        pid = 2**22 + 1  # more than the kernel gives

    watch = LibraryWatch()
    watch.look(0.0, lambda: [Gone()])  # type: ignore[list-item]
    assert not watch.seen
