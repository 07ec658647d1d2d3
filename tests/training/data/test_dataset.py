"""``holdfast.dataset``: its order, its shapes, and what it costs to go on in the middle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import holdfast
from holdfast.core.errors import Mismatch, SettingsError
from holdfast.spool import Spool
from holdfast.training.data.dataset_passes import pass_counter_of
from holdfast.training.data.tf.tf_data_position import TfDataPosition

from ..restarts import Script, assert_same, interrupted, once

X = np.arange(20, dtype="float32").reshape(10, 2)
Y = np.arange(10)


def batches(dataset: Any) -> list[Any]:
    return [tf.nest.map_structure(lambda t: t.numpy().tolist(), batch) for batch in dataset]


def test_each_pass_holds_every_sample_once_in_another_order() -> None:
    dataset = holdfast.dataset(X, Y, batch_size=4, seed=1)
    first, second = ([n for _, y in batches(dataset) for n in y] for _ in range(2))
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


def test_the_order_depends_on_the_seed_and_the_pass_alone() -> None:
    one, other = (holdfast.dataset(X, Y, batch_size=4, seed=7) for _ in range(2))
    np.random.seed(5)
    tf.random.set_seed(5)
    assert [batches(one), batches(one)] == [batches(other), batches(other)]
    assert batches(holdfast.dataset(X, Y, batch_size=4, seed=7)) != batches(
        holdfast.dataset(X, Y, batch_size=4, seed=8)
    )


def test_the_order_of_a_seed_is_the_same_in_every_version() -> None:
    """A training that was begun with an older holdfast goes on with this one."""
    assert [y for _, y in batches(holdfast.dataset(X, Y, batch_size=10, seed=42))] == [[5, 6, 0, 7, 3, 2, 4, 9, 1, 8]]


def test_without_shuffle_the_arrays_own_order_is_kept() -> None:
    assert batches(holdfast.dataset(Y, batch_size=4, seed=1, shuffle=False)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_the_last_batch_is_left_out_if_asked_for() -> None:
    dataset = holdfast.dataset(X, Y, batch_size=4, seed=1, drop_remainder=True)
    assert [len(y) for _, y in batches(dataset)] == [4, 4]
    assert int(dataset.cardinality()) == 2
    assert dataset.element_spec[0].shape == (4, 2)


def test_structures_and_weights_keep_their_shape() -> None:
    inputs = {"a": X, "b": Y.astype("int32")}
    dataset = holdfast.dataset(inputs, (Y, X), batch_size=3, seed=1, sample_weight=np.ones(10))
    x, y, weights = next(iter(dataset))
    assert set(x) == {"a", "b"}
    assert [t.shape[0] for t in (x["a"], x["b"], *y, weights)] == [3] * 5
    assert x["a"].numpy()[:, 0].tolist() == (2 * x["b"].numpy()).tolist() == (2 * y[0].numpy()).tolist()


def test_lists_of_arrays_are_what_keras_takes_them_for() -> None:
    one, two = (
        holdfast.dataset([X, Y], [Y, X], batch_size=3, seed=1),
        holdfast.dataset((X, Y), (Y, X), batch_size=3, seed=1),
    )
    assert one.element_spec == two.element_spec
    assert batches(one) == batches(two)
    within = holdfast.dataset({"a": [X, X], "b": Y}, batch_size=3, seed=1)
    assert [len(batch["a"]) for batch in batches(within)] == [2] * 4


class Frame:
    """What matters of a DataFrame or a Series of pandas', which not everybody has."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def to_numpy(self) -> np.ndarray:
        return self._array


Frame.__module__ = "pandas.core.frame"


def test_of_tables_a_column_has_two_axes_and_fractions_are_of_keras_type() -> None:
    dataset = holdfast.dataset(Frame(X.astype("float64")), Frame(Y), batch_size=5, seed=1)
    assert [(spec.shape.as_list(), spec.dtype.name) for spec in dataset.element_spec] == [
        ([None, 2], "float32"),
        ([None, 1], "int64"),
    ]


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({"x": tf.ragged.constant([[1], [2, 3]])}, "dense arrays, and this is a RaggedTensor: give a function"),
        ({"x": (X, tf.sparse.from_dense(X))}, "dense arrays, and this is a SparseTensor: give a function"),
        ({"x": np.array([np.zeros(1), np.zeros(2)], object)}, "differ in length, give a function"),
        ({"x": Frame(np.array([["a", 1]], object))}, "no dense array is made"),
        ({"x": [X, [1, 2]]}, "give arrays"),
        ({"x": X, "y": Y[:5]}, "same number of samples"),
        ({"x": X[:0], "y": Y[:0]}, "1 or more"),
        ({"x": np.float32(3)}, "1 or more"),
        ({"x": [1, 2, 3], "y": [4, 5, 6]}, "give arrays"),
        ({"x": X, "batch_size": 0}, "one batch"),
        ({"x": X, "batch_size": 11, "drop_remainder": True}, "one batch"),
        ({"x": lambda seed: [1, 2]}, "tf.data.Dataset"),
        ({"x": lambda seed: None, "batch_size": 3}, "whole batches"),
    ],
)
def test_what_does_not_fit_together_is_refused(arguments: dict[str, Any], what: str) -> None:
    with pytest.raises(SettingsError, match=what):
        holdfast.dataset(**arguments, seed=1)


