from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from holdfast.supervisor.doctor import Finding, MetadataFacts
from holdfast.supervisor.doctor.stops import metadata, stop_timeout, watchdog

from .facts import GOOD, UNIT, found, with_host

# --- notices -------------------------------------------------------------------------------------------------------


def judged(state: Any, ec2: bool = True, **facts: str) -> Finding:
    return metadata(replace(with_host(ec2=ec2), metadata=MetadataFacts(state, **facts)))


def test_a_silent_metadata_service_is_a_problem_on_ec2_and_the_hop_limit_its_likely_cause() -> None:
    finding = judged("silent", text="timed out")
    assert finding.level == "problem"
    assert "--http-put-response-hop-limit 2" in finding.remedy


@pytest.mark.parametrize("state", ["silent", "absent", "error"])
def test_a_metadata_service_that_gives_no_token_is_a_problem_on_ec2_and_the_command_for_it_is_told(state: str) -> None:
    on_ec2 = judged(state, text="gave no token (403)")
    assert on_ec2.level == "problem"
    assert "(403)" in on_ec2.text
    assert "aws ec2 modify-instance-metadata-options --instance-id ID --http-" in on_ec2.remedy
    assert "AWS_EC2_METADATA_DISABLED" not in on_ec2.remedy


@pytest.mark.parametrize("state", ["silent", "absent", "error"])
def test_a_machine_that_is_no_ec2_needs_no_metadata_service(state: str) -> None:
    elsewhere = judged(state, ec2=False, text="gave no token (403)")
    assert (elsewhere.level, elsewhere.remedy) == ("ok", "")
    assert "no EC2 instance" in elsewhere.text


def test_a_container_that_cannot_tell_its_machine_is_told_of_the_hop_limit() -> None:
    silent = replace(with_host(ec2=False, container=True), metadata=MetadataFacts("silent"))
    assert "hop limit of 2" in metadata(silent).remedy


def test_a_notice_that_stands_is_a_warning() -> None:
    assert judged("answers", notice='{"action": "terminate"}').level == "warning"


def test_a_metadata_service_that_is_disabled_on_purpose_is_ok() -> None:
    assert judged("disabled").level == "ok"


# --- what kills during a drain -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "drain_time", "level", "remedy"),
    [
        ({"container": True}, 110.0, "warning", "docker run --stop-timeout 120 (docker stop -t 120)"),
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
    finding = stop_timeout(replace(with_host(**host), drain_time=drain_time, unit=None))
    assert finding.level == level
    assert finding.remedy.endswith(remedy)


def test_the_time_to_store_the_newest_pair_stands_beside_the_stop_timeout() -> None:
    assert "takes about 8.1 s" in stop_timeout(replace(with_host(container=True), unit=None)).text


def test_what_docker_was_told_cannot_be_seen_from_inside_and_that_is_said() -> None:
    assert "cannot be seen from inside" in stop_timeout(replace(with_host(container=True), unit=None)).text


def of_unit(drain_time: float = 110.0, **changes: Any) -> Finding:
    return stop_timeout(replace(GOOD, unit=replace(UNIT, **changes), drain_time=drain_time))


@pytest.mark.parametrize(
    ("changes", "drain_time", "level", "text"),
    [
        ({}, 110.0, "ok", "systemd kills after 150 s"),
        ({"stop": float("inf")}, 110.0, "ok", "waits without end"),
        ({}, 150.0, "ok", "asks for more time"),
        ({"notify": False}, 149.0, "ok", "systemd kills after 150 s"),
        ({"notify": False}, 150.0, "problem", "systemd kills after 150 s (TimeoutStopSec); a drain may take 150 s"),
        ({"kill_mode": "control-group"}, 110.0, "warning", "KillMode=control-group"),
    ],
)
def test_the_stop_timeout_of_the_unit_is_held_against_the_drain(
    changes: dict[str, Any], drain_time: float, level: str, text: str
) -> None:
    finding = of_unit(drain_time, **changes)
    assert finding.level == level
    assert text in finding.text


def test_the_remedy_for_a_units_stop_timeout_names_the_unit() -> None:
    assert of_unit(150.0, notify=False).remedy == "TimeoutStopSec=160 in holdfast@digits.service"


@pytest.mark.parametrize(
    ("changes", "level"),
    [
        ({}, "ok"),
        ({"watchdog": 0.0}, "warning"),
        ({"watchdog": float("inf")}, "warning"),
        ({"notify": False}, "warning"),
        ({"watchdog": 9.0}, "warning"),
        ({"watchdog": 10.0}, "ok"),
    ],
)
def test_a_unit_without_a_watchdog_or_with_an_impatient_one_is_a_warning(changes: dict[str, Any], level: str) -> None:
    assert found(watchdog(replace(GOOD, unit=replace(UNIT, **changes)))).level == level


def test_without_a_unit_there_is_no_watchdog_to_speak_of() -> None:
    assert watchdog(replace(GOOD, unit=None)) is None
