"""The fakes that other tests rely on keep the stores' contract too."""

from __future__ import annotations

import pytest

from fakes.stores import FlakyStore, MemoryStore
from holdfast.core.errors import NotFound, Transient
from store.conformance import Make, StoreConformance


class TestMemoryStore(StoreConformance):
    many = 12  # in memory, where nothing is listed in pages

    @pytest.fixture
    def make(self) -> Make:
        return lambda prefix: MemoryStore()


class TestFlakyStore(StoreConformance):
    many = 12  # in memory, where nothing is listed in pages

    @pytest.fixture
    def make(self) -> Make:
        return lambda prefix: FlakyStore(MemoryStore())


def test_a_scripted_failure_comes_before_or_after_the_effect_and_only_once() -> None:
    store = FlakyStore(MemoryStore())
    store.fail("create", Transient("refused")).fail("create", Transient("lost"), after=True)
    with pytest.raises(Transient, match="refused"):
        store.create("key", b"1")
    with pytest.raises(NotFound):
        store.get("key")
    with pytest.raises(Transient, match="lost"):
        store.create("key", b"2")
    assert store.get("key")[0] == b"2"