def test_done_batches_come_empty_and_are_neither_read_nor_augmented() -> None:
    augmented: list[float] = []

    def augment(x: Any, y: Any) -> Any:
        tf.numpy_function(lambda first: augmented.append(float(first)), [x[0, 0]], [])
        return x + 1, y

    undisturbed = batches(holdfast.dataset(X, Y, batch_size=3, seed=1, map=augment))
    assert len(augmented) == 4
    augmented.clear()
    dataset = holdfast.dataset(X, Y, batch_size=3, seed=1, map=augment)
    source = pass_counter_of(dataset)
    assert source is not None
    source.resume_at(0, empty=3)
    resumed = batches(dataset)
    assert len(augmented) == 1
    assert resumed[3] == undisturbed[3]
    assert resumed[:3] == [([[0.0, 0.0]] * 3, [0] * 3)] * 3
    assert len(batches(dataset)) == 4
    assert len(augmented) == 5, "the next pass is a whole one"


def test_a_map_that_takes_a_seed_gets_one_for_each_batch_of_each_pass() -> None:
    def noisy(x: Any, y: Any, seed: Any) -> Any:
        return x + tf.random.stateless_uniform(tf.shape(x), seed), y

    one, other = (holdfast.dataset(X, Y, batch_size=4, seed=3, map=noisy) for _ in range(2))
    first = batches(one)
    assert first == batches(other)
    noise = {round(value % 1, 5) for x, _ in first + batches(one) for row in x for value in row}
    assert len(noise) > 30


def test_a_function_makes_each_pass_from_a_seed_of_its_own() -> None:
    seeds: list[int] = []

    def make_epoch(seed: int) -> Any:
        seeds.append(seed)
        return tf.data.Dataset.range(10).shuffle(10, seed=seed).batch(4)

    dataset = holdfast.dataset(make_epoch, seed=2)
    passes = [batches(dataset), batches(dataset)]
    assert int(dataset.cardinality()) == 3
    assert [sorted(n for batch in p for n in batch) for p in passes] == [list(range(10))] * 2
    assert passes[0] != passes[1]
    assert len(set(seeds)) == 2
    again = holdfast.dataset(make_epoch, seed=2)
    assert [batches(again), batches(again)] == passes


# --- in a training -------------------------------------------------------------------------------------------------

RNG = np.random.default_rng(1)
SAMPLES, TARGETS = RNG.random((50, 4), "float32"), RNG.random((50, 1), "float32")
MORE, THEIRS = RNG.random((80, 4), "float32"), RNG.random((80, 1), "float32")


def train(make_data: Any, per_call: int = 1, **fit: Any) -> Script:
    def run(callbacks: list[keras.callbacks.Callback]) -> tuple[keras.Model, Any]:
        model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(8, "tanh"), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(0.05, momentum=0.9), "mse", steps_per_execution=per_call)
        return model, model.fit(make_data(), callbacks=callbacks, verbose=0, shuffle=False, **fit)

    return run


def arrays() -> Any:
    return holdfast.dataset(SAMPLES, TARGETS, batch_size=8, seed=3)


def repeated() -> Any:
    return arrays().repeat()


def function() -> Any:
    def make_epoch(seed: int) -> Any:
        return tf.data.Dataset.from_tensor_slices((SAMPLES, TARGETS)).shuffle(50, seed=seed).batch(8)

    return holdfast.dataset(make_epoch, seed=3)


def function_of_unknown_size() -> Any:
    def make_epoch(seed: int) -> Any:
        whole = tf.data.Dataset.from_tensor_slices((SAMPLES, TARGETS)).shuffle(50, seed=seed)
        return whole.filter(lambda x, y: x[0] < 0.8).batch(8)

    return holdfast.dataset(make_epoch, seed=3)


@pytest.mark.parametrize(
    ("make_data", "fit"),
    [
        (arrays, {"epochs": 3}),
        pytest.param(repeated, {"epochs": 4, "steps_per_epoch": 5}, marks=pytest.mark.whole),
        pytest.param(repeated, {"epochs": 3, "steps_per_epoch": 9}, marks=pytest.mark.whole),
        pytest.param(function, {"epochs": 3}, marks=pytest.mark.whole),
        (function_of_unknown_size, {"epochs": 3}),
    ],
)
def test_a_resumed_training_sees_the_samples_that_an_undisturbed_one_sees(
    tmp_path: Path, make_data: Any, fit: dict[str, Any]
) -> None:
    script = train(make_data, **fit)
    undisturbed = once(script, tmp_path / "undisturbed")
    assert_same(interrupted(script, tmp_path / "stopped", (0, 2), (2, 3)), undisturbed)


def of_arrays(samples: int) -> Any:
    return holdfast.dataset(MORE[:samples], THEIRS[:samples], batch_size=8, seed=3)


