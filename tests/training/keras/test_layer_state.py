"""What layers hold beside variables is the checkpoint's after a resume, whatever the second start adapted on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import holdfast
from holdfast.core import restricted_pickle
from holdfast.core.errors import InvalidPair, Mismatch
from holdfast.training.keras import layer_state
from holdfast.training.keras.layer_state import LayerStates
from holdfast.training.keras.watched import Watched
from holdfast.training.session.open import close_session

from ..restarts import StopAt

layers = keras.layers


def adapted(layer: Any, data: Any) -> Any:
    layer.adapt(np.array(data))
    return layer


LEARNERS = {
    "words": (lambda: layers.StringLookup(), ["a", "b", "b"], ["c", "c", "d"], ["b", "d"]),
    "numbers": (lambda: layers.IntegerLookup(max_tokens=3), [5, 5, 7], [9, 9, 8], [5, 9]),
    "texts": (lambda: layers.TextVectorization(), ["one two", "two"], ["three", "four five"], ["two three"]),
    "weighted": (lambda: layers.TextVectorization(output_mode="tf_idf"), ["a b", "a"], ["a c", "c"], ["a b c"]),
    "bins": (lambda: layers.Discretization(num_bins=3), [1.0, 2.0, 9.0, 4.0], [5.0, 5.5, 6.0, 7.0], [2.0, 5.0, 8.0]),
}


@pytest.mark.parametrize("kind", LEARNERS)
def test_a_layer_that_adapts_has_what_it_had_learned(kind: str) -> None:
    make, first, second, question = LEARNERS[kind]
    before, after = adapted(make(), first), adapted(make(), second)
    answer = np.asarray(before(np.array(question)))
    found = Watched(keras.Sequential([before])).found
    state = restricted_pickle.loads(restricted_pickle.dumps(LayerStates().read(found.layers)))
    weights = dict(found.variables)
    model, said = keras.Sequential([after]), []
    assert layer_state.restore(Watched(model).found.layers, state, said.append)
    there = Watched(model).found
    for path, variable in there.variables.items():  # the weights of words are variables, beside the words
        if "idf" in path:
            variable.assign(weights[path])
    layer_state.refresh(there.layers.values())
    assert np.asarray(after(np.array(question))).tolist() == answer.tolist()
    assert len(said) == 1
    assert "not what this start's adapt found" in said[0]
    assert not layer_state.restore(there.layers, state, pytest.fail), "it is the same already"


def test_layers_without_such_a_state_have_none() -> None:
    model = keras.Sequential([keras.Input((2,)), layers.Dense(1), layers.Discretization([0.5, 1.0])])
    assert LayerStates().read(Watched(model).found.layers) == {}


def test_a_layer_that_the_script_no_longer_has_is_named() -> None:
    said: list[str] = []
    layer_state.restore({}, {"model.words": {"words": ["a"]}}, said.append)
    assert len(said) == 1
    assert "model.words" in said[0]


@pytest.mark.parametrize("state", [{}, {"words": 3}, {"words": [None]}, {"words": ["a", "a"]}, 4, {"bins": ["x"]}])
def test_a_malformed_state_is_an_invalid_pair(state: Any) -> None:
    layer = layers.StringLookup(vocabulary=["a"])
    with pytest.raises(InvalidPair):
        layer_state.restore({"x": layer}, {"x": state}, lambda text: None)


def test_a_layer_that_cannot_have_it_any_more_is_a_mismatch() -> None:
    layer = layers.StringLookup(output_mode="multi_hot", vocabulary=["a"])
    layer(np.array(["a"]))
    with pytest.raises(Mismatch, match="the layer x cannot have"):
        layer_state.restore({"x": layer}, {"x": {"words": ["a", "b"]}}, lambda text: None)


X = np.random.default_rng(0).normal(3, 2, (64, 4)).astype("float32")


class Bag(keras.Model):
    """It is built by its first batch, so a resume traces it before its values are there."""

    def __init__(self, normalization: Any) -> None:
        super().__init__()
        self.normalization, self.out = normalization, layers.Dense(1)

    def call(self, x: Any) -> Any:
        return self.out(self.normalization(x))


@pytest.mark.parametrize("built_by", ["its input", "its first batch"])
def test_statistics_that_a_layer_computes_with_are_the_checkpoints(tmp_path: Path, built_by: str) -> None:
    def start(sample: Any, *callbacks: Any) -> tuple[Any, Any]:
        close_session()
        keras.utils.clear_session(free_memory=False)
        keras.utils.set_random_seed(1)
        normalization = layers.Normalization()
        normalization.adapt(sample)
        if built_by == "its input":
            model = keras.Sequential([keras.Input((4,)), normalization, layers.Dense(1)])
        else:
            model = Bag(normalization)
        model.compile(keras.optimizers.Adam(0.01), "mse")
        data = holdfast.dataset(X, X.sum(axis=1, keepdims=True), batch_size=16, seed=2)
        own = [*callbacks, holdfast.Resume(tmp_path)] if callbacks else []
        model.fit(data, epochs=3, shuffle=False, verbose=0, callbacks=own)
        return model, np.asarray(normalization.mean).ravel()

    undisturbed, used = start(X[:16])
    with pytest.raises(SystemExit):
        start(X[:16], StopAt((1, 1)))
    resumed, used_again = start(X[16:32], StopAt(None))
    close_session()
    assert used_again.tolist() == used.tolist()
    pairs = zip(undisturbed.get_weights(), resumed.get_weights(), strict=True)
    assert all(np.array_equal(one, other) for one, other in pairs)
