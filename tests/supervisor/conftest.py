"""A store that can fail; a metadata service on loopback, and a client of it whose clock stands still."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fakes.clocks import Clock
from fakes.stores import FlakyStore, MemoryStore
from holdfast.drill.fake_imds import MetadataService
from holdfast.supervisor.notices.imds import MetadataClient


@pytest.fixture
def memory() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def store(memory: MemoryStore) -> FlakyStore:
    return FlakyStore(memory)


@pytest.fixture
def service() -> Iterator[MetadataService]:
    with MetadataService() as service:
        yield service


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(service: MetadataService, clock: Clock) -> MetadataClient:
    return MetadataClient(service.endpoint, clock)