def plain(samples: int) -> Any:
    return tf.data.Dataset.from_tensor_slices((MORE[:samples], THEIRS[:samples])).batch(8)


def of_a_function(samples: int) -> Any:
    return holdfast.dataset(lambda seed: plain(samples), seed=3)


def of_unknown_size(samples: int) -> Any:
    return holdfast.dataset(lambda seed: plain(samples).filter(lambda x, y: True), seed=3)


@pytest.mark.parametrize(
    ("make_data", "per_call"),
    [
        (plain, 1),
        *(
            pytest.param(data, per_call, marks=pytest.mark.whole)
            for data in (of_arrays, plain, of_a_function, of_unknown_size)
            for per_call in (1, 4)
        ),
    ],
)
def test_data_that_ends_before_the_checkpoints_batch_is_refused_and_nothing_is_stored(
    tmp_path: Path, make_data: Any, per_call: int
) -> None:
    def script(samples: int) -> Script:
        return train(lambda: make_data(samples), per_call, epochs=3)

    assert once(script(80), tmp_path / "stopped", (0, 7)).code == 75
    (folder,) = (tmp_path / "stopped").iterdir()
    before = Spool(folder).pairs()
    with pytest.raises(Mismatch, match=r"the data has 3 batches, and the checkpoint was taken at batch 8 of its epoch"):
        once(script(24), tmp_path / "stopped")
    assert Spool(folder).pairs() == before
    assert_same(once(script(80), tmp_path / "stopped"), once(script(80), tmp_path / "undisturbed"))


@pytest.mark.parametrize(
    ("make_data", "samples", "batches"),
    [
        (of_arrays, 80, 10),
        (of_a_function, 50, None),
        pytest.param(of_arrays, 24, 3, marks=pytest.mark.whole),
        pytest.param(of_arrays, 50, None, marks=pytest.mark.whole),
        pytest.param(of_a_function, 80, 10, marks=pytest.mark.whole),
        pytest.param(of_a_function, 24, 3, marks=pytest.mark.whole),
    ],
)
def test_another_number_of_batches_than_before_is_said_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], make_data: Any, samples: int, batches: int | None
) -> None:
    def script(samples: int) -> Script:
        return train(lambda: make_data(samples), epochs=3)

    assert once(script(50), tmp_path, (0, 1)).code == 75
    assert once(script(samples), tmp_path).code is None
    said = f"the data has {batches} batches, and had 7 when the checkpoint was made: the result may differ"
    err = capfd.readouterr().err
    assert err.count(said) == err.count("the result may differ") == (batches is not None)


def test_the_place_of_an_epoch_that_has_begun_is_the_same_before_and_after_its_pass_begins() -> None:
    dataset = holdfast.dataset(X, Y, batch_size=4, seed=1)
    position = TfDataPosition(dataset, None)
    position.begin_epoch(0, within=False, facts=None)
    batches(dataset)
    position.end_epoch()
    assert position.facts(False, 0)["data"] == {"pass": 1, "batches": 3}
    position.begin_epoch(0, within=False, facts=None)
    assert position.facts(True, 0)["data"] == {"pass": 1, "batches": 3}
    next(iter(dataset))
    assert position.facts(True, 0)["data"] == {"pass": 1, "batches": 3}


@pytest.mark.parametrize("ranks", [2, 3])
def test_the_shares_of_several_machines_are_together_the_batches_of_one_order(ranks: int) -> None:
    whole = holdfast.dataset(X, Y, batch_size=2 * ranks, seed=3, drop_remainder=True)
    shares = [holdfast.dataset(X, Y, batch_size=2, seed=3, shard=(rank, ranks)) for rank in range(ranks)]
    for _ in range(2):
        together = [sorted(n for _, y in step for n in y) for step in zip(*map(batches, shares), strict=True)]
        assert together[: len(whole)] == [sorted(y) for _, y in batches(whole)]


def test_every_machine_has_the_same_number_of_samples_and_what_is_left_out_differs_from_pass_to_pass() -> None:
    shares = [holdfast.dataset(X, Y, batch_size=2, seed=3, shard=(rank, 3)) for rank in range(3)]
    passes = [[[n for _, y in batches(share) for n in y] for share in shares] for _ in range(4)]
    assert all(len(drawn) == 3 for one in passes for drawn in one)
    left_out = [set(range(10)) - {n for drawn in one for n in drawn} for one in passes]
    assert all(len(one) == 1 for one in left_out)
    assert len(set.union(*left_out)) > 1


def test_one_machine_alone_has_all_of_it() -> None:
    with_share = holdfast.dataset(X, Y, batch_size=4, seed=1, shard=(0, 1))
    assert batches(with_share) == batches(holdfast.dataset(X, Y, batch_size=4, seed=1))


@pytest.mark.parametrize("shard", ["all", (2, 2), (0,), 3, (0.0, 2)])
def test_a_share_that_is_none_is_refused(shard: Any) -> None:
    with pytest.raises(SettingsError, match="shard is 'auto'"):
        holdfast.dataset(X, Y, seed=1, shard=shard)
