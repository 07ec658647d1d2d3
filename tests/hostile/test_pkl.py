"""Hostile ``.pkl`` files: what their reader, and those who use what it read, must refuse."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from holdfast.core import codec
from holdfast.core.errors import InvalidPair
from holdfast.training.keras.facts import checked
from holdfast.training.pair import pair, plain
from holdfast.training.pair.pair import Position, Saved
from holdfast.training.session import random_state

from .bounded import bounded

START, MEMO, STOP = b"\x80\x04", b"\x94", b"."
LOADS = """
from pathlib import Path
from holdfast.core.codec import loads
loads(Path(sys.argv[1]).read_bytes())
"""


def colliding(count: int) -> bytes:
    """Keys that are all different and have one hash, as the hash of an int is its rest by 2**61 - 1."""
    keys = b"".join(b"\x8a\x0a" + (n * (2**61 - 1)).to_bytes(10, "little") + b"N" for n in range(count))
    return b"}(" + keys + b"u"


def colliding_one_by_one(count: int) -> bytes:
    keys = (b"\x8a\x0a" + (n * (2**61 - 1)).to_bytes(10, "little") + b"Ns" for n in range(count))
    return b"}" + b"".join(keys)


def text(size: int) -> bytes:
    return b"X" + struct.pack("<I", size) + b"x" * size


def laughs(levels: int) -> bytes:
    return b"]" + MEMO + b"".join(b"](h%ch%ce" % (n, n) + MEMO for n in range(levels))


def repeated(size: int, times: int, get: bytes = b"h\x01", make: bytes = b"B") -> bytes:
    return b"]" + MEMO + b"(" + make + struct.pack("<I", size) + b"x" * size + MEMO + get * times + b"e"


BOMBS: dict[str, Callable[[], bytes]] = {
    "keys of one hash": lambda: colliding(100_000),
    "keys of one hash, one by one": lambda: colliding_one_by_one(100_000),
    "bytes repeated": lambda: repeated(1 << 20, 300),
    "text repeated": lambda: repeated(1 << 20, 300, make=b"X"),
    "few bytes repeated": lambda: repeated(200, 4_999_990),
    "a long key in many dicts": lambda: (
        b"(X" + struct.pack("<I", 1 << 20) + b"x" * (1 << 20) + MEMO + b"}h\x00Ns" * 5000 + b"t"
    ),
    "laughs": lambda: laughs(200),
    "ten million values": lambda: b"(" + b"N" * 10_000_000 + b"t",
    "ten million marks": lambda: b"(" * 10_000_000 + b"t",
    "ten million memos": lambda: b"N" + MEMO * 10_000_000,
    "a frame without end": lambda: b"\x95" + struct.pack("<Q", 2**63) + b"N",
    "bytes without end": lambda: b"\x8e" + struct.pack("<Q", 2**63 - 1) + b"x",
    "a number of 2 GB": lambda: b"\x8b" + struct.pack("<i", 2**31 - 1) + b"x",
    "a decimal number": lambda: b"L" + b"9" * 5_000_000 + b"L\n",
    "a text of escapes": lambda: b"V" + b"\\u0041" * 1_000_000 + b"\n",
    "lists in lists": lambda: b"]" * 10_000_000 + b"a" * 9_999_999,
}


LONG = {"few bytes repeated", "ten million values", "lists in lists"}  # their instructions alone take a while to read


@pytest.mark.parametrize("kind", [pytest.param(k, marks=[pytest.mark.whole] if k in LONG else []) for k in BOMBS])
def test_a_bomb_is_refused_within_little_memory_and_time(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "pair.pkl"
    path.write_bytes(START + BOMBS[kind]() + STOP)
    assert bounded(LOADS, str(path), memory=1 << 30, seconds=60).startswith("InvalidPair: ")


def test_a_text_that_occurs_often_is_kept_as_long_as_it_stays_small() -> None:
    value = {"a": ["x" * 1000] * 1000, "b": [b"y" * (1 << 20)] * 100}
    assert codec.loads(codec.dumps(value)) == value


def test_what_would_be_refused_on_reading_is_not_written() -> None:
    with pytest.raises(TypeError, match="repeated"):
        codec.dumps([b"y" * (1 << 20)] * 1000)


@pytest.mark.parametrize(
    "data",
    [
        START + b"\x8c\x05hello" + b"\x93.",  # STACK_GLOBAL
        START + b"N\x51.",  # BINPERSID
        b"Pxyz\n.",  # PERSID
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
        START + b"S'x'\n.",  # STRING
        START + b"U\x01x.",  # SHORT_BINSTRING
    ],
)
def test_an_instruction_that_no_plain_value_needs_is_refused_by_its_name(data: bytes) -> None:
    with pytest.raises(InvalidPair, match=r"uses [A-Z_]+, which no plain value needs"):
        codec.loads(data)


# --- what stands in it ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        ["O", [1], bytes(8)],
        ["f8,O", [1], bytes(16)],
        ["(2,2)f4", [1], bytes(16)],
        ["f4" * 1000, [1], bytes(8)],
        ["__doc__", [1], bytes(8)],
        ["finfo", [1], bytes(8)],
        ["<f4", [-1], bytes(8)],
        ["<f4", [1.0, 2], bytes(8)],
        ["<f4", ["2"], bytes(8)],
        ["<f4", [1 << 70, 0], b""],
        ["<f4", [3], bytes(8)],
        ["<f4", [2], [0] * 8],
        ["<f4", [2], "texttext"],
        ["<f4", 2, bytes(8)],
        ["<U0", [2], bytes(8)],
        ["<U1", [2], b"\xff" * 8],
        [None, [2], bytes(8)],
        ["<f4", [2]],
        "array",
        None,
    ],
    ids=lambda value: repr(value)[:30],
)
def test_an_array_that_pack_did_not_make_is_refused(value: Any) -> None:
    with pytest.raises(InvalidPair, match="malformed array"):
        plain.unpack({"~array": value})


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((0, 3)),
        np.float32(2),
        np.array(["a", "ä\U0010ffff"]),
        np.array([b"x"]),
        np.array(["2020-01-01"], "datetime64[ns]"),
        np.array([1 + 2j]),
        np.arange(4, dtype=">i8"),
        np.array([True, False]),
    ],
    ids=lambda array: f"{array.dtype.str} {array.shape}",
)
def test_an_array_that_pack_made_is_read(array: Any) -> None:
    read = plain.unpack(codec.loads(codec.dumps(plain.pack(np.asarray(array)))))
    assert read.tolist() == array.tolist()
    assert read.shape == array.shape
    assert read.flags.writeable


def states(place: Any = 3, key: Any = None, name: Any = "MT19937") -> dict[str, Any]:
    given = random_state.get_state()
    given["numpy"] = (name, given["numpy"][1] if key is None else plain.to_plain(key), place, 0, 0.0)
    return given


@pytest.mark.parametrize(
    "state",
    [
        states(place=625),
        states(place=1 << 30),
        states(place=-1),
        states(place=1 << 70),
        states(place="3"),
        states(key=np.zeros(600, "uint32")),
        states(key=np.zeros(624, "uint64")),
        states(key=7),
        states(name="PCG64"),
        {**states(), "numpy": {"bit_generator": "MT19937", "state": {"pos": 1 << 30}}},
        {**states(), "numpy": {"bit_generator": "Philox", "buffer_pos": 1 << 30}},
        {**states(), "numpy": {"bit_generator": "PCG64"}},
        {**states(), "numpy": None},
        {**states(), "python": (3, (1,) * 625, 1, 2)},
        {**states(), "python": (3, (1,) * 624 + (700,), None)},
        {**states(), "python": (3, (-1,) * 625, None)},
        {**states(), "python": (3, (1 << 70,) * 624 + (1 << 70,), None)},
        {**states(), "python": (3, ("x",) * 625, None)},
        {**states(), "python": (3, (1,) * 624 + (1,), "gauss")},
        {**states(), "python": (1 << 70, (), None)},
        {**states(), "python": None},
        {},
        None,
    ],
)
def test_random_states_that_cannot_be_are_refused_and_nothing_is_set(state: Any) -> None:
    before = random_state.get_state()
    with pytest.raises(InvalidPair, match="random states are malformed"):
        random_state.set_state(state)
    assert random_state.get_state()["numpy"] == before["numpy"]
    np.random.rand()


def test_random_states_go_on_where_they_were() -> None:
    import random

    state = codec.loads(codec.dumps(random_state.get_state()))
    first = (random.random(), random.gauss(0, 1), np.random.rand(3).tolist(), np.random.randn())
    random_state.set_state(state)
    assert (random.random(), random.gauss(0, 1), np.random.rand(3).tolist(), np.random.randn()) == first


GOOD_FACTS: dict[str, Any] = {
    "fit": 1,
    "fits": [{"epoch": [0], "history": {"loss": [0.5]}}],
    "drawn": 3,
    "ended": False,
    "random": {},
    "logs": None,
    "callbacks": [{"class": "History", "state": None}],
    "data": {"pass": 1, "batches": 4},
    "spec": None,
}


def test_the_facts_of_a_training_are_accepted() -> None:
    for data in (GOOD_FACTS["data"], None):
        saved = Saved(Position(0, 0, 0), {}, {**GOOD_FACTS, "data": data})
        assert checked(saved) is saved


@pytest.mark.parametrize(
    "changes",
    [
        {"fit": "1"},
        {"fit": -1},
        {"fit": True},
        {"fit": 2},
        {"fits": []},
        {"fits": {}},
        {"fits": [None]},
        {"fits": [{"epoch": [0]}]},
        {"drawn": 1.0},
        {"drawn": 1 << 70},
        {"ended": 0},
        {"begun": 1},
        {"random": []},
        {"logs": []},
        {"callbacks": None},
        {"callbacks": [{"class": 7, "state": None}]},
        {"callbacks": [{"class": "History"}]},
        {"callbacks": ["History"]},
        {"data": {"pass": -1, "batches": 4}},
        {"data": {"pass": 1}},
        {"data": []},
        {"passes": 3},
        {"passes": [-1]},
        {"began": [0.5]},
        {"began": {}},
        {"fits": [{"epoch": [0], "history": {}, "passes": ["1"]}]},
    ],
    ids=repr,
)
def test_facts_of_another_kind_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidPair, match="malformed"):
        checked(Saved(Position(0, 0, 0), {}, {**GOOD_FACTS, **changes}))


@pytest.mark.parametrize("key", [key for key in GOOD_FACTS if key not in ("spec", "data", "logs")])
def test_a_missing_fact_is_refused(key: str) -> None:
    with pytest.raises(InvalidPair):
        checked(Saved(Position(0, 0, 0), {}, {k: v for k, v in GOOD_FACTS.items() if k != key}))


VARIABLE: dict[str, Any] = {"group": "model", "index": 0, "path": "x", "value": plain.pack(np.zeros(2))}


@pytest.mark.parametrize(
    "document",
    [
        [],
        "text",
        {},
        {"format": [[1]]},
        {"format": 1},
        {"format": 1, "position": None, "variables": []},
        {"format": 1, "position": {"epoch": 0, "batch": 0}, "variables": []},
        {"format": 1, "position": {"epoch": "9" * 10_000, "batch": 0, "step": 0}, "variables": []},
        {"format": 1, "position": {"epoch": 10**5000, "batch": 0, "step": 0}, "variables": []},
        {"format": 1, "position": {"epoch": -1, "batch": 0, "step": 0}, "variables": []},
        {"format": 1, "position": {"epoch": 1.5, "batch": 0, "step": 0}, "variables": []},
        *(
            {"format": 1, "position": {"epoch": 0, "batch": 0, "step": 0}, "variables": variables}
            for variables in (
                None,
                [None],
                [{}],
                [{**VARIABLE, "group": ["x" * 10_000]}],
                [{**VARIABLE, "index": "0"}],
                [{**VARIABLE, "index": -1}],
                [{**VARIABLE, "path": None}],
                [{**VARIABLE, "value": None}],
                [{**VARIABLE, "h5": 7}],
                [{**VARIABLE, "h5": "x", "at": None}],
                [{**VARIABLE, "h5": "x", "at": [1, 2]}],
                [{**VARIABLE, "h5": "x", "at": {}}],
            )
        ),
    ],
    ids=count(),
)
def test_a_document_that_is_no_pairs_is_refused_in_one_short_line(tmp_path: Path, document: Any) -> None:
    pkl = tmp_path / "pair.pkl"
    pkl.write_bytes(codec.dumps(document))
    with pytest.raises(InvalidPair) as refused:
        pair.load(tmp_path / "pair.h5", pkl)
    assert len(str(refused.value)) <= 300
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("make", [lambda p: None, lambda p: p.mkdir()], ids=["missing", "a folder"])
def test_a_pkl_that_cannot_be_read_is_invalid(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "pair.pkl")
    with pytest.raises(InvalidPair, match="cannot be read"):
        pair.load(tmp_path / "pair.h5", tmp_path / "pair.pkl")


def test_a_pkl_that_no_memory_could_hold_is_not_opened(tmp_path: Path) -> None:
    pkl = tmp_path / "pair.pkl"
    with pkl.open("wb") as file:
        file.truncate(1 << 43)  # a hole of 8 TiB
    with pytest.raises(InvalidPair, match="memory"):
        pair.load(tmp_path / "pair.h5", pkl)


def test_a_text_out_of_a_file_is_shown_as_one_line_that_moves_no_cursor() -> None:
    error = InvalidPair("it belongs to run \x1b]0;owned\x07\n\r\u202e\ud800" + "x" * 1000)
    assert str(error).isprintable()
    assert len(str(error)) == 300
    assert str(error).encode()


def test_a_pickle_of_python_2_is_refused() -> None:
    with pytest.raises(InvalidPair):
        codec.loads(pickle.dumps({"a": 1}, protocol=0))
