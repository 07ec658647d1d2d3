"""How the doctor's facts are gathered: each fault is made, and must be found."""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fakes.clocks import Clock
from fakes.http import Answer, AnsweringServer, unused_endpoint
from fakes.stores import FlakyStore, MemoryStore
from holdfast.core.errors import Permanent, Transient
from holdfast.drill.metadata import MetadataService
from holdfast.store import Store
from holdfast.supervisor.doctor import Conditions, StoreFacts, WorkFacts
from holdfast.supervisor.notices import MetadataClient
from holdfast.supervisor.probes import StoreProbe, host_facts, metadata_facts, work_facts

DENIED = Permanent("AccessDenied")
EVERY = ("list", "put", "get", "delete")


def probe(store: Store, scratch: Path, size: int = 1000, clock: Callable[[], float] = time.perf_counter) -> StoreFacts:
    return StoreProbe(store, scratch, "holdfast-doctor-1", clock).facts(size)


def denying(operation: str, store: Store | None = None) -> FlakyStore:
    return FlakyStore(store or MemoryStore()).fail(operation, DENIED, times=99)


# --- rights --------------------------------------------------------------------------------------------------------


def test_a_good_store_passes_and_nothing_is_left_in_it(scratch: Path) -> None:
    store = MemoryStore()
    facts = probe(store, scratch)
    assert facts.tried == EVERY
    assert (facts.denied, facts.left) == ({}, ())
    assert facts.conditions == Conditions(True, True, True)
    assert store.objects == {}
    assert all(key.startswith("holdfast-doctor-1.") for key in store.writes)


def test_a_store_that_is_read_only_is_found(scratch: Path) -> None:
    store = MemoryStore()
    facts = probe(denying("put", denying("create", store)), scratch)
    assert facts.denied == {"put": "AccessDenied"}
    assert facts.conditions == Conditions()
    assert (facts.put_rate, facts.get_rate) == (None, None)
    assert store.writes == []


def test_a_store_whose_delete_fails_is_found_and_what_is_left_is_named(scratch: Path) -> None:
    facts = probe(denying("delete"), scratch)
    assert facts.denied == {"delete": "AccessDenied"}
    assert facts.left == ("holdfast-doctor-1.bulk", "holdfast-doctor-1.conditions")


def test_a_store_that_cannot_be_read_is_found(scratch: Path) -> None:
    store = MemoryStore()
    facts = probe(denying("fetch", denying("get", store)), scratch)
    assert facts.denied == {"get": "AccessDenied"}
    assert facts.round_trip is None
    assert store.objects == {}


def test_a_store_that_cannot_be_listed_is_found_and_still_cleaned(scratch: Path) -> None:
    store = MemoryStore()
    assert probe(denying("list", store), scratch).denied == {"list": "AccessDenied"}
    assert store.objects == {}


def test_a_store_that_is_away_is_not_asked_over_and_over(scratch: Path) -> None:
    flaky = FlakyStore(MemoryStore())
    flaky.outage = Transient("away")
    asked: list[str] = []
    flaky.before = lambda operation, key: asked.append(operation)
    facts = probe(flaky, scratch)
    assert facts.denied == {"list": "away", "put": "away"}
    assert asked == ["list", "put"]


def test_a_store_that_gives_back_other_bytes_is_found(scratch: Path) -> None:
    class Liar(MemoryStore):
        def fetch(self, key: str, path: Path, most: int | None = None) -> None:
            path.write_bytes(b"something else")

    assert probe(Liar(), scratch).denied == {"get": "what came back is not what was put"}


def test_a_store_that_takes_no_parts_is_found(scratch: Path) -> None:
    class NoParts(MemoryStore):
        def try_parts(self, key: str) -> None:
            raise DENIED

    facts = probe(NoParts(), scratch)
    assert facts.denied == {"parts": "AccessDenied"}
    assert facts.tried == ("list", "put", "get", "parts", "delete")


# --- conditional writes --------------------------------------------------------------------------------------------


class Careless(MemoryStore):
    """Accepts conditions and ignores them, as some S3-compatible stores do."""

    def create(self, key: str, data: bytes) -> str:
        return self._write(key, data)

    def replace(self, key: str, data: bytes, if_match: str) -> str:
        return self._write(key, data)


class NeverMatching(MemoryStore):
    """Refuses even the right tag, as a store that compares quoted tags with unquoted ones does."""

    def replace(self, key: str, data: bytes, if_match: str) -> str:
        return super().replace(key, data, "other")


def test_a_store_that_ignores_conditions_is_found(scratch: Path) -> None:
    store = Careless()
    assert probe(store, scratch).conditions == Conditions(False, False, True)
    assert store.objects == {}


def test_a_store_that_refuses_the_right_tag_is_found(scratch: Path) -> None:
    assert probe(NeverMatching(), scratch).conditions == Conditions(True, None, False)


def test_a_store_that_does_not_know_conditions_is_found(scratch: Path) -> None:
    assert probe(denying("replace"), scratch).conditions == Conditions(error="AccessDenied")


# --- measurements --------------------------------------------------------------------------------------------------


def test_rates_and_round_trips_are_measured(scratch: Path) -> None:
    clock = Clock()
    flaky = FlakyStore(MemoryStore())
    takes = {"put": 4.0, "fetch": 2.0, "get": 0.5}
    flaky.before = lambda operation, key: clock.advance(takes.get(operation, 0.0))
    facts = probe(flaky, scratch, size=1000, clock=clock)
    assert (facts.put_rate, facts.get_rate, facts.round_trip) == (250.0, 500.0, 0.5)


def test_a_probe_of_no_size_measures_no_rates(scratch: Path) -> None:
    facts = probe(MemoryStore(), scratch, size=0)
    assert (facts.put_rate, facts.get_rate) == (None, None)
    assert facts.denied == {}


