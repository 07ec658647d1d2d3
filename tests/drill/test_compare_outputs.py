"""Files that two trainings wrote: what is a difference, and what only tells the time."""

from __future__ import annotations

import json
import struct
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path

import h5py
import pytest

from holdfast.drill.compare_outputs import compare_files, contents, files_below
from holdfast.drill.event_files import summaries


def digests(folder: Path) -> dict[str, str]:
    return contents(files_below(folder))


def folders(tmp_path: Path, *names: str) -> list[Path]:
    for name in names:
        (tmp_path / name).mkdir()
    return [tmp_path / name for name in names]


# --- TensorBoard's files, made by hand: a message's fields as protocol buffers have them --------------------------


def field(number: int, value: int | float | bytes) -> bytes:
    if isinstance(value, int):
        return bytes([number << 3]) + varint(value)
    if isinstance(value, float):
        return bytes([number << 3 | 1]) + struct.pack("<d", value)
    return bytes([number << 3 | 2]) + varint(len(value)) + value


def varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def record(event: bytes) -> bytes:
    return struct.pack("<Q", len(event)) + b"sum1" + event + b"sum2"


def scalar(tag: str, step: int, value: float) -> bytes:
    one = field(1, tag.encode()) + field(8, struct.pack("<f", value))
    return record(field(1, time.time()) + field(2, step) + field(5, field(1, one)))


def event_file(path: Path, *records: bytes) -> None:
    path.write_bytes(record(field(1, time.time()) + field(3, b"brain.Event:2")) + b"".join(records))


def test_tensorboard_files_are_the_same_if_the_last_values_are_whoever_wrote_them_when(tmp_path: Path) -> None:
    a, b = folders(tmp_path, "a", "b")
    event_file(a / "events.out.tfevents.100.host.7.0.v2", *(scalar("loss", n, n / 3) for n in range(300)))
    event_file(b / "events.out.tfevents.200.host.8.0.v2", *(scalar("loss", n, n / 3) for n in range(200)))
    redone = [scalar("loss", n, n / 3) for n in range(190, 300)]
    event_file(b / "events.out.tfevents.300.host.9.0.v2", *redone, scalar("loss", 300, 1.0)[:-3])
    assert digests(a) == digests(b)
    assert list(digests(a)) == ["., loss (TensorBoard)"]


@pytest.mark.parametrize(("tag", "step", "value"), [("loss", 5, 0.25), ("loss", 6, 0.5), ("acc", 5, 0.5)])
def test_another_value_step_or_tag_is_a_difference(tmp_path: Path, tag: str, step: int, value: float) -> None:
    a, b = folders(tmp_path, "a", "b")
    event_file(a / "events.out.tfevents.1", scalar("loss", 5, 0.5))
    event_file(b / "events.out.tfevents.2", scalar(tag, step, value))
    found = compare_files(digests(a), digests(a), digests(b))
    assert "., loss (TensorBoard)" in found.differ


def test_what_only_is_called_an_event_file_is_compared_by_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "my.tfevents.txt").write_bytes(record(b"\xff\xff"))
    with pytest.raises(ValueError, match="protocol buffer"):
        list(summaries(tmp_path / "my.tfevents.txt"))
    assert list(digests(tmp_path)) == ["my.tfevents.txt"]


# --- models --------------------------------------------------------------------------------------------------------


def keras_file(path: Path, members: Mapping[str, bytes], when: int) -> None:
    metadata = {"keras_version": "3", "date_saved": f"2026-11-{when}"}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {"metadata.json": json.dumps(metadata).encode(), **members}.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 11, when, 0, 0, 0)), data)


def config(optimizer: str, *shared: int) -> dict[str, bytes]:
    layers = [{"dtype": {"shared_object_id": number}} for number in shared]
    return {"config.json": json.dumps({"optimizer": optimizer, "layers": layers}).encode()}


def test_a_keras_file_is_the_same_on_another_day_in_another_process(tmp_path: Path) -> None:
    a, b = folders(tmp_path, "a", "b")
    keras_file(a / "best.keras", config("SGD", 7000, 7000, 8000), 20)
    keras_file(b / "best.keras", config("SGD", 6400, 6400, 5500), 21)
    assert digests(a) == digests(b)


