"""Every kind of layer that Keras has: the ``.h5`` of a model with it opens as the manifest says it does."""

from __future__ import annotations

import inspect
import itertools
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from holdfast.training.keras import model_file
from holdfast.training.keras.variables import collect

L = keras.layers
WHOLE = pytest.mark.whole

ROWS, PICTURES, VOLUMES, FILMS = (6, 4), (8, 8, 3), (5, 5, 5, 2), (3, 8, 8, 2)
SHAPES = [ROWS, (4,), PICTURES, VOLUMES, FILMS, (3, 5, 5, 5, 2), (5000,), (1024, 1), (3, 8, 8)]
ARGUMENTS: list[dict[str, Any]] = [
    {},
    *({"units": 2}, {"filters": 2, "kernel_size": 2}, {"kernel_size": 2}, {"output_size": 2}, {"pool_size": 2}),
    *({"rate": 0.1}, {"stddev": 0.1}, {"factor": 0.1}, {"x_factor": 0.1}, {"height_factor": 0.1, "width_factor": 0.1}),
    *({"height_factor": 0.1}, {"height": 4, "width": 4}, {"num_tokens": 9}, {"num_bins": 4}, {"n": 2}, {"scale": 0.5}),
    *({"dims": (2, 1)}, {"target_shape": (-1,)}, {"input_dim": 9, "output_dim": 2}, {"activation": "relu"}),
    *({"equation": "abc,cd->abd", "output_shape": (None, 4)}, {"num_heads": 2, "key_dim": 2}, {"axes": 1}),
    *({"head_dim": 2, "num_query_heads": 2, "num_key_value_heads": 1}, {"factor": 4}, {"groups": 1}),
]
SPECIAL: dict[str, Any] = {
    "Bidirectional": lambda: L.Bidirectional(L.LSTM(2)),
    "Discretization": lambda: L.Discretization([0.3, 0.6]),
    "GroupNormalization": lambda: L.GroupNormalization(1),
    "IntegerLookup": lambda: L.IntegerLookup(vocabulary=[1, 2, 3]),
    "Lambda": lambda: L.Lambda(lambda x: x * 2),
    "Pipeline": lambda: L.Pipeline([L.RandomFlip(seed=1)]),
    "RNN": lambda: L.RNN(L.LSTMCell(2)),
    "STFTSpectrogram": lambda: L.STFTSpectrogram(frame_length=64, frame_step=32, window=None),
    "SpectralNormalization": lambda: L.SpectralNormalization(L.Dense(2)),
    "StringLookup": lambda: L.StringLookup(vocabulary=["a", "b"]),
    "TextVectorization": lambda: L.TextVectorization(vocabulary=["a", "b"]),
    "TimeDistributed": lambda: L.TimeDistributed(L.Dense(2)),
}
# No layer by itself, or one of another framework's, or one that wants what these tests have not: a saved model, boxes,
# data instead of a functional model's inputs (Equalization).
NOT_ALONE = {
    *("InputLayer", "Layer", "Wrapper", "GRUCell", "LSTMCell", "SimpleRNNCell", "StackedRNNCells"),
    *("FlaxLayer", "JaxLayer", "TorchModuleWrapper", "TFSMLayer", "MaxNumBoundingBoxes", "RandomApply", "Equalization"),
}
KINDS = [name for name, one in vars(L).items() if inspect.isclass(one) and issubclass(one, L.Layer)]


def built(name: str) -> tuple[keras.Model, Any]:
    """A model with that layer alone, and something to feed it with."""
    random = np.random.default_rng(0)
    texts, numbers = keras.Input((1,), dtype="string"), keras.Input((1,), dtype="int64")
    inputs: list[Any] = [[keras.Input(shape)] for shape in SHAPES]
    inputs += [[keras.Input(ROWS), keras.Input(ROWS)], [keras.Input(ROWS)] * 3]
    inputs = {"StringLookup": [[texts]], "TextVectorization": [[texts]], "IntegerLookup": [[numbers]]}.get(name, inputs)
    inputs = {"HashedCrossing": [[numbers, keras.Input((1,), dtype="int64")]]}.get(name, inputs)
    make = [SPECIAL[name]] if name in SPECIAL else [lambda a=a: getattr(L, name)(**a) for a in ARGUMENTS]
    for one, given in itertools.product(make, inputs):
        for separate in (False, True):
            if (found := _called(one, given, separate, random)) is not None:
                return found
    raise AssertionError(f"no arguments and no input are known for {name}: add them here")


def _called(make: Any, given: Any, separate: bool, random: Any) -> tuple[keras.Model, Any] | None:
    """None if the layer does not take these arguments, or not an input of this shape."""
    try:
        layer = make()
        model = keras.Model(given, layer(*given) if separate else layer(given if len(given) > 1 else given[0]))
        x = [_example(one, random) for one in given]
        model(x, training=False)
    except Exception:
        return None
    return model, x


