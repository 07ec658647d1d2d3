from __future__ import annotations

import collections
import contextlib
import copyreg
import os
import pickle
import random
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from holdfast.core.codec import MAX_DEPTH, dumps, loads
from holdfast.core.errors import InvalidPair

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


def laughs(levels: int) -> Any:
    """Ten times the level below: small to write down, huge for whoever walks through it."""
    value: Any = ["ha"]
    for _ in range(levels):
        value = [value] * 10
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
        laughs(8),
        nested(MAX_DEPTH + 1),
        {((1,),): 1},
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_not_plain_is_not_written(value: Any) -> None:
    for wrapped in (value, [value], {"key": (value,)}):
        with pytest.raises(TypeError):
            dumps(wrapped)


# --- what is not read ----------------------------------------------------------------------------------------------


class Runs:
    """Runs a command when an ordinary unpickler reads it."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (self.command,)


class Refers(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        return "elsewhere" if obj == "x" else None


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


# Each runs its command in an ordinary unpickler (asserted below), by another instruction.
ATTACKS: dict[str, Callable[[str], bytes]] = {
    "reduce, protocol 0": lambda command: pickle.dumps(Runs(command), protocol=0),
    "reduce, protocol 2": lambda command: pickle.dumps(Runs(command), protocol=2),
    "reduce, protocol 4": lambda command: pickle.dumps([1, {"a": Runs(command)}], protocol=4),
    "reduce, protocol 5": lambda command: pickle.dumps(Runs(command), protocol=5),
    "global": lambda command: b"cos\nsystem\n(" + text(command) + b"tR.",
    "stack global": lambda command: START + text("os") + text("system") + b"\x93" + text(command) + b"\x85R.",
    "inst": lambda command: b"(" + text(command) + b"ios\nsystem\n.",
    "obj": lambda command: b"(cos\nsystem\n" + text(command) + b"o.",
    "before a plain value": lambda command: b"cos\nsystem\n" + text(command) + b"\x85R0}.",
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_a_pickle_that_would_run_a_command_is_refused_and_runs_nothing(
    attack: Callable[[str], bytes], tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    data = attack(f"touch {canary}")
    with pytest.raises(InvalidPair):
        loads(data)
    assert not canary.exists()
    pickle.loads(data)
    assert canary.exists()


@pytest.fixture
def registered() -> Iterator[int]:
    """``os.system`` in the extension registry, and in its cache: an unpickler looks up no name any more."""
    code = 0x77
    copyreg.add_extension("os", "system", code)
    with contextlib.suppress(Exception):
        pickle.loads(START + b"\x82" + bytes([code]) + STOP)
    yield code
    copyreg.remove_extension("os", "system", code)
    copyreg.clear_extension_cache()


@pytest.mark.parametrize("opcode", [b"\x82%c", b"\x83%c\0", b"\x84%c\0\0\0"], ids=["EXT1", "EXT2", "EXT4"])
def test_the_extension_registry_is_refused_and_runs_nothing(opcode: bytes, registered: int, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    data = START + opcode % registered + text(f"touch {canary}") + b"\x85R."
    with pytest.raises(InvalidPair):
        loads(data)
    assert not canary.exists()
    pickle.loads(data)
    assert canary.exists()


@pytest.mark.parametrize("protocol", [0, 4])
def test_a_reference_to_something_outside_is_refused(protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        Refers(file, protocol=protocol).dump(["x"])
    with pytest.raises(InvalidPair):
        loads(path.read_bytes())


@pytest.mark.parametrize(
    "value",
    [bytearray(b"x"), {1}, frozenset({1}), 1j, int, print, range(3), Path(), np.float64(1), collections.OrderedDict()],
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


@pytest.mark.parametrize("make", [holds_itself, lambda: nested(MAX_DEPTH + 1)], ids=["holds itself", "deep"])
def test_values_that_a_reader_could_not_walk_through_are_refused(make: Callable[[], Any]) -> None:
    with pytest.raises(InvalidPair):
        loads(pickle.dumps(make(), protocol=4))


MEMO = b"\x94"


def shared(levels: int) -> bytes:
    """Instructions for a tuple that holds the tuple of the level below twice, and so on down."""
    return b")" + MEMO + b"".join(b"h" + bytes([n]) + b"\x86" + MEMO for n in range(levels))


def chain(length: int) -> bytes:
    """Instructions for a list whose every item is a list that holds the item before: deep, though each is met early."""
    lists = b"".join(b"]" + MEMO + (b"h" + bytes([n - 1]) + b"a" if n else b"") for n in range(length))
    return b"(" + lists + b"t"


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "body",
    [
        b"]" * 500_000 + b"a" * 499_999,
        b")" + b"\x85" * 500_000,
        b"})" + b"\x85" * 500_000 + b"Ns",
        b"}" + shared(60) + b"Ns",
        shared(60),
        chain(200),
        b"(" * 500_000 + b"t" * 500_000,
    ],
    ids=["lists", "tuples", "a deep key", "a key that laughs", "a billion laughs", "a hidden chain", "marks"],
)
def test_a_small_file_cannot_make_a_large_or_deep_value(body: bytes) -> None:
    with pytest.raises(InvalidPair):
        loads(START + body + STOP)


def test_shared_values_that_multiply_are_refused_fast() -> None:
    with pytest.raises(InvalidPair, match="more than"):
        loads(pickle.dumps(laughs(20), protocol=4))


@pytest.mark.parametrize(
    "body",
    [
        b"\x8e" + struct.pack("<Q", 2**62) + b"x",
        b"\x8e" + struct.pack("<Q", 2**64 - 1) + b"x",
        b"\x8d" + struct.pack("<Q", 2**40) + b"x",
        b"B" + struct.pack("<I", 2**32 - 1) + b"x",
        b"\x8b" + struct.pack("<i", 2**31 - 1) + b"x",
        b"\x8b" + struct.pack("<i", -1) + b"x",
        b"\x96" + struct.pack("<Q", 2**62) + b"x",
        b"\x95" + struct.pack("<Q", 2**62) + b"(",
        b"Nr" + struct.pack("<I", 2**31 - 1),
        b"Nj" + struct.pack("<I", 2**31 - 1),
    ],
)
@pytest.mark.timeout(10)
def test_a_huge_declared_length_allots_nothing(body: bytes) -> None:
    with pytest.raises(InvalidPair):
        loads(START + body + STOP)


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
