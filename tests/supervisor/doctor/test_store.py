from __future__ import annotations

from dataclasses import replace

import pytest

from holdfast.store.conditional_write_fallback import Supported
from holdfast.supervisor.doctor.store import clock, conditions, drain, leftovers, rights

from .facts import GOOD, MB, found, with_store


def test_a_right_that_is_missing_is_a_problem_and_its_action_is_named() -> None:
    finding = rights(with_store(denied={"delete": "AccessDenied", "parts": "AccessDenied"}))
    assert finding.level == "problem"
    assert finding.text == "delete, parts failed: AccessDenied"
    assert "s3:DeleteObject, s3:AbortMultipartUpload" in finding.remedy


def test_the_setting_that_cures_it_is_named_in_place_of_the_right() -> None:
    """Also where nothing works: then it is not the credentials."""
    for tried in (("list", "put"), ("put",)):
        finding = rights(with_store(tried=tried, denied={"put": "InvalidArgument"}, remedies=("set this", "set that")))
        assert (finding.text, finding.remedy) == ("put failed: InvalidArgument", "set this; set that")


def test_who_may_not_write_may_have_to_ask_for_encryption() -> None:
    assert "--sse AES256 or --sse aws:kms" in rights(with_store(denied={"put": "AccessDenied"})).remedy
    assert "--sse" not in rights(with_store(denied={"delete": "AccessDenied"})).remedy


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
    ("kept", "text"),
    [
        (Supported(create=False, replace=True), "does not support create-only writes (If-None-Match)"),
        (Supported(create=True, replace=False), "does not compare before it replaces (If-Match)"),
        (Supported(create=False, replace=False), "supports no conditional writes"),
    ],
)
def test_a_store_that_ignores_conditions_is_a_warning(kept: Supported, text: str) -> None:
    finding = found(conditions(with_store(kept=kept)))
    assert finding.level == "warning"
    assert text in finding.text
    assert "one machine at a time" in finding.remedy


def test_a_store_that_compares_bare_tags_is_no_trouble_and_is_named() -> None:
    finding = found(conditions(with_store(kept=Supported(create=True, replace=True, quotes=False))))
    assert finding.level == "ok"
    assert "without their quotes" in finding.text


def test_conditions_that_fail_are_a_problem_and_untried_ones_are_nothing() -> None:
    assert found(conditions(with_store(kept=None, unkept="500 InternalError"))).level == "problem"
    assert conditions(with_store(kept=None)) is None


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