@pytest.mark.parametrize("other", [config("RMSprop", 7000, 7000, 8000), config("SGD", 7000, 8000, 8000)])
def test_a_keras_file_with_another_optimizer_or_layer_is_another(tmp_path: Path, other: dict[str, bytes]) -> None:
    a, b = folders(tmp_path, "a", "b")
    keras_file(a / "best.keras", config("SGD", 7000, 7000, 8000), 20)
    keras_file(b / "best.keras", other, 20)
    assert digests(a) != digests(b)


def named(*names: str) -> dict[str, bytes]:
    layers = [{"name": name, "inbound": [before]} for before, name in zip(("input", *names), names, strict=False)]
    return {"config.json": json.dumps({"layers": layers}).encode()}


@pytest.mark.parametrize(
    ("names", "same"),
    [
        (("dense", "dense_1"), True),
        (("dense_4", "dense_9"), True),
        (("dense_4", "dense_4"), False),
        (("dense_4", "conv_9"), False),
    ],
)
def test_the_numbers_that_keras_gives_to_layers_are_no_difference(
    tmp_path: Path, names: tuple[str, ...], same: bool
) -> None:
    """A script that skips trials that are done makes fewer layers before."""
    a, b = folders(tmp_path, "a", "b")
    for folder, given in ((a, ("dense_2", "dense_3")), (b, names)):
        keras_file(folder / "best.keras", named(*given), 20)
        with h5py.File(folder / "weights.h5", "w") as file:
            for place, name in enumerate(given):
                file.create_group(str(place)).attrs["name"] = name
    assert [digests(a)[name] == digests(b)[name] for name in ("best.keras", "weights.h5")] == [same, same]


def hdf5(path: Path, first: str, second: str, value: float) -> None:
    with h5py.File(path, "w") as file:
        for name in (first, second):
            file.create_dataset(name, data=[1.0, value])
        file.attrs["kind"] = "weights"


def test_an_hdf5_file_is_the_same_wherever_in_it_its_arrays_stand(tmp_path: Path) -> None:
    a, b, c = folders(tmp_path, "a", "b", "c")
    hdf5(a / "w.h5", "x", "y", 2.0)
    hdf5(b / "w.h5", "y", "x", 2.0)
    hdf5(c / "w.h5", "x", "y", 2.5)
    assert digests(a) == digests(b)
    assert digests(a) != digests(c)


def test_a_file_that_only_begins_like_a_known_kind_is_compared_by_its_bytes(tmp_path: Path) -> None:
    a, b = folders(tmp_path, "a", "b")
    for name, start in (("x.h5", b"\x89HDF\r\n\x1a\n"), ("x.zip", b"PK\x03\x04")):
        (a / name).write_bytes(start + b"one")
        (b / name).write_bytes(start + b"two")
    assert set(compare_files(digests(a), digests(a), digests(b)).differ) == {"x.h5", "x.zip"}


# --- the comparison ------------------------------------------------------------------------------------------------


def test_what_differs_between_two_undisturbed_trainings_is_left_out_and_named() -> None:
    found = compare_files({"log": "1", "x": "1"}, {"log": "2", "x": "1"}, {"log": "3", "x": "1"})
    assert found.differ == ()
    assert found.left_out == ("log",)


def test_missing_other_and_further_files_are_differences() -> None:
    found = compare_files({"a": "1", "b": "1"}, {"a": "1", "b": "1"}, {"b": "2", "c": "1"})
    assert found.differ == ("a", "b", "c")


def test_names_that_hold_a_time_are_left_out_in_all_three() -> None:
    found = compare_files({"run-1029/log": "1"}, {"run-1030/log": "1"}, {"run-1031/log": "1", "run-1032/other": "1"})
    assert found.differ == ("run-1032/other",)
    assert found.left_out == ("run-1029/log", "run-1030/log", "run-1031/log")


def test_a_saved_models_graph_is_not_compared_and_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"x")
    found = compare_files(digests(tmp_path), digests(tmp_path), digests(tmp_path))
    assert found == compare_files({"saved_model.pb": ""}, {"saved_model.pb": ""}, {"saved_model.pb": ""})
    assert found.left_out == ("saved_model.pb",)
