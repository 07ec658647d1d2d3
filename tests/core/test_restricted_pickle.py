from __future__ import annotations

import collections
import contextlib
import copyreg
import pickle
import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from holdfast.core import restricted_pickle
from holdfast.core.errors import InvalidPair
from holdfast.core.restricted_pickle import MAX_DEPTH, MAX_OF_ONE_HASH, dumps, loads

START, STOP = b"\x80\x04", b"."

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
keys = scalars | st.tuples(scalars, scalars)
plain = st.recursive(
    scalars,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(keys, inner),
    max_leaves=30,
)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def same(a: Any, b: Any) -> bool:
    """Equality that tells 1 from True and from 1.0, and knows NaN."""
    return repr(a) == repr(b)


# --- what is kept --------------------------------------------------------------------------------------------------


@given(plain)
@settings(deadline=None)
def test_plain_values_come_back_as_they_were(value: Any) -> None:
    assert same(loads(dumps(value)), value)


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        (),
        0,
        -1,
        255,
        256,
        65535,
        65536,
        -(2**31),
        2**31,
        2**64,
        -(2**3000),
        "ä\ud800\n",
        "x" * 70_000,
        b"x" * 70_000,
        list(range(5000)),
        {str(n): n for n in range(5000)},
        ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
        nested(MAX_DEPTH),
        random.Random(7).getstate(),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_every_form_that_a_pickle_gives_a_plain_value_is_read(value: Any) -> None:
    assert same(loads(dumps(value)), value)


def test_a_value_that_occurs_many_times_comes_back_each_time() -> None:
    shape = (1, 2)
    row = [shape, shape, "name"]
    assert loads(dumps({"a": row, "b": row, shape: shape})) == {"a": row, "b": row, shape: shape}


# --- what is not written -------------------------------------------------------------------------------------------


class Text(str):
    pass


class Numbers(list[int]):
    pass


def holds_itself() -> Any:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "value",
    [
        np.float32(1.0),
        np.float64(1.0),
        np.int64(1),
        np.bool_(True),
        np.str_("x"),
        np.zeros(3),
        object(),
        print,
        int,
        Path(),
        {1, 2},
        frozenset({1}),
        bytearray(b"x"),
        1j,
        range(3),
        Text("x"),
        Numbers(),
        collections.OrderedDict(),
        holds_itself(),
        nested(MAX_DEPTH + 1),
        {((1,),): 1},
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_not_plain_is_not_written(value: Any) -> None:
    for wrapped in (value, [value], {"key": (value,)}):
        with pytest.raises(TypeError):
            dumps(wrapped)


@pytest.fixture
def few_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restricted_pickle, "MAX_VALUES", 20)


@pytest.mark.usefixtures("few_values")
def test_more_values_than_may_be_read_are_not_written() -> None:
    """A value that stands in several places counts each time: a reader meets it so often."""
    row = [0] * 8
    assert loads(dumps([row, row])) == [row, row]
    for value in ([row, row, row], [0] * 20, dict.fromkeys(range(10))):
        with pytest.raises(TypeError, match="more than 20 values"):
            dumps(value)


def test_texts_that_are_repeated_beyond_what_may_be_read_are_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restricted_pickle, "MAX_REPEATED", 10_000)
    text, other = "x" * 1000, b"y" * 50_000
    value = {"a": [text] * 11, "b": other}
    assert loads(dumps(value)) == value
    for longer in ([text] * 12, [{text: None} for _ in range(12)], {"a": other, "b": (other,)}):
        with pytest.raises(TypeError, match="repeated to more than 10000 bytes"):
            dumps(longer)


# --- what is not read ----------------------------------------------------------------------------------------------
#
# All of it is harmless: Python's own unpickler makes of it what it says, or raises. A hostile pickle could call any
# function, name a class by its number in the registry of extensions, have a deep value hashed, give a dict keys of one
# hash, or be huge once it is read. A harmless thing of each kind must be refused, just over the limit if there is one.


class Canary:
    """Notes in ``made`` that an unpickler made one."""

    made: ClassVar[list[str]] = []

    def __init__(self, how: str = "") -> None:
        self.how = how

    def __reduce__(self) -> Any:
        return Canary.make, (self.how,)

    @classmethod
    def make(cls, how: str) -> Canary:
        cls.made.append(how)
        return cls(how)


class Plain:
    """Made without a call of its own: by NEWOBJ and BUILD."""


