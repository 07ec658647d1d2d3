"""A checkpoint's name, as it is written and read."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.checkpoint_name import CheckpointName, spell_loss

NAME = CheckpointName(epoch=3, step=940, loss="0.1284", incarnation=2, save=17)
SPELLED = "model-0003-00000940-0.1284-i2-q17"

counts = st.integers(0, 10**6)
names = st.builds(
    CheckpointName,
    epoch=counts,
    step=counts,
    loss=st.builds(spell_loss, st.none() | st.floats()),
    incarnation=counts,
    save=counts,
)


def test_a_name_says_epoch_step_loss_incarnation_and_save() -> None:
    assert str(NAME) == SPELLED
    assert CheckpointName.parse(SPELLED) == NAME
    assert NAME.file("h5") == f"{SPELLED}.h5"


@given(names)
def test_every_name_is_parsed_back(name: CheckpointName) -> None:
    assert CheckpointName.parse(str(name)) == name
    assert CheckpointName.of_manifest_file(name.file("json")) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "model",
        SPELLED + "\n",
        " " + SPELLED,
        SPELLED.upper(),
        SPELLED + ".json",
        "../" + SPELLED,
        "model-00003-00000940-0.1284-i2-q17",
        "model-3-00000940-0.1284-i2-q17",
        "model-0003-0000000940-0.1284-i2-q17",
        "model-0003-00000940-0.1284-i02-q17",
        "model-0003-00000940-0.1284-i2-q017",
        "model-0003-00000940-00.1284-i2-q17",
        "model-0003-00000940-0.128-i2-q17",
        "model-0003-00000940-1.2840e-01-i2-q17",
        "model-0003-00000940-NaN-i2-q17",
        "model-0003-00000940--inf-i2-q17",
        "model-0003-00000940-../../x-i2-q17",
        "model--003-00000940-0.1284-i2-q17",
        "model-\u0660003-00000940-0.1284-i2-q17",
        "model-0003-00000940-\u0660.1284-i2-q17",
    ],
)
def test_a_name_that_is_not_spelled_canonically_is_none(text: str) -> None:
    assert CheckpointName.parse(text) is None


@given(st.text() | st.from_regex(r"model-\d{4}-\d{8}-[-\w.+]{3,12}-i\d-q\d", fullmatch=True))
def test_whatever_is_parsed_spells_itself(text: str) -> None:
    name = CheckpointName.parse(text)
    assert name is None or str(name) == text


@pytest.mark.parametrize("filename", [SPELLED, f"{SPELLED}.h5", f"{SPELLED}.json.json", ".json", "complete.json"])
def test_only_the_json_of_a_pair_is_a_manifest_file(filename: str) -> None:
    assert CheckpointName.of_manifest_file(filename) is None


def test_newest_is_by_incarnation_then_by_save_whatever_the_step_says() -> None:
    ordered = [
        replace(NAME, incarnation=1, save=9, step=900),
        replace(NAME, incarnation=1, save=10, step=100),
        replace(NAME, incarnation=2, save=3, step=50),
        replace(NAME, incarnation=10, save=1, step=1),
    ]
    shuffled = [ordered[3], ordered[1], ordered[2], ordered[0]]
    assert sorted(shuffled, key=lambda name: name.order) == ordered


@pytest.mark.parametrize(
    ("loss", "spelled"),
    [
        (None, "none"),
        (math.nan, "nan"),
        (math.inf, "inf"),
        (-math.inf, "inf"),
        (0.0, "0.0000"),
        (0.12843, "0.1284"),
        (-0.5, "-0.5000"),
        (1e-12, "0.0000"),
        (999_999.0, "999999.0000"),
        (1e6, "1.0000e+06"),
        (-1e6, "-1.0000e+06"),
        (1.7976931348623157e308, "1.7977e+308"),
        (5e-324, "0.0000"),
    ],
)
def test_the_loss_is_spelled_with_four_decimals_or_an_exponent(loss: float | None, spelled: str) -> None:
    assert spell_loss(loss) == spelled


@pytest.mark.parametrize(("loss", "finite"), [("nan", False), ("inf", False), ("none", True), ("0.1284", True)])
def test_a_loss_that_is_no_finite_number_marks_the_pair(loss: str, finite: bool) -> None:
    assert replace(NAME, loss=loss).finite is finite