def _example(given: Any, random: Any) -> Any:
    if given.dtype == "string":
        return tf.constant([["a"], ["b"]])
    if given.dtype.startswith("int"):
        return tf.constant([[1], [2]], given.dtype)
    return random.random((2, *given.shape[1:])).astype("float32")


def written(path: Path, model: keras.Model, say: Any = lambda text: None) -> str:
    parts = collect(model)
    values = {place: part.read() for place, part in parts.items()}
    return model_file.write(path, model, {place: parts[place].variable for place in parts}, values, say).kind


def opened(path: Path, kind: str, model: keras.Model) -> keras.Model:
    """As the README says. A weights file goes into a model whose weights are others."""
    if kind == "model":
        return keras.models.load_model(path, compile=False, safe_mode=False)
    kept = model.get_weights()
    model.set_weights([np.zeros_like(weight) for weight in kept])
    model.load_weights(path)
    return model


def arrays_of(outputs: Any) -> list[Any]:
    return [np.asarray(one).tolist() for one in tf.nest.flatten(outputs)]


@WHOLE
@pytest.mark.parametrize("name", sorted(set(KINDS) - NOT_ALONE))
def test_the_file_of_every_kind_of_layer_opens(tmp_path: Path, name: str) -> None:
    model, x = built(name)
    before = [np.asarray(weight).tolist() for weight in model.get_weights()]
    answer = arrays_of(model(x, training=False))
    again = opened(tmp_path / "x.h5", written(tmp_path / "x.h5", model), model)
    assert [np.asarray(weight).tolist() for weight in again.get_weights()] == before
    assert arrays_of(again(x, training=False)) == answer


def functional(*inside: Any, x: Any) -> tuple[keras.Model, Any]:
    given = keras.Input(x.shape[1:], dtype="string" if x.dtype.kind == "U" else x.dtype.name)
    out = given
    for layer in inside:
        out = layer(out)
    return keras.Model(given, out), tf.constant(x)


def adapted(layer: Any, data: Any) -> Any:
    layer.adapt(np.array(data))
    return layer


NUMBERS, WORDS = np.random.default_rng(1).random((4, 3)).astype("float32"), np.array([["a"], ["c"], ["b"], ["d"]])
TEXTS = np.array([["a b"], ["c"], ["b b"], ["d"]])
HARD = {
    "bfloat16": lambda: functional(L.Dense(3, dtype="bfloat16"), L.Dense(2), x=NUMBERS),
    "words": lambda: functional(adapted(L.StringLookup(), ["a", "b", "b"]), L.Embedding(4, 2), x=WORDS),
    "numbers": lambda: functional(adapted(L.IntegerLookup(), [3, 5, 5]), x=np.array([[3], [5], [7], [5]])),
    "texts": lambda: functional(adapted(L.TextVectorization(), ["a b", "b"]), L.Embedding(4, 2), x=TEXTS),
    "weighted": lambda: functional(adapted(L.TextVectorization(output_mode="tf_idf"), ["a b", "b", "c"]), x=TEXTS),
    "bins": lambda: functional(adapted(L.Discretization(num_bins=3), NUMBERS.ravel()), x=NUMBERS),
    "statistics": lambda: functional(adapted(L.Normalization(), NUMBERS), L.Dense(1), x=NUMBERS),
    "nested": lambda: functional(keras.Sequential([adapted(L.StringLookup(), ["x", "b"])]), L.Embedding(3, 2), x=WORDS),
}


@pytest.mark.parametrize("kind", HARD)
def test_what_keras_own_file_would_lose_is_in_the_file(tmp_path: Path, kind: str) -> None:
    model, x = HARD[kind]()
    answer = arrays_of(model(x))
    said: list[str] = []
    assert written(tmp_path / "x.h5", model, said.append) == "model"
    assert arrays_of(opened(tmp_path / "x.h5", "model", model)(x)) == answer
    assert said == []


@pytest.mark.parametrize("name", ["Attention", "RandomShear"])
def test_what_keras_would_not_read_back_is_a_weights_file(tmp_path: Path, name: str) -> None:
    said: list[str] = []
    assert written(tmp_path / "x.h5", built(name)[0], said.append) == "weights"
    assert len(said) == 1
    assert name in said[0]


def test_a_weights_file_with_bfloat16_opens(tmp_path: Path) -> None:
    class Own(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.out = L.Dense(2, dtype="bfloat16")

        def call(self, x: Any) -> Any:
            return self.out(x)

    model = Own()
    answer = arrays_of(model(NUMBERS))
    kind = written(tmp_path / "x.h5", model)
    assert kind == "weights"
    assert arrays_of(opened(tmp_path / "x.h5", kind, model)(NUMBERS)) == answer