@pytest.fixture
def made() -> Iterator[list[str]]:
    Canary.made.clear()
    yield Canary.made
    Canary.made.clear()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_calls_something_is_refused_and_calls_nothing(protocol: int, made: list[str]) -> None:
    data = pickle.dumps([1, {"a": Canary("by the reader")}], protocol=protocol)
    with pytest.raises(InvalidPair):
        loads(data)
    assert made == []
    pickle.loads(data)
    assert made == ["by the reader"], "an ordinary unpickler calls it"


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_class_in_the_extension_registry_is_refused(protocol: int) -> None:
    copyreg.add_extension(Plain.__module__, Plain.__qualname__, 0x77)
    try:
        data = pickle.dumps(Plain, protocol=protocol)
        with pytest.raises(InvalidPair, match=r"uses EXT\d, which no plain value needs"):
            loads(data)
    finally:
        copyreg.remove_extension(Plain.__module__, Plain.__qualname__, 0x77)


class Refers(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        return "elsewhere" if obj == "x" else None


@pytest.mark.parametrize("protocol", [0, 4])
def test_a_reference_to_something_outside_is_refused(protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        Refers(file, protocol=protocol).dump(["x"])
    with pytest.raises(InvalidPair):
        loads(path.read_bytes())


@pytest.mark.parametrize(
    "value",
    [
        bytearray(b"x"),
        {1},
        frozenset({1}),
        1j,
        int,
        print,
        range(3),
        Path(),
        np.float64(1),
        collections.OrderedDict(),
        Plain(),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_what_is_not_plain_is_not_read(value: Any, protocol: int) -> None:
    with pytest.raises(InvalidPair):
        loads(pickle.dumps([value], protocol=protocol))


def test_buffers_from_outside_are_refused() -> None:
    data = pickle.dumps(pickle.PickleBuffer(b"x"), protocol=5, buffer_callback=lambda _: False)
    with pytest.raises(InvalidPair):
        loads(data)


@pytest.mark.parametrize(
    "data",
    [
        START + b"\x8c\x05hello\x93.",  # STACK_GLOBAL
        START + b"N\x51.",  # BINPERSID
        b"Pxyz\n.",  # PERSID
        START + b"N)R.",  # REDUCE
        START + b"(No.",  # OBJ
        START + b"N\x81.",  # NEWOBJ
        START + b"N\x92.",  # NEWOBJ_EX
        START + b"}}b.",  # BUILD
        START + b"N2.",  # DUP
        START + b"NN0.",  # POP
        START + b"(N1.",  # POP_MARK
        START + b"]q\x00.",  # BINPUT
        START + b"\x8f.",  # EMPTY_SET
        b"\x80\x05\x97.",  # NEXT_BUFFER
        b"\x80\x05\x98.",  # READONLY_BUFFER
        START + b"I01\n.",  # INT
        START + b"L1L\n.",  # LONG
        START + b"S'x'\n.",  # STRING
        START + b"Vx\n.",  # UNICODE
        START + b"U\x01x.",  # SHORT_BINSTRING
    ],
)
def test_an_instruction_that_no_plain_value_needs_is_refused_by_its_name(data: bytes) -> None:
    with pytest.raises(InvalidPair, match=r"uses [A-Z_]+, which no plain value needs"):
        loads(data)


def test_a_value_that_holds_itself_is_refused() -> None:
    with pytest.raises(InvalidPair, match="holds itself"):
        loads(pickle.dumps(holds_itself(), protocol=4))


MEMO = b"\x94"


def chain(length: int, deepest_first: bool) -> bytes:
    """A pickle of a tuple of lists, each of which holds the one before: deep, though each may have been met before."""
    lists: list[Any] = [[]]
    while len(lists) < length:
        lists.append([lists[-1]])
    return pickle.dumps(tuple(reversed(lists) if deepest_first else lists), protocol=4)


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps(nested(MAX_DEPTH + 1), protocol=4),
        chain(MAX_DEPTH, deepest_first=True),
        chain(MAX_DEPTH, deepest_first=False),
        START + b"(" * (MAX_DEPTH + 1) + b"N" + STOP,
    ],
    ids=["lists", "a chain from its end", "a chain from its beginning", "marks"],
)
def test_what_is_nested_deeper_than_the_limit_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidPair, match=f"nested deeper than {MAX_DEPTH}"):
        loads(data)


def test_what_is_nested_as_deep_as_the_limit_is_read() -> None:
    for value in (nested(MAX_DEPTH), pickle.loads(chain(MAX_DEPTH - 1, deepest_first=True))):
        assert loads(pickle.dumps(value, protocol=4)) == value


@pytest.mark.parametrize("items", [b"(]\x85Nu", b"]\x85Ns"], ids=["at once", "one by one"])
def test_a_key_that_is_more_than_a_tuple_of_scalars_is_refused_before_it_is_hashed(items: bytes) -> None:
    """A list in a tuple: to hash it would be an error of another kind."""
    with pytest.raises(InvalidPair, match="a key of type tuple is not plain"):
        loads(START + b"}" + items + STOP)
    with pytest.raises(InvalidPair, match="a key of type tuple is not plain"):
        loads(pickle.dumps({((1,),): 1}, protocol=4))


def of_one_hash(count: int) -> dict[int, None]:
    """Different keys, all of one hash: an int's is its remainder by 2**61 - 1."""
    return {n * (2**61 - 1): None for n in range(count)}


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "one by one"])
def test_more_keys_of_one_hash_than_chance_gives_are_refused(at_once: bool) -> None:
    def data(count: int) -> bytes:
        keys = [pickle.dumps(key, protocol=2)[2:-1] + b"N" for key in of_one_hash(count)]
        return START + b"}" + (b"(" + b"".join(keys) + b"u" if at_once else b"".join(key + b"s" for key in keys)) + STOP

    assert loads(data(MAX_OF_ONE_HASH)) == of_one_hash(MAX_OF_ONE_HASH)
    with pytest.raises(InvalidPair, match="chosen to collide"):
        loads(data(MAX_OF_ONE_HASH + 1))


