"""What stands in a ``.pkl`` and cannot be: those who use it must refuse it. The reader itself is tested in core.

Nothing here harms who takes it. NumPy trusts a generator's place in its buffer, for one: so the places that are tested
lie inside of it, and outside of a smaller one that holdfast is told of.
"""

from __future__ import annotations

import os
import pickle
import random
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from holdfast.core import restricted_pickle
from holdfast.core.errors import InvalidPair
from holdfast.training.keras.facts import checked
from holdfast.training.pair import pair_files, plain
from holdfast.training.pair.pair_files import Position, Saved
from holdfast.training.session import random_state


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
    read = plain.unpack(restricted_pickle.loads(restricted_pickle.dumps(plain.pack(np.asarray(array)))))
    assert read.tolist() == array.tolist()
    assert read.shape == array.shape
    assert read.flags.writeable


def test_an_array_of_objects_is_refused_before_numpy_sees_it() -> None:
    with pytest.raises(InvalidPair, match="an array of Python objects"):
        plain.unpack({"~array": ["O", [1], bytes(8)]})


def states(place: Any = 3, key: Any = None, name: Any = "MT19937") -> dict[str, Any]:
    given = random_state.get_state()
    given["numpy"] = (name, given["numpy"][1] if key is None else plain.to_plain(key), place, 0, 0.0)
    return given


@pytest.mark.parametrize(
    "state",
    [
        states(place="3"),
        states(place=True),
        states(key=np.zeros(600, "uint32")),
        states(key=np.zeros(624, "uint64")),
        states(key=7),
        states(name="PCG64"),
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
    random.random()  # Python's state is another than the one to be set
    before = random_state.get_state()
    with pytest.raises(InvalidPair, match="random states are malformed"):
        random_state.set_state(state)
    assert random_state.get_state() == before


@pytest.mark.parametrize(
    "numpy",
    [
        states(place=9)["numpy"],
        states(place=100)["numpy"],
        plain.to_plain({**np.random.Philox(1).state, "buffer_pos": 1}),
        plain.to_plain({**np.random.Philox(1).state, "buffer_pos": 3}),
    ],
    ids=["below", "above", "Philox, below", "Philox, above"],
)
def test_a_place_outside_of_a_generators_buffer_is_refused(monkeypatch: pytest.MonkeyPatch, numpy: Any) -> None:
    monkeypatch.setattr(random_state, "PLACES", range(10, 100))
    monkeypatch.setattr(random_state, "PHILOX_PLACES", range(2, 3))
    before = random_state.get_state()
    with pytest.raises(InvalidPair, match="a place outside of the generator's buffer"):
        random_state.set_state({**before, "numpy": numpy})
    assert random_state.get_state() == before
    random_state.set_state(states(place=10))


def test_a_mersenne_twister_in_another_form_than_ours_is_refused() -> None:
    before = random_state.get_state()
    with pytest.raises(InvalidPair, match="random states are malformed"):
        random_state.set_state({**before, "numpy": plain.to_plain(np.random.get_state(legacy=False))})
    assert random_state.get_state() == before


def test_the_places_are_those_of_numpys_own_buffers() -> None:
    """A place at a buffer's end says that it is used up."""
    [_, key, place, *_] = np.random.RandomState(7).get_state(legacy=True)
    philox = np.random.Philox(1).state
    assert range(len(key) + 1) == random_state.PLACES
    assert range(len(philox["buffer"]) + 1) == random_state.PHILOX_PLACES
    assert place in random_state.PLACES
    assert philox["buffer_pos"] in random_state.PHILOX_PLACES


def test_random_states_go_on_where_they_were() -> None:
    state = restricted_pickle.loads(restricted_pickle.dumps(random_state.get_state()))
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
        {"at_end": 1},
        {"not_kept": "M.last"},
        {"not_kept": [1]},
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
        {"generator": []},
        {"generator": {"began": 1 << 40}},
        {"generator": {"began": "3"}},
        {"iterable": 3},
        {"py_dataset": [3]},
        {"validation": None},
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
    pkl.write_bytes(restricted_pickle.dumps(document))
    (tmp_path / "pair.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(InvalidPair) as refused:
        pair_files.load(tmp_path / "pair.h5", pkl)
    assert len(str(refused.value)) <= 300
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("make", [lambda p: None, lambda p: p.mkdir()], ids=["missing", "a folder"])
def test_a_pkl_that_cannot_be_read_is_invalid(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "pair.pkl")
    with pytest.raises(InvalidPair, match="cannot be read"):
        pair_files.load(tmp_path / "pair.h5", tmp_path / "pair.pkl")


def test_a_pkl_that_is_more_than_half_of_the_memory_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine of 64 bytes."""
    (tmp_path / "pair.pkl").write_bytes(bytes(33))
    monkeypatch.setattr(os, "sysconf", lambda name: 8)
    with pytest.raises(InvalidPair, match="has 33 bytes: this machine's memory does not hold its values"):
        pair_files.load(tmp_path / "pair.h5", tmp_path / "pair.pkl")
    (tmp_path / "pair.pkl").write_bytes(bytes(32))
    with pytest.raises(InvalidPair, match="damaged"):
        pair_files.load(tmp_path / "pair.h5", tmp_path / "pair.pkl")


def test_a_text_out_of_a_file_is_shown_as_one_line_that_moves_no_cursor() -> None:
    error = InvalidPair("it belongs to run \x1b]0;a title\x07\n\r\u202e\ud800" + "x" * 1000)
    assert str(error).isprintable()
    assert len(str(error)) == 300
    assert str(error).encode()


def test_a_pickle_of_python_2_is_refused() -> None:
    with pytest.raises(InvalidPair):
        restricted_pickle.loads(pickle.dumps({"a": 1}, protocol=0))
