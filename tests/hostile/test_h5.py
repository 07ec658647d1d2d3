"""An ``.h5`` is read for arrays only, from the places that the ``.pkl`` names or, for older pairs, that a process apart
has found. Neither follows a link, runs a filter or a layer, or allots what the file only claims to hold.

The HDF5 library takes every file in here. A file that it would not take can crash it, and a filter can name a plug-in
that it loads: what is tested is that such a file could only end a process apart, which loads none.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from holdfast.core import restricted_pickle
from holdfast.core.errors import InvalidPair
from holdfast.training.pair import arrays, pair_files
from holdfast.training.pair.arrays import Piece
from holdfast.training.pair.pair_files import Place

from . import forge
from .noted import noted

FORMAT1 = next((Path(__file__).parent.parent / "data" / "00001-format1").glob("*.h5"))
NAMES = ["arrays/0"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pair.h5"


@pytest.mark.parametrize("kind", forge.H5)
def test_what_is_no_plain_array_inside_of_the_file_is_refused(path: Path, kind: str) -> None:
    make, what = forge.H5[kind]
    path.write_bytes(forge.h5_file(make))
    with pytest.raises(InvalidPair, match=what):
        arrays.read(path, arrays.locate(path, NAMES))


@pytest.mark.parametrize("end", [0, 7, 8, 50, 96, 500, 1000, 5000, 10_000])
def test_a_truncated_file_is_refused(path: Path, end: int) -> None:
    names = names_of(FORMAT1)
    path.write_bytes(FORMAT1.read_bytes()[:end])
    with pytest.raises(InvalidPair):
        arrays.read(path, arrays.locate(path, names))
    with pytest.raises(InvalidPair, match=r"ends before|not an HDF5 file"):
        arrays.read(path, noted(FORMAT1, names))


def test_what_does_not_begin_as_hdf5_does_is_refused(path: Path) -> None:
    path.write_bytes(bytes(1000))
    with pytest.raises(InvalidPair, match="is not an HDF5 file"):
        arrays.read(path, {"a": Piece(8, np.dtype("u1"), (4,))})


def names_of(path: Path) -> list[str]:
    found: list[str] = []
    with h5py.File(path, "r") as file:
        file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
    return found


def test_both_ways_read_what_the_hdf5_library_reads() -> None:
    names = names_of(FORMAT1)
    with h5py.File(FORMAT1, "r") as file:
        expected = {name: np.asarray(file[name][()]) for name in names}
    for pieces in (noted(FORMAT1, names), arrays.locate(FORMAT1, names)):
        read = arrays.read(FORMAT1, pieces)
        assert {name: (a.dtype, a.shape, a.tobytes()) for name, a in read.items()} == {
            name: (a.dtype, a.shape, a.tobytes()) for name, a in expected.items()
        }
    assert len(names) == 8


@pytest.mark.parametrize(
    "array",
    [
        np.float32(3.5),
        np.arange(6, dtype="int64").reshape(2, 3),
        np.array([True, False]),
        np.arange(3, dtype=">f4"),
        np.arange(3, dtype="float16"),
        np.uint8([255]),
    ],
    ids=lambda array: f"{array.dtype.str} {array.shape}",
)
def test_numbers_of_every_kind_come_back_as_they_were(path: Path, array: Any) -> None:
    path.write_bytes(forge.h5_file(lambda file: file.create_dataset("arrays/0", data=array)))
    read = arrays.read(path, noted(path, NAMES))["arrays/0"]
    assert read.dtype == array.dtype.newbyteorder("=")
    assert read.shape == array.shape
    assert read.tolist() == array.tolist()


def test_an_array_without_elements_is_left_to_the_pkl(path: Path) -> None:
    path.write_bytes(forge.h5_file(lambda file: file.create_dataset("arrays/0", data=np.zeros((0, 3)))))
    assert noted(path, NAMES) == {}


def test_a_boolean_is_true_or_false_whatever_its_byte_says(path: Path) -> None:
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes([0, 1, 2, 255]))
    read = arrays.read(path, {"a": Piece(8, np.dtype(bool), (4,))})["a"]
    assert read.view(np.uint8).tolist() == [0, 1, 1, 1]


@pytest.mark.parametrize(
    ("offset", "dtype", "shape"),
    [
        (-1, "<f4", [1]),
        (1 << 63, "<f4", [1]),
        (True, "<f4", [1]),
        (0.0, "<f4", [1]),
        ("0", "<f4", [1]),
        (0, "<f4", [-1]),
        (0, "<f4", (1,)),
        (0, "<f4", [1.0]),
        (0, "<f4", [1] * 33),
        (0, "<f4", None),
        (0, None, [1]),
        (0, "O", [1]),
        (0, "U9", [1]),
        (0, "V9", [1]),
        (0, "M8[s]", [1]),
        (0, "c16", [1]),
        (0, "f4,f4", [1]),
        (0, "(9,9)f4", [1]),
        (0, "<f4" * 1000, [1]),
        (0, "longdouble", [1]),
        (0, "", [1]),
        (0, "spam", [1]),
    ],
)
def test_a_place_that_cannot_be_is_refused(offset: Any, dtype: Any, shape: Any) -> None:
    with pytest.raises(InvalidPair):
        Piece.of(offset, dtype, shape)


# --- what a .pkl claims --------------------------------------------------------------------------------------------

STORED = 100  # float64 values


def claim(folder: Path, offset: int, shape: list[int], count: int = 1) -> Path:
    """The ``.pkl`` of a pair that claims arrays of ``shape`` in its ``.h5``, each at the same place."""
    (folder / "pair.h5").write_bytes(
        forge.h5_file(lambda file: file.create_dataset("arrays/0", data=np.arange(float(STORED))))
    )
    entries = [
        {"group": "model", "index": n, "path": "x", "h5": f"arrays/{n}", "at": [offset, "<f8", shape]}
        for n in range(count)
    ]
    position = {"epoch": 0, "batch": 0, "step": 0}
    pkl = folder / "pair.pkl"
    pkl.write_bytes(restricted_pickle.dumps({"format": 1, "position": position, "variables": entries}))
    return pkl


def test_an_array_may_end_where_the_file_does_and_not_later(path: Path) -> None:
    claim(path.parent, 0, [1])
    length = path.stat().st_size
    whole = claim(path.parent, length - 80, [10])
    assert pair_files.load(path, whole).values[Place("model", 0)][1].shape == (10,)
    for offset, shape in ((length - 80, [11]), (length - 79, [10]), (length - 80, [1, 11])):
        with pytest.raises(InvalidPair, match="ends before its array"):
            pair_files.load(path, claim(path.parent, offset, shape))


def test_all_arrays_together_are_no_more_than_the_file(path: Path) -> None:
    """Many arrays of the same bytes are small to store, and as large in memory as anyone likes."""
    claim(path.parent, 0, [1])
    count = path.stat().st_size // 80
    assert len(pair_files.load(path, claim(path.parent, 0, [10], count)).values) == count
    with pytest.raises(InvalidPair, match="is said to hold more than"):
        pair_files.load(path, claim(path.parent, 0, [10], count + 1))


def test_a_shape_without_elements_is_no_larger_than_others_may_be() -> None:
    Piece.of(0, "<f4", [(1 << 56) - 1, 0])
    for shape in ([1 << 56, 0], [1 << 28, 0, 1 << 28]):
        with pytest.raises(InvalidPair):
            Piece.of(0, "<f4", shape)


# --- code in a file ------------------------------------------------------------------------------------------------


made: list[str] = []


@keras.saving.register_keras_serializable("holdfast_tests")
class Canary(keras.layers.Layer):
    """Notes when Keras makes one from a file."""

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        made.append(config["name"])
        return super().from_config(config)

    def call(self, inputs: Any) -> Any:
        return inputs


def test_a_layer_that_the_file_describes_is_not_made(path: Path) -> None:
    """The arrays are read, and the model stays what the script built."""
    model = keras.Sequential([keras.Input((3,)), Canary(name="canary"), keras.layers.Dense(2)])
    model.save(path)
    names = names_of(path)
    [kernel] = [name for name in names if "kernel" in name]
    made.clear()
    for pieces in (noted(path, names), arrays.locate(path, names)):
        assert arrays.read(path, pieces)[kernel].tolist() == model.layers[-1].kernel.numpy().tolist()
    assert made == []
    keras.models.load_model(path)
    assert made == ["canary"], "Keras makes it"


def test_the_reader_never_opens_a_file_by_the_hdf5_library_in_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    h5 = tmp_path / FORMAT1.name
    shutil.copyfile(FORMAT1, h5)
    opened: list[Any] = []
    original: Callable[..., Any] = h5py.File.__init__

    def watched(self: Any, name: Any, *rest: Any, **more: Any) -> None:
        opened.append(name)
        original(self, name, *rest, **more)

    monkeypatch.setattr(h5py.File, "__init__", watched)
    saved = pair_files.load(h5, FORMAT1.with_suffix(".pkl"))
    assert saved.values[Place("model", 0)][1].shape == (3, 2)
    assert opened == []


@pytest.fixture
def interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has a shell script stand for the process apart."""

    def of(script: str) -> None:
        program = tmp_path / "python"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o700)
        monkeypatch.setattr("sys.executable", str(program))

    return of


