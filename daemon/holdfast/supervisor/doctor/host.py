"""Findings about the machine: work dir, disk, memory, limits and GPUs."""

from __future__ import annotations

from ...core.wording import count
from .facts import GB, DoctorFacts, Finding, size

_SHM = "/dev/shm"  # noqa: S108 - it is looked at, not used
_FEW_FILES, _SMALL_SHM = 1024, 64 << 20


def work_dir(facts: DoctorFacts) -> Finding:
    work = facts.work
    if work.error:
        remedy = "give a --work-dir on a local disk that this user may write"
        return Finding("work dir", "problem", f"{work.path}: {work.error}", remedy)
    return Finding("work dir", "ok", f"{work.path}: takes files, renames and locks them")


def room(facts: DoctorFacts) -> Finding | None:
    free = facts.work.free
    if free is None:
        return None
    text = f"{size(free)} free in {facts.work.path}"
    if facts.pair is not None:
        if free < 2 * facts.pair:
            remedy = "two pairs must fit: make room, or give another --work-dir"
            return Finding("disk", "problem", f"{text}, and a pair has {size(facts.pair)}", remedy)
        return Finding(
            "disk", "ok", f"{text}: room for {count(free // max(facts.pair, 1), 'pair')} of {size(facts.pair)}"
        )
    if free < GB:
        return Finding("disk", "warning", text, "two pairs must fit: make sure that they do, or make room")
    return Finding("disk", "ok", f"{text}: room for two pairs of up to {size(free / 2)}")


def files(facts: DoctorFacts) -> Finding | None:
    limit = facts.host.files
    if limit is None:
        return None
    if limit < _FEW_FILES:
        return Finding("open files", "warning", f"the limit is {limit}", "raise it: ulimit -n 65536 (LimitNOFILE=)")
    return Finding("open files", "ok", f"the limit is {limit}")


def memory(facts: DoctorFacts) -> Finding | None:
    available = facts.host.memory
    if available is None:
        return None
    least = 2 * facts.pair if facts.pair is not None else GB
    text = f"{size(available)} available"
    if available < least:
        remedy = "a snapshot needs room beside the training: take a larger machine, or raise the container's limit"
        return Finding("memory", "warning", f"{text}, less than {size(least)}", remedy)
    return Finding("memory", "ok", text)


def shared_memory(facts: DoctorFacts) -> Finding | None:
    if facts.host.shm is None:
        return Finding(
            "shared memory", "warning", f"there is no {_SHM}", "data loaders with processes need it: mount it"
        )
    if facts.host.shm <= _SMALL_SHM:
        remedy = "data loaders with processes need more: docker run --shm-size 1g"
        return Finding("shared memory", "warning", f"{size(facts.host.shm)} in {_SHM}", remedy)
    return Finding("shared memory", "ok", f"{size(facts.host.shm)} in {_SHM}")


def gpu(facts: DoctorFacts) -> Finding | None:
    host = facts.host
    if not host.gpus:
        return None
    there = "1 GPU" if host.gpus == 1 else f"{host.gpus} GPUs"
    if not host.gpu_files:
        remedy = "under systemd, install gpu.conf (docs/systemd.md); in a container, docker run --gpus all"
        return Finding("gpu", "problem", f"the driver has {there}, and /dev/nvidia-uvm is not here: no CUDA", remedy)
    if not host.gpu_growth:
        text = f"{there}: TensorFlow takes all the memory at its start, and what else is to use it finds none"
        return Finding("gpu", "warning", text, "set TF_FORCE_GPU_ALLOW_GROWTH=true for the training")
    return Finding("gpu", "ok", f"{there}; TensorFlow takes memory as it needs it (TF_FORCE_GPU_ALLOW_GROWTH)")
