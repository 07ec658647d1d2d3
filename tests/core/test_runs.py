from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.errors import SettingsError
from holdfast.core.runs import RunId, check_name, next_id

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True)
runs = st.builds(RunId, st.integers(1, 10**9), names)

BAD_NAMES = [
    "",
    ".",
    "..",
    "-x",
    "_x",
    ".hidden",
    "a/b",
    "../up",
    "a b",
    "a\n",
    "a\0",
    "ä",
    "\u0663",
    "x" * 64,
    "a:b",
    "a*",
]


@pytest.mark.parametrize(
    ("run", "text"),
    [(RunId(1, "digits"), "00001-digits"), (RunId(99999, "a"), "99999-a"), (RunId(100000, "a-1.b"), "100000-a-1.b")],
)
def test_a_run_id_is_a_number_of_five_digits_or_more_and_a_name(run: RunId, text: str) -> None:
    assert str(run) == text
    assert RunId.parse(text) == run


@given(runs)
def test_every_run_id_is_parsed_back(run: RunId) -> None:
    assert RunId.parse(str(run)) == run


@pytest.mark.parametrize(
    "text",
    [
        "",
        "digits",
        "1-digits",
        "0001-digits",
        "000001-digits",
        "00001",
        "00001-",
        "00001_digits",
        "-0001-a",
        "\u06600001-a",
    ]
    + [f"00001-{name}" for name in BAD_NAMES],
)
def test_what_is_not_spelled_canonically_is_no_run_id(text: str) -> None:
    assert RunId.parse(text) is None


@pytest.mark.parametrize("name", ["a", "7", "digits", "ResNet-50_v1.5", "x" * 63])
def test_a_good_name_is_given_back(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_could_not_be_a_folder_or_key_everywhere_is_a_wrong_setting(name: str) -> None:
    with pytest.raises(SettingsError, match="--run"):
        check_name(name)


def test_the_first_run_is_number_one() -> None:
    assert next_id("digits", []) == RunId(1, "digits")


def test_numbers_are_shared_by_all_names_and_gaps_stay() -> None:
    assert next_id("a", [RunId(2, "a"), RunId(7, "b"), RunId(3, "c")]) == RunId(8, "a")


@given(names, st.lists(runs))
def test_a_new_run_comes_after_all_others(name: str, existing: list[RunId]) -> None:
    new = next_id(name, existing)
    assert all(new > run for run in existing)