def test_a_library_that_crashes_takes_its_own_process_along_only(
    path: Path, interpreter: Callable[[str], None]
) -> None:
    interpreter("kill -SEGV $$")
    with pytest.raises(InvalidPair, match=r"pair.h5 makes the HDF5 library fail \(signal 11\)"):
        arrays.locate(path, NAMES)


def test_a_library_that_finds_no_end_is_not_waited_for(
    path: Path, interpreter: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "LONGEST_SEARCH", 0.2)
    interpreter("exec sleep 20")
    with pytest.raises(InvalidPair, match=r"pair\.h5 keeps the HDF5 library busy without end"):
        arrays.locate(path, NAMES)


NOTES = """
RLIMIT_AS, RLIMIT_CPU, RLIMIT_CORE = "AS", "CPU", "CORE"
limits = {}
setrlimit = limits.__setitem__
"""
TELLS = """
import os, resource
raise ImportError(f"plug-ins {os.environ['HDF5_PLUGIN_PRELOAD']}, {resource.limits}")
"""


def test_the_library_has_little_memory_and_time_and_loads_no_plug_in(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An h5py that says what it is given; HDF5 knows '::' as 'no plug-ins at all'."""
    (tmp_path / "resource.py").write_text(NOTES)
    (tmp_path / "h5py.py").write_text(TELLS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(InvalidPair) as refused:
        arrays.locate(path, NAMES)
    limits = {"AS": (2 << 30, 2 << 30), "CPU": (20, 20), "CORE": (0, 0)}
    assert f"plug-ins ::, {limits}" in str(refused.value)
