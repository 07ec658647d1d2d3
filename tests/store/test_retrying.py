from __future__ import annotations

from pathlib import Path

import pytest

from fakes.stores import FlakyStore, MemoryStore
from holdfast.core.errors import Conflict, NotFound, Permanent, Transient
from holdfast.store.retrying import PatientStore
from store.conformance import Make, StoreConformance


@pytest.mark.whole
class TestPatientStore(StoreConformance):
    many = 12  # in memory, where nothing is listed in pages

    @pytest.fixture
    def make(self) -> Make:
        return lambda prefix: PatientStore(MemoryStore())


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def flaky() -> FlakyStore:
    return FlakyStore(MemoryStore())


def test_what_fails_for_the_moment_is_tried_again_after_a_growing_pause(flaky: FlakyStore, pauses: list[float]) -> None:
    flaky.fail("list", Transient("slow down"), times=3)
    assert PatientStore(flaky, pauses.append).list("") == []
    assert len(pauses) == 3
    assert [0.25 <= pauses[0] <= 0.5, 0.5 <= pauses[1] <= 1, 1 <= pauses[2] <= 2] == [True, True, True]


def test_patience_ends_with_the_last_error(flaky: FlakyStore, pauses: list[float]) -> None:
    flaky.outage = Transient("away")
    with pytest.raises(Transient, match="away"):
        PatientStore(flaky, pauses.append).get("key")
    assert len(pauses) == 3


@pytest.mark.parametrize("error", [Permanent("denied"), NotFound("gone"), Conflict("taken")])
def test_what_will_not_change_is_not_tried_again(flaky: FlakyStore, pauses: list[float], error: Exception) -> None:
    flaky.fail("get", error)  # type: ignore[arg-type]
    with pytest.raises(type(error)):
        PatientStore(flaky, pauses.append).get("key")
    assert pauses == []


def test_every_operation_is_tried_again(flaky: FlakyStore, pauses: list[float], tmp_path: Path) -> None:
    store = PatientStore(flaky, pauses.append)
    (tmp_path / "file").write_bytes(b"1")
    for operation in ("put", "create", "replace", "get", "fetch", "list", "delete"):
        flaky.fail(operation, Transient("once"))
    store.put("a", tmp_path / "file")
    tag = store.create("b", b"1")
    store.replace("b", b"2", tag)
    assert store.get("b")[0] == b"2"
    store.fetch("b", tmp_path / "back")
    assert len(store.list("")) == 2
    store.delete("b")
    assert len(pauses) == 7
    assert (store.uri, store.durable_spool) == (flaky.uri, flaky.durable_spool)
