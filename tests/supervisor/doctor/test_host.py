from __future__ import annotations

from dataclasses import replace

import pytest

from holdfast.supervisor.doctor import WorkFacts
from holdfast.supervisor.doctor.host import files, gpu, memory, room, shared_memory, work_dir

from .facts import GB, GOOD, MB, found, with_host


def test_a_work_dir_that_takes_no_files_is_a_problem() -> None:
    finding = work_dir(replace(GOOD, work=WorkFacts("/mnt/runs", "Read-only file system")))
    assert (finding.level, finding.text) == ("problem", "/mnt/runs: Read-only file system")


@pytest.mark.parametrize(
    ("free", "pair", "level"),
    [(799 * MB, 400 * MB, "problem"), (800 * MB, 400 * MB, "ok"), (999 * MB, None, "warning"), (GB, None, "ok")],
)
def test_two_pairs_must_fit_on_the_disk(free: int, pair: int | None, level: str) -> None:
    assert found(room(replace(GOOD, work=WorkFacts("runs", free=free), pair=pair))).level == level


@pytest.mark.parametrize(
    ("available", "pair", "level"),
    [(799 * MB, 400 * MB, "warning"), (800 * MB, 400 * MB, "ok"), (999 * MB, None, "warning"), (GB, None, "ok")],
)
def test_a_snapshot_must_fit_into_memory(available: int, pair: int | None, level: str) -> None:
    assert found(memory(replace(with_host(memory=available), pair=pair))).level == level


@pytest.mark.parametrize(("shm", "level"), [(None, "warning"), (64 << 20, "warning"), (1 << 30, "ok")])
def test_the_shared_memory_of_a_container_is_small(shm: int | None, level: str) -> None:
    assert found(shared_memory(with_host(shm=shm))).level == level


@pytest.mark.parametrize(("limit", "level"), [(1023, "warning"), (1024, "ok")])
def test_a_low_limit_on_open_files_is_found(limit: int, level: str) -> None:
    assert found(files(with_host(files=limit))).level == level


def test_without_a_gpu_nothing_is_said_of_one() -> None:
    assert gpu(with_host(gpus=0)) is None


def test_a_gpu_whose_memory_is_taken_whole_is_a_warning_and_the_setting_is_named() -> None:
    finding = found(gpu(with_host(gpus=2, gpu_growth=False)))
    assert finding.level == "warning"
    assert finding.text.startswith("2 GPUs: ")
    assert "TF_FORCE_GPU_ALLOW_GROWTH=true" in finding.remedy


def test_a_gpu_whose_device_files_are_hidden_is_a_problem() -> None:
    finding = found(gpu(with_host(gpus=1, gpu_files=False)))
    assert finding.level == "problem"
    assert "gpu.conf" in finding.remedy
    assert "--gpus all" in finding.remedy