def test_more_values_than_the_limit_are_refused(few_values: None) -> None:
    row = [0] * 8
    assert loads(pickle.dumps([row, row], protocol=4)) == [row, row]
    for value in ([row, row, row], [0] * 20):
        with pytest.raises(InvalidPair, match="more than 20 values"):
            loads(pickle.dumps(value, protocol=4))


def test_more_instructions_than_the_limit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restricted_pickle, "MAX_INSTRUCTIONS", 20)
    assert loads(START + b"(" + b"N" * 17 + b"t" + STOP) == (None,) * 17
    with pytest.raises(InvalidPair, match="more than 20 instructions"):
        loads(START + b"(" + b"N" * 18 + b"t" + STOP)


def test_texts_that_are_repeated_to_more_than_the_limit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restricted_pickle, "MAX_REPEATED", 10_000)
    for text in ("x" * 1000, b"x" * 1000):
        assert loads(pickle.dumps([text] * 11, protocol=4)) == [text] * 11
        for value in ([text] * 12, [{text: None} for _ in range(12)]):
            with pytest.raises(InvalidPair, match="repeated to more than 10000 bytes"):
                loads(pickle.dumps(value, protocol=4))


def test_a_value_that_is_noted_twice_is_refused() -> None:
    with pytest.raises(InvalidPair, match="notes a value twice"):
        loads(START + b"N" + MEMO * 2 + STOP)


def test_a_frame_that_is_longer_than_the_file_is_refused() -> None:
    frame = b"\x95" + struct.pack("<Q", 2)
    assert loads(START + frame + b"N" + STOP) is None
    with pytest.raises(InvalidPair, match="ends within a frame"):
        loads(START + b"\x95" + struct.pack("<Q", 3) + b"N" + STOP)


GOOD = dumps({"format": 1, "values": [1.5, None, True, b"bytes", "text", (1, 2, 3)], "more": {"n": 2**70}})


@pytest.mark.parametrize("end", range(len(GOOD)))
def test_a_truncated_file_is_refused(end: int) -> None:
    with pytest.raises(InvalidPair):
        loads(GOOD[:end])


@pytest.mark.parametrize("tail", [b"\0", b".", GOOD])
def test_bytes_after_the_end_are_refused(tail: bytes) -> None:
    with pytest.raises(InvalidPair, match="after its end"):
        loads(GOOD + tail)


@pytest.mark.parametrize(
    "body",
    [b"", b"a", b"NN", b"Na", b"NNa", b"NNNs", b"}N(u", b"}(Nu", b"](NNu", b"\x85", b"N\x86", b"h\0", MEMO],
)
def test_instructions_that_do_not_fit_together_are_refused(body: bytes) -> None:
    with pytest.raises(InvalidPair):
        loads(START + body + STOP)


def mutate(data: bytes, at: float, cut: int, new: bytes) -> bytes:
    start = int(at * len(data))
    return data[:start] + new + data[start + cut :]


places = st.floats(0, 1, exclude_max=True)
mutations = st.builds(mutate, plain.map(dumps), places, st.integers(0, 3), st.binary(max_size=3))


@given(st.binary() | st.binary().map(lambda body: START + body + STOP) | mutations)
@example(START + b"]" + MEMO + b"h\0a.")
@settings(deadline=None, max_examples=1000)
def test_whatever_is_read_is_invalid_or_a_plain_value(data: bytes) -> None:
    with contextlib.suppress(InvalidPair):
        value = loads(data)
        assert same(loads(dumps(value)), value)
