"""The ``.h5`` is written here, and is Keras' own all the same: structure first, then the arrays, each let go of."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from holdfast.spool import record_of
from holdfast.training.keras import snapshot
from holdfast.training.keras.watched import Watched
from holdfast.training.pair.arrays import locate
from holdfast.training.pair.pair_files import Position

layers = keras.layers


def small() -> keras.Model:
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.BatchNormalization(), layers.Dropout(0.5)])
    model.compile("adam", "mse", metrics=["mae"])
    return model


def large() -> keras.Model:
    model = keras.Sequential([keras.Input((300,)), layers.Dense(300), layers.Dense(300)])
    model.compile(keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.1, 5, 0.9), momentum=0.9), "mse")
    return model


def nested_and_shared() -> keras.Model:
    inner = keras.Sequential([keras.Input((200,)), layers.Dense(200, use_bias=False)], name="zz_inner")
    shared, inputs = layers.Dense(200, name="a_shared"), keras.Input((200,))
    model = keras.Model(inputs, layers.Add()([shared(inner(inputs)), shared(inputs)]))
    model.compile("rmsprop", "mse")
    return model


def with_many_names() -> keras.Model:
    one = keras.Input((2,))
    out = one
    for number in range(700):
        out = layers.Activation("relu", name=f"{number}-{'n' * 100}")(out)
    return keras.Model(one, out)


def of_halves() -> keras.Model:
    model = keras.Sequential([keras.Input((300,)), layers.Dense(300, dtype="float16")])
    model.compile("adam", "mse")
    return model


class Subclassed(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = layers.Dense(300)

    def call(self, inputs: Any) -> Any:
        return self.hidden(inputs)


def everything(path: Path) -> dict[str, Any]:
    """Every group, attribute and dataset of a file, by name."""
    found: dict[str, Any] = {}

    def note(name: str, item: Any) -> None:
        for key, value in item.attrs.items():
            found[f"{name}@{key}"] = np.asarray(value).tolist()
        found[name] = None
        if isinstance(item, h5py.Dataset):
            found[name] = (str(item.dtype), item.shape, np.asarray(item[()]).tobytes())

    with h5py.File(path) as file:
        note("", file)
        file.visititems(note)
    return found


@pytest.mark.parametrize(
    "build", [small, large, nested_and_shared, pytest.param(with_many_names, marks=pytest.mark.whole), of_halves]
)
def test_the_file_is_what_keras_itself_writes(tmp_path: Path, build: Any) -> None:
    model = build()
    if model.compiled:
        width = model.input_shape[-1]
        model.fit(np.ones((4, width)), np.ones((4, *model.output_shape[1:])), verbose=0)
    model.save(tmp_path / "keras.h5")
    kind = draft_of(model).write_h5(tmp_path / "ours.h5", None).kind
    assert kind == "model"
    assert everything(tmp_path / "ours.h5") == everything(tmp_path / "keras.h5")


@pytest.mark.parametrize("build", [small, large, nested_and_shared, of_halves])
def test_each_array_stands_where_the_writer_says(tmp_path: Path, build: Any) -> None:
    written = draft_of(build()).write_h5(tmp_path / "x.h5", None)
    assert written.pieces == locate(tmp_path / "x.h5", written.inside.values())
    assert len(written.pieces) > 1


@pytest.mark.parametrize("build", [small, large, nested_and_shared, Subclassed])
def test_the_sums_taken_on_the_way_are_those_of_the_file(tmp_path: Path, build: Any) -> None:
    model = build()
    model.compile("adam", "mse")
    model.fit(np.ones((4, 300 if build in (large, Subclassed) else model.input_shape[-1])), np.ones((4, 1)), verbose=0)
    written = draft_of(model).write_h5(tmp_path / "x.h5", None)
    assert written.record == record_of(tmp_path / "x.h5")


def adapted() -> keras.Model:
    """Two frozen layers with small ones that are trained beside each."""
    model = keras.Sequential([keras.Input((300,))])
    for number in range(2):
        model.add(layers.Dense(300, trainable=False, name=f"{number}_frozen"))
        model.add(layers.Dense(300, name=f"{number}_trained"))
    model.compile("adam", "mse")
    return model


class Adapted(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.inner = [layers.Dense(300, trainable=bool(number % 2), name=f"{number}_layer") for number in range(4)]

    def call(self, inputs: Any) -> Any:
        for layer in self.inner:
            inputs = layer(inputs)
        return inputs


@pytest.mark.parametrize("build", [adapted, Adapted])
def test_frozen_weights_stand_together_where_no_step_changes_a_byte(tmp_path: Path, build: Any) -> None:
    model, files = build(), []
    model.compile("adam", "mse")
    for number in range(2):
        model.fit(np.ones((4, 300)), np.ones((4, 300)), verbose=0)
        files.append(tmp_path / f"{number}.h5")
        draft_of(model).write_h5(files[-1], None)
    before, after = (np.fromfile(file, np.uint8) for file in files)
    changed = np.flatnonzero(before != after)
    frozen = 2 * 300 * 300 * 4
    gaps = np.diff(changed)
    assert gaps.max() > frozen, "both kernels are in one piece of the file that is the same"
    assert before.shape == after.shape


def test_it_holds_the_snapshot_and_its_learning_rate_not_what_came_after(tmp_path: Path) -> None:
    model = small()
    model.save(tmp_path / "keras.h5")
    draft = draft_of(model)
    model.optimizer.learning_rate = 0.5
    model.layers[0].kernel.assign(np.zeros((4, 3)))
    draft.write_h5(tmp_path / "ours.h5", None)
    assert everything(tmp_path / "ours.h5") == everything(tmp_path / "keras.h5")


@pytest.mark.parametrize("most", [None, 100_000, 1 << 30])
def test_the_disk_is_waited_for_whenever_so_much_is_not_there_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int | None
) -> None:
    synced: list[int] = []

    def fdatasync(descriptor: int) -> None:
        synced.append(os.lseek(descriptor, 0, os.SEEK_CUR))

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    draft = draft_of(large())
    path = tmp_path / "x.h5"
    assert draft.write_h5(path, most).record == record_of(path)
    assert len(synced) == (0 if most != 100_000 else 2), "there are two large arrays of 360,000 bytes"
    assert all(later - earlier <= 360_000 + 8192 for earlier, later in itertools.pairwise([0, *synced]))


def test_a_draft_can_be_written_again_after_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    draft = draft_of(large())
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        with pytest.raises(OSError, match="No space"):
            draft.write_h5(tmp_path / "x.h5", None)
    draft.write_h5(tmp_path / "x.h5", None)


def draft_of(model: keras.Model) -> Any:
    return snapshot.take(Watched(model), Position(0, 1, 1), "test", {}, {}, print)


def test_a_lock_that_a_forked_process_holds_on_the_file_is_in_nobodys_way(tmp_path: Path) -> None:
    """A data loader's worker that is forked while the file is open has it open, too, with HDF5's lock."""
    path = tmp_path / "m.h5"
    with path.open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        model = small()
        draft = snapshot.take(Watched(model), Position(0, 1, 1), "test", {}, {}, lambda text: None)
        written = draft.write_h5(path, None)
        assert written.record == record_of(path)
