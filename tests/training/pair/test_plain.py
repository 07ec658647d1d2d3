"""Values of NumPy as plain ones and back."""

from __future__ import annotations

import enum
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from holdfast.core import restricted_pickle
from holdfast.core.errors import InvalidPair
from holdfast.training.pair.plain import from_plain, pack, to_plain, unpack


class Level(enum.IntEnum):
    HIGH = 3


Point = namedtuple("Point", "x y")


def test_a_subclass_of_a_built_in_becomes_the_built_in() -> None:
    assert type(to_plain(Level.HIGH)) is int
    assert to_plain({Level.HIGH: True}) == {3: True}


def test_what_is_in_a_subclass_of_a_list_becomes_plain_too() -> None:
    class Wrapper(list[Any]):
        pass

    assert to_plain(Wrapper([np.float32(0.5), Wrapper()])) == [0.5, []]
    assert type(to_plain(Wrapper([Wrapper()]))[0]) is list


@pytest.mark.parametrize("value", [np.bool_(True), np.float32(0.5), np.int64(7), np.str_("x")])
def test_a_number_of_numpys_becomes_pythons(value: Any) -> None:
    plain = to_plain(value)
    assert plain == value
    assert type(plain) in (bool, float, int, str)


@pytest.mark.parametrize("value", [np.bool_(True), np.float32(0.1), np.float64(0.1), np.int64(7), np.uint8(250)])
def test_a_number_of_numpys_stays_one_where_that_is_asked_for(value: Any) -> None:
    (back,) = from_plain(to_plain([value], typed=True))
    assert (type(back), back) == (type(value), value)


@pytest.mark.parametrize("packed", [["<U1", [], b"a\0\0\0"], ["float32", [1], bytes(4)], ["float32", [], b""], 7])
def test_what_is_no_number_is_not_taken_for_one(packed: Any) -> None:
    with pytest.raises(InvalidPair):
        from_plain({"~number": packed})


def test_a_dict_that_only_looks_like_an_array_stays_a_dict() -> None:
    value = {"~array": 1, "more": 2}
    assert from_plain(value) == value


@pytest.mark.parametrize(
    "value", [np.array([object()]), np.zeros(2, [("a", "f4")]), np.zeros(2, "V4"), Point(1, 2), object()]
)
def test_what_cannot_come_back_as_it_was_is_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        to_plain(value)


def test_the_bytes_of_an_array_are_little_endian() -> None:
    assert pack(np.array([1], ">i4"))["~array"] == ["int32", [1], b"\x01\0\0\0"]


@pytest.mark.parametrize("name", ["bfloat16", "float8_e4m3fn", "float8_e5m2", "int4", "uint4"])
def test_the_types_that_tensorflow_brings_along_come_back(name: str) -> None:
    array = np.ones(3, getattr(ml_dtypes, name))
    found = unpack(pack(array))
    assert found.dtype == array.dtype
    assert found.tolist() == array.tolist()


def test_an_array_that_was_read_can_be_changed() -> None:
    array = unpack(pack(np.zeros(3)))
    array += 1
    assert array.tolist() == [1, 1, 1]


def test_what_is_plain_already_stays_as_it_is() -> None:
    plain = to_plain({"a": [np.zeros(2), {"b": np.ones(1, "int8")}]})
    assert to_plain(plain) == plain


def test_a_malformed_array_is_invalid() -> None:
    with pytest.raises(InvalidPair):
        from_plain([{"~array": None}])


@pytest.mark.parametrize(
    "value",
    [
        OrderedDict([("b", 1), ("a", Counter("aab"))]),
        Counter({(1, "x"): 2}),
        defaultdict(list, {3: [np.float32(0.1)]}),
        defaultdict(None, {"a": 1}),
        deque([{1.5}, frozenset("a")], maxlen=3),
        Decimal("-1.50"),
        datetime(2024, 2, 29, 1, 2, 3, 4, timezone(timedelta(hours=2)), fold=1),
        datetime(2024, 2, 29),
        date(2024, 2, 29),
        timedelta(-1, 5),
        {"~number": 1},
        {"~deque": [1], "~most": 2},
        {"~set": {"~dict": OrderedDict()}},
        {"~more": 1, "a": 2},
    ],
    ids=repr,
)
def test_pythons_own_kinds_of_values_come_back_as_what_they_were(value: Any) -> None:
    (back,) = from_plain(restricted_pickle.loads(restricted_pickle.dumps(to_plain([value], typed=True))))
    assert repr(back) == repr(value)


def test_a_defaultdict_that_cannot_be_made_anew_comes_back_as_a_dict_and_a_line_tells() -> None:
    said: list[str] = []
    plain = to_plain([defaultdict(lambda: 7, {"a": {1}})], typed=True, say=said.append)
    (back,) = from_plain(restricted_pickle.loads(restricted_pickle.dumps(plain)))
    assert (type(back), back) == (dict, {"a": {1}})
    assert said == ["a defaultdict with a factory of its own comes back as a dict"]


@pytest.mark.parametrize("value", [defaultdict(lambda: 7), Decimal("NaN"), {(1, (2,))}])
def test_a_factory_of_ones_own_and_the_like_are_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        to_plain([value], typed=True)


@pytest.mark.parametrize(
    "plain",
    [
        {"~ordered": 7},
        {"~counter": [[1]]},
        {"~default": [9, []]},
        {"~default": ["os.system", []]},
        {"~set": [[1]]},
        {"~set": [(1, (2,))]},
        {"~dict": [[{}, 1]]},
        {"~set": [number * (2**61 - 1) for number in range(70)]},
        {"~decimal": [0, ["1"], 0]},
        {"~datetime": [[2024, 2, 30, 0, 0, 0, 0, 0], None]},
    ],
    ids=repr,
)
def test_what_stands_for_no_such_value_is_invalid(plain: Any) -> None:
    with pytest.raises(InvalidPair):
        from_plain([plain])