class Server(MemoryStore):
    """A store whose server has a clock."""

    def __init__(self, there: datetime) -> None:
        super().__init__()
        self._there = there

    def server_time(self) -> datetime:
        return self._there


def test_the_clocks_difference_is_taken_at_the_middle_of_the_round_trip(scratch: Path) -> None:
    there = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
    walls = itertools.chain([there + timedelta(seconds=1000), there + timedelta(seconds=1002)])
    facts = StoreProbe(Server(there), scratch, "p", Clock(), lambda: next(walls)).facts(0)
    assert facts.skew == 1001.0


def test_a_store_without_a_clock_has_no_skew(scratch: Path) -> None:
    assert probe(MemoryStore(), scratch).skew is None


# --- the work dir --------------------------------------------------------------------------------------------------


def test_a_work_dir_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    facts = work_facts(tmp_path / "not" / "yet")
    assert facts.error == ""
    assert facts.free is not None
    assert facts.free > 0
    assert list(tmp_path.iterdir()) == []


def test_a_work_dir_that_takes_no_files_is_found() -> None:
    assert work_facts(Path("/proc/holdfast")).error != ""


def test_a_work_dir_that_is_a_file_is_found(scratch: Path) -> None:
    (scratch / "file").write_bytes(b"")
    assert work_facts(scratch / "file") == WorkFacts(str(scratch / "file"), "Not a directory")


# --- the metadata service ------------------------------------------------------------------------------------------


def client(endpoint: str) -> MetadataClient:
    return MetadataClient(endpoint, time.monotonic, timeout=0.2)


def test_a_metadata_service_that_answers_is_found() -> None:
    with MetadataService() as service:
        assert metadata_facts(client(service.endpoint)).state == "answers"
        service.interrupt()
        assert '"terminate"' in metadata_facts(client(service.endpoint)).notice


def test_a_metadata_service_that_drops_the_request_for_a_token_is_silent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:  # nobody ever accepts
        facts = metadata_facts(client(f"http://127.0.0.1:{server.getsockname()[1]}"))
    assert facts.state == "silent"
    assert "timed out" in facts.text


def test_a_metadata_service_that_is_not_there_is_absent() -> None:
    assert metadata_facts(client(unused_endpoint())).state == "absent"


def test_a_metadata_service_that_refuses_the_token_is_an_error() -> None:
    with AnsweringServer(lambda request: Answer(403)) as server:
        facts = metadata_facts(client(server.endpoint))
    assert facts.state == "error"
    assert "403" in facts.text


def test_a_disabled_metadata_service_is_not_asked() -> None:
    assert metadata_facts(None).state == "disabled"


# --- the host ------------------------------------------------------------------------------------------------------


def host_file(root: Path, name: str, text: str = "") -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_plain_machine_is_neither_a_container_nor_a_unit(tmp_path: Path) -> None:
    host_file(tmp_path, "proc/self/cgroup", "0::/user.slice/session-1.scope\n")
    facts = host_facts(tmp_path, {}, pid=4711)
    assert (facts.ec2, facts.container, facts.kubernetes, facts.systemd) == (False, False, False, False)
    assert facts.shm is None


@pytest.mark.parametrize("mark", [".dockerenv", "run/.containerenv"])
def test_a_container_is_known_by_its_mark(tmp_path: Path, mark: str) -> None:
    host_file(tmp_path, mark)
    assert host_facts(tmp_path, {}, pid=4711).container


def test_a_container_is_known_by_its_cgroup_its_environment_or_its_first_process(tmp_path: Path) -> None:
    assert host_facts(tmp_path, {}, pid=1).container
    assert host_facts(tmp_path, {"container": "podman"}, pid=2).container
    kubernetes = host_facts(tmp_path, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, pid=2)
    assert (kubernetes.container, kubernetes.kubernetes) == (True, True)
    host_file(tmp_path, "proc/self/cgroup", "0::/kubepods.slice/pod1\n")
    assert host_facts(tmp_path, {}, pid=2).container


@pytest.mark.parametrize("variable", ["NOTIFY_SOCKET", "INVOCATION_ID"])
def test_a_unit_is_known_by_what_systemd_gives_it(tmp_path: Path, variable: str) -> None:
    assert host_facts(tmp_path, {variable: "x"}, pid=2).systemd


@pytest.mark.parametrize(
    ("name", "text"),
    [("sys/class/dmi/id/sys_vendor", "Amazon EC2\n"), ("sys/hypervisor/uuid", "ec2e1916-9099\n")],
)
def test_ec2_is_known_by_its_hardware(tmp_path: Path, name: str, text: str) -> None:
    host_file(tmp_path, name, text)
    assert host_facts(tmp_path, {}, pid=2).ec2


def test_the_memory_of_a_container_ends_at_its_limit(tmp_path: Path) -> None:
    whole = host_facts(tmp_path, {}, pid=2).memory
    assert whole is not None
    assert whole > 1 << 20
    host_file(tmp_path, "sys/fs/cgroup/memory.current", "400\n")
    host_file(tmp_path, "sys/fs/cgroup/memory.max", "1000\n")
    assert host_facts(tmp_path, {}, pid=2).memory == 600
    host_file(tmp_path, "sys/fs/cgroup/memory.max", "max\n")
    unlimited = host_facts(tmp_path, {}, pid=2).memory
    assert unlimited is not None
    assert unlimited > 1 << 20


def test_the_limit_on_open_files_and_the_shared_memory_are_looked_up() -> None:
    facts = host_facts(Path("/"), {}, pid=2)
    assert facts.files is not None
    assert facts.files > 0
    assert facts.shm is not None
