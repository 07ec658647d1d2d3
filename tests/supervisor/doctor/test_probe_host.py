"""How the facts about a machine are gathered: each fault is made, and must be found."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from fakes.http import Answer, AnsweringServer, unused_endpoint
from holdfast.drill.fake_imds import MetadataService
from holdfast.supervisor.doctor import WorkFacts
from holdfast.supervisor.doctor.probe_host import host_facts, metadata_facts, work_facts
from holdfast.supervisor.notices.imds import MetadataClient

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


def test_a_machine_without_nvidias_driver_has_no_gpu(tmp_path: Path) -> None:
    assert host_facts(tmp_path, {}, pid=2).gpus == 0


def test_gpus_their_files_and_how_their_memory_is_taken_are_looked_up(tmp_path: Path) -> None:
    host_file(tmp_path, "proc/driver/nvidia/gpus/0000:00:1e.0/information")
    facts = host_facts(tmp_path, {}, pid=2)
    assert (facts.gpus, facts.gpu_files, facts.gpu_growth) == (1, False, False)
    host_file(tmp_path, "dev/nvidia-uvm")
    facts = host_facts(tmp_path, {"TF_FORCE_GPU_ALLOW_GROWTH": "true"}, pid=2)
    assert (facts.gpu_files, facts.gpu_growth) == (True, True)
