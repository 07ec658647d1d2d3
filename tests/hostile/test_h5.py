"""Hostile ``.h5`` files: read for arrays only, from the places that the ``.pkl`` names or, for older pairs, that a
process apart has found. Neither follows a link, runs a filter or a layer, or allots what the file only claims to hold.
"""

from __future__ import annotations

import base64
import json
import marshal
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from holdfast.core import codec
from holdfast.core.errors import InvalidPair
from holdfast.training.pair import arrays, pair
from holdfast.training.pair.arrays import Piece
from holdfast.training.pair.pair import Place

from . import forge
from .bounded import bounded

FORMAT1 = next((Path(__file__).parent.parent / "data" / "00001-format1").glob("*.h5"))
NAMES = ["arrays/0"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pair.h5"


@pytest.mark.parametrize("kind", forge.H5)
def test_what_is_no_plain_array_inside_of_the_file_is_refused(path: Path, kind: str) -> None:
    make, what = forge.H5[kind]
    path.write_bytes(forge.h5_file(make))
    assert path.stat().st_size < 100_000, "small to store"
    with pytest.raises(InvalidPair, match=what):
        arrays.read(path, arrays.locate(path, NAMES))


@pytest.mark.parametrize("end", [0, 7, 8, 50, 96, 500, 1000, 5000, 10_000])
def test_a_truncated_file_is_refused(path: Path, end: int) -> None:
    names = names_of(FORMAT1)
    path.write_bytes(FORMAT1.read_bytes()[:end])
    with pytest.raises(InvalidPair):
        arrays.read(path, arrays.locate(path, names))
    with pytest.raises(InvalidPair, match=r"ends before|not an HDF5 file"):
        arrays.read(path, arrays.note(FORMAT1, names))


def names_of(path: Path) -> list[str]:
    found: list[str] = []
    with h5py.File(path, "r") as file:
        file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
    return found


def test_both_ways_read_what_the_hdf5_library_reads() -> None:
    names = names_of(FORMAT1)
    with h5py.File(FORMAT1, "r") as file:
        expected = {name: np.asarray(file[name][()]) for name in names}
    for pieces in (arrays.note(FORMAT1, names), arrays.locate(FORMAT1, names)):
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
    read = arrays.read(path, arrays.note(path, NAMES))["arrays/0"]
    assert read.dtype == array.dtype.newbyteorder("=")
    assert read.shape == array.shape
    assert read.tolist() == array.tolist()


def test_an_array_without_elements_is_left_to_the_pkl(path: Path) -> None:
    path.write_bytes(forge.h5_file(lambda file: file.create_dataset("arrays/0", data=np.zeros((0, 3)))))
    assert arrays.note(path, NAMES) == {}


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
        (0, "", [1]),
        (0, "spam", [1]),
    ],
)
def test_a_place_that_cannot_be_is_refused(offset: Any, dtype: Any, shape: Any) -> None:
    with pytest.raises(InvalidPair):
        Piece.of(offset, dtype, shape)


# --- bombs, in a process that may not have the memory for them -----------------------------------------------------


def claim(folder: Path, shape: list[int], count: int = 1) -> tuple[Path, Path]:
    """A pair of a few kilobytes whose ``.pkl`` claims arrays of ``shape`` in the ``.h5``."""
    h5, pkl = folder / "pair.h5", folder / "pair.pkl"
    h5.write_bytes(forge.h5_file(lambda file: file.create_dataset("arrays/0", data=np.zeros(100))))
    entries = [
        {"group": "model", "index": n, "path": "x", "h5": f"arrays/{n}", "at": [0, "<f8", shape]} for n in range(count)
    ]
    position = {"epoch": 0, "batch": 0, "step": 0}
    pkl.write_bytes(codec.dumps({"format": 1, "position": position, "variables": entries}))
    return h5, pkl


LOAD = """
from pathlib import Path
from holdfast.training.pair.pair import load
load(Path(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.mark.parametrize(
    ("shape", "count"), [([1 << 57], 1), ([1 << 31, 1 << 31], 1), ([1 << 28], 1), ([100], 100_000), ([1 << 61, 0], 1)]
)
def test_a_claim_of_more_than_the_file_holds_allots_nothing(tmp_path: Path, shape: list[int], count: int) -> None:
    h5, pkl = claim(tmp_path, shape, count)
    assert bounded(LOAD, str(h5), str(pkl)).startswith("InvalidPair: ")


def test_a_pkl_that_repeats_its_bytes_a_thousand_times_is_refused(tmp_path: Path) -> None:
    h5, pkl = claim(tmp_path, [100])
    data = bytes(1 << 20)
    body = b"\x80\x04]\x94(B" + len(data).to_bytes(4, "little") + data + b"\x94" + b"h\x01" * 4999 + b"e."
    pkl.write_bytes(body)
    assert "repeated" in bounded(LOAD, str(h5), str(pkl))


# --- code in a file ------------------------------------------------------------------------------------------------


def lambda_model(path: Path, canary: Path) -> None:
    """The fixture's arrays, and a model whose Lambda layer makes a file when Keras restores it."""
    shutil.copyfile(FORMAT1, path)
    code = compile(f"lambda x, open=open: [open({str(canary)!r}, 'w').close(), x][1]", "model", "eval")
    [function] = [const for const in code.co_consts if hasattr(const, "co_code")]
    dumped = base64.b64encode(marshal.dumps(function)).decode()
    layer = {"class_name": "Lambda", "config": {"name": "evil", "function": [dumped, None, None], "trainable": True}}
    model = {"class_name": "Sequential", "config": {"name": "m", "layers": [layer], "build_input_shape": [None, 3]}}
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = json.dumps(model)


def test_a_model_with_code_in_it_is_read_for_its_arrays_and_nothing_runs(path: Path, tmp_path: Path) -> None:
    """What Keras makes of the same file is not asserted: it depends on the version whether it runs the code."""
    canary = tmp_path / "canary"
    lambda_model(path, canary)
    names = names_of(FORMAT1)
    read = [arrays.read(path, pieces) for pieces in (arrays.note(path, names), arrays.locate(path, names))]
    with h5py.File(FORMAT1, "r") as file:
        for found in read:
            assert all(array.tolist() == file[name][()].tolist() for name, array in found.items())
    assert not canary.exists()


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
    saved = pair.load(h5, FORMAT1.with_suffix(".pkl"))
    assert saved.values[Place("model", 0)][1].shape == (3, 2)
    assert opened == []


def test_a_file_that_crashes_the_hdf5_library_is_refused_by_name(path: Path, tmp_path: Path) -> None:
    """An interpreter that dies as the library would: the real one must not be relied on to fail."""
    dies = tmp_path / "python"
    dies.write_text("#!/bin/sh\nkill -SEGV $$\n")
    dies.chmod(0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.executable", str(dies))
        with pytest.raises(InvalidPair, match=r"pair.h5 makes the HDF5 library fail \(signal 11\)"):
            arrays.locate(path, NAMES)


def test_no_plugin_is_loaded_whatever_a_filter_asks_for(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "plugins"
    folder.mkdir()
    os.mkfifo(folder / "libevil.so")  # whoever opens it waits for ever
    monkeypatch.setenv("HDF5_PLUGIN_PATH", str(folder))
    make, what = forge.H5["a filter from a plug-in"]
    path.write_bytes(forge.h5_file(make))
    with pytest.raises(InvalidPair, match=what):
        arrays.locate(path, NAMES)
