"""What of a lease, which others may write, becomes variables of an interpreter that imports packages."""

from __future__ import annotations

import pytest

from holdfast.core.preload import Preload


def found(**environment: object) -> Preload | None:
    return Preload.from_plain({"packages": ["numpy"], "environment": environment, "command": "a digest"})


def test_what_a_script_told_comes_back() -> None:
    told = Preload(("numpy", "keras"), {"KERAS_BACKEND": "jax", "TF_CPP_MIN_LOG_LEVEL": None}, "a digest")
    assert Preload.from_plain(told.to_plain()) == told


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LD_PRELOAD", "x"),  # none of those that are listed
        ("PATH", "x"),
        ("NVIDIA_API_KEY", "x"),
        ("KERAS_BACKEND", "x" * 1001),
        ("KERAS_BACKEND", 1),
        ("XLA_FLAGS", "--folder=../here"),  # it may name files
    ],
)
def test_with_any_other_variable_nothing_is_imported_ahead(name: str, value: object) -> None:
    assert found(OMP_NUM_THREADS="2", **{name: value}) is None
    assert found(OMP_NUM_THREADS="2") is not None


def test_packages_that_are_not_listed_are_left_out() -> None:
    assert Preload.from_plain({"packages": ["os", "numpy", "numpy"], "environment": {}, "command": ""}) == Preload(
        ("numpy",)
    )
    assert Preload.from_plain({"packages": ["os"], "environment": {}, "command": ""}) is None
