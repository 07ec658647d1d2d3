"""What facts amount to. How facts are gathered is in test_probes.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from holdfast.supervisor.doctor import (
    CHECKS,
    Conditions,
    Facts,
    Finding,
    HostFacts,
    MetadataFacts,
    StoreFacts,
    WorkFacts,
    clock,
    conditions,
    drain,
    examine,
    files,
    leftovers,
    memory,
    metadata,
    rights,
    room,
    shared_memory,
    stop_timeout,
    work_dir,
)

MB, GB = 10**6, 10**9
GOOD = Facts(
    store=StoreFacts(
        "s3://bucket/runs",
        tried=("list", "put", "get", "delete", "parts"),
        conditions=Conditions(True, True, True),
        round_trip=0.02,
        put_rate=50 * MB,
        get_rate=60 * MB,
        skew=0.4,
    ),
    work=WorkFacts("runs", free=100 * GB),
    metadata=MetadataFacts("answers"),
    host=HostFacts(files=65536, memory=8 * GB, shm=GB),
    drain_time=110.0,
    pair=400 * MB,
)


def with_store(**changes: Any) -> Facts:
    return replace(GOOD, store=replace(GOOD.store, **changes))


def with_host(**changes: Any) -> Facts:
    return replace(GOOD, host=replace(GOOD.host, **changes))


def found(finding: Finding | None) -> Finding:
    assert finding is not None
    return finding


def test_a_good_machine_has_findings_and_all_are_ok() -> None:
    findings = examine(GOOD)
    assert {finding.level for finding in findings} == {"ok"}
    assert len(findings) == len(CHECKS) - 1
    assert all(not finding.remedy for finding in findings)


def test_whatever_is_not_ok_has_a_remedy() -> None:
    bad = Facts(
        store=StoreFacts(
            "s3://bucket/runs", ("list", "put"), {"put": "no"}, ("x",), Conditions(error="no"), 1.0, 1.0, 1.0, 9999.0
        ),
        work=WorkFacts("runs", "read-only", free=1),
        metadata=MetadataFacts("error", "403"),
        host=HostFacts(ec2=True, container=True, files=10, memory=1, shm=None),
        drain_time=110.0,
        pair=GB,
    )
    findings = examine(bad)
    assert len(findings) == len(CHECKS)
    assert [finding for finding in findings if finding.level == "ok" or not finding.remedy] == []


# --- the store -----------------------------------------------------------------------------------------------------


def test_a_right_that_is_missing_is_a_problem_and_its_action_is_named() -> None:
    finding = rights(with_store(denied={"delete": "AccessDenied", "parts": "AccessDenied"}))
    assert finding.level == "problem"
    assert finding.text == "delete, parts failed: AccessDenied"
    assert "s3:DeleteObject, s3:AbortMultipartUpload" in finding.remedy


def test_a_directory_is_not_told_about_iam() -> None:
    assert "IAM" not in rights(with_store(uri="/mnt/runs", denied={"put": "read-only"})).remedy


def test_a_store_where_nothing_works_is_one_problem() -> None:
    finding = rights(with_store(tried=("list", "put"), denied={"list": "no credentials", "put": "no credentials"}))
    assert finding.text == "list, put failed: no credentials"
    assert "credentials" in finding.remedy


def test_what_the_probe_could_not_remove_is_named() -> None:
    assert found(leftovers(with_store(left=("holdfast-doctor-1.bulk",)))).text.endswith("holdfast-doctor-1.bulk")
    assert leftovers(GOOD) is None


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (Conditions(False, True, True), "create-only write replaced"),
        (Conditions(True, False, True), "outdated tag was accepted"),
        (Conditions(True, None, False), "right tag was refused"),
    ],
)
def test_a_store_that_ignores_conditions_is_a_warning(wrong: Conditions, text: str) -> None:
    finding = found(conditions(with_store(conditions=wrong)))
    assert finding.level == "warning"
    assert text in finding.text
    assert "one at a time" in finding.remedy


def test_conditions_that_fail_are_a_problem_and_untried_ones_are_nothing() -> None:
    assert found(conditions(with_store(conditions=Conditions(error="501 NotImplemented")))).level == "problem"
    assert conditions(with_store(conditions=Conditions())) is None


@pytest.mark.parametrize(
    ("skew", "level", "text"),
    [
        (59.0, "ok", "agrees"),
        (-61.0, "warning", "61 s behind"),
        (901.0, "problem", "901 s ahead of"),
        (-3600.0, "problem", "3600 s behind"),
    ],
)
def test_a_clock_that_is_off_is_found(skew: float, level: str, text: str) -> None:
    finding = found(clock(with_store(skew=skew)))
    assert finding.level == level
    assert text in finding.text


def test_a_store_without_a_clock_is_no_finding() -> None:
    assert clock(with_store(skew=None)) is None


# --- time to drain -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate", "level", "text"),
    [
        (50 * MB, "ok", "takes about 8.1 s of 110 s"),
        (5 * MB, "warning", "takes about 80 s, and a drain that waits 66 s for the save has 44 s left"),
        (2 * MB, "problem", "takes about 200 s, and a drain has 110 s"),
    ],
)
def test_the_time_that_the_newest_pair_takes_is_held_against_the_drain(rate: float, level: str, text: str) -> None:
    finding = found(drain(with_store(put_rate=rate)))
    assert finding.level == level
    assert text in finding.text


def test_without_a_pair_the_largest_that_a_drain_can_store_is_told() -> None:
    finding = found(drain(replace(GOOD, pair=None)))
    assert finding.level == "ok"
    assert "a pair of up to 2.2 GB" in finding.text


def test_without_a_measurement_nothing_is_said_about_the_drain() -> None:
    assert drain(with_store(put_rate=None)) is None


# --- the machine ---------------------------------------------------------------------------------------------------


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


# --- notices -------------------------------------------------------------------------------------------------------


def judged(state: Any, ec2: bool = True, **facts: str) -> Finding:
    return metadata(replace(with_host(ec2=ec2), metadata=MetadataFacts(state, **facts)))


def test_a_silent_metadata_service_is_a_problem_on_ec2_and_the_hop_limit_its_likely_cause() -> None:
    finding = judged("silent", text="timed out")
    assert finding.level == "problem"
    assert "--http-put-response-hop-limit 2" in finding.remedy
    assert judged("silent", ec2=False).level == "warning"


def test_a_metadata_service_that_is_absent_is_a_problem_on_ec2_only() -> None:
    assert judged("absent").level == "problem"
    elsewhere = judged("absent", ec2=False)
    assert elsewhere.level == "warning"
    assert "AWS_EC2_METADATA_DISABLED=true" in elsewhere.remedy


def test_a_metadata_service_that_refuses_is_a_problem_anywhere() -> None:
    assert judged("error", ec2=False, text="gave no token (403)").level == "problem"


def test_a_notice_that_stands_is_a_warning() -> None:
    assert judged("answers", notice='{"action": "terminate"}').level == "warning"


def test_a_metadata_service_that_is_disabled_on_purpose_is_ok() -> None:
    assert judged("disabled").level == "ok"


# --- what kills during a drain -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "drain_time", "level", "remedy"),
    [
        ({"container": True}, 110.0, "warning", "docker run --stop-timeout 120"),
        ({"container": True}, 9.0, "ok", ""),
        ({"container": True, "kubernetes": True}, 110.0, "warning", "terminationGracePeriodSeconds: 120"),
        ({"systemd": True}, 110.0, "warning", "TimeoutStopSec=120"),
        ({"systemd": True}, 60.0, "ok", ""),
        ({}, 110.0, "ok", ""),
    ],
)
def test_a_stop_timeout_that_is_shorter_than_a_drain_by_default_is_a_warning(
    host: dict[str, bool], drain_time: float, level: str, remedy: str
) -> None:
    finding = stop_timeout(replace(with_host(**host), drain_time=drain_time))
    assert finding.level == level
    assert finding.remedy.endswith(remedy)


def test_the_time_to_store_the_newest_pair_stands_beside_the_stop_timeout() -> None:
    assert "takes about 8.1 s" in stop_timeout(with_host(container=True)).text
