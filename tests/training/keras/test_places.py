"""Whatever a model is made of: each variable's value comes back from a pair to the place where it was.

Each test runs with small values, which HDF5 writes, and with large ones, which are let go of once they are written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from holdfast.spool import Spool
from holdfast.training.keras import snapshot, variables
from holdfast.training.keras.watched import Watched
from holdfast.training.pair import pair_files
from holdfast.training.pair.pair_files import Draft, Place, Position
from holdfast.training.session.base import Session

layers = keras.layers

SMALL, LARGE = 6, 300
WHOLE, WEIGHTS = "model", "weights"


@pytest.fixture(autouse=True)
def names_begin_anew() -> Iterator[None]:
    keras.utils.clear_session(free_memory=False)
    yield
    keras.utils.clear_session(free_memory=False)


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(Spool(tmp_path / "00001-x"), 1, 1, None, durable=False)


@pytest.fixture(params=[SMALL, LARGE], ids=["small", "large"])
def width(request: pytest.FixtureRequest) -> int:
    return int(request.param)


class Twins(layers.Layer):
    """A layer of two layers with one name."""

    def __init__(self, width: int, first: bool, second: bool) -> None:
        super().__init__(name="twins")
        self.first = layers.Dense(width, name="d", trainable=first)
        self.second = layers.Dense(width, name="d", trainable=second)

    def build(self, shape: Any) -> None:
        self.first.build(shape)
        self.second.build(self.first.compute_output_shape(shape))

    def call(self, x: Any) -> Any:
        return self.second(self.first(x))

    def get_config(self) -> dict[str, Any]:
        return {}


def zeros(shape: Any, dtype: Any) -> Any:
    return keras.ops.cast(keras.ops.zeros(shape), dtype)


class Odd(layers.Layer):
    """Variables of many types and shapes, in one layer."""

    TYPES = ("bool", "int64", "uint8", "float16", "float64", "bfloat16", "float8_e5m2", "float8_e4m3fn")

    def __init__(self, width: int, **given: Any) -> None:
        super().__init__(**given)
        self.width = width

    def build(self, shape: Any) -> None:
        for dtype in self.TYPES:
            for name, size in (("matrix", (self.width, self.width)), ("scalar", ()), ("empty", (0, self.width))):
                self.add_weight(size, zeros, dtype, trainable=False, name=f"{dtype}_{name}")

    def call(self, x: Any) -> Any:
        return x


class Around(layers.Layer):
    """Another layer, and a variable of its own."""

    def __init__(self, inner: Any, **given: Any) -> None:
        super().__init__(**given)
        self.inner = inner

    def build(self, shape: Any) -> None:
        self.scale = self.add_weight(shape=shape[1:], name="scale")

    def call(self, x: Any) -> Any:
        return self.inner(x) * self.scale


class Chain(keras.Model):
    """Layers that a subclassed model keeps, one behind the other."""

    def __init__(self, *parts: Any) -> None:
        super().__init__()
        self.parts = list(parts)

    def call(self, x: Any) -> Any:
        for part in self.parts:
            x = part(x)
        return x


def subclassed(width: int, *parts: Any) -> keras.Model:
    model = Chain(*parts)
    model(np.zeros((1, width), "float32"))
    return model


def functional(width: int, *parts: Any) -> keras.Model:
    return keras.Sequential([keras.Input((width,)), *parts])


def plain(width: int) -> keras.Model:
    return functional(width, layers.Dense(width), layers.BatchNormalization(), layers.Dropout(0.5))


def shared(width: int) -> keras.Model:
    one, inputs = layers.Dense(width, name="a_shared"), keras.Input((width,))
    inner = functional(width, layers.Dense(width, use_bias=False))
    return keras.Model(inputs, layers.Add()([one(inner(inputs)), one(one(inputs))]))


def nested_of_one_name(width: int) -> keras.Model:
    first, second = (keras.Sequential([keras.Input((width,)), layers.Dense(width, name="d")], name=n) for n in "ef")
    first.trainable = False
    return functional(width, first, second)


def twins_in_a_functional_model(width: int) -> keras.Model:
    return functional(width, Twins(width, False, True))


def twins(first: bool, second: bool) -> Callable[[int], keras.Model]:
    return lambda width: subclassed(width, Twins(width, first, second))


def layers_of_one_name(first: bool, second: bool) -> Callable[[int], keras.Model]:
    def build(width: int) -> keras.Model:
        parts = [layers.Dense(width, name="d", trainable=trainable) for trainable in (first, second)]
        return subclassed(width, *parts, layers.Dense(width, name="top_level_model_weights"))

    return build


def tied_layers_of_one_name(width: int) -> keras.Model:
    one = layers.Dense(width, name="d")
    return subclassed(width, one, Around(one, name="d"))


def of_halves(shape: Callable[..., keras.Model]) -> Callable[[int], keras.Model]:
    return lambda width: shape(width, layers.Dense(width, dtype="bfloat16"), layers.Dense(width, dtype="mixed_float16"))


def odd(shape: Callable[..., keras.Model]) -> Callable[[int], keras.Model]:
    return lambda width: shape(width, Odd(width), layers.Dense(width))


MODELS: dict[str, tuple[Callable[[int], keras.Model], set[str]]] = {
    "plain": (plain, {WHOLE}),
    "shared layers": (shared, {WHOLE}),
    "nested models' layers of one name": (nested_of_one_name, {WHOLE}),
    "twins in a functional model": (twins_in_a_functional_model, {WEIGHTS}),
    "twins": (twins(True, True), {WEIGHTS}),
    "twins, the first frozen": (twins(False, True), {WEIGHTS}),
    "twins, the second frozen": (twins(True, False), {WEIGHTS}),
    "layers of one name": (layers_of_one_name(True, True), {WEIGHTS}),
    "layers of one name, the first frozen": (layers_of_one_name(False, True), {WEIGHTS}),
    "tied layers of one name": (tied_layers_of_one_name, {WEIGHTS}),
    "bfloat16": (of_halves(functional), {WHOLE}),
    "bfloat16, subclassed": (of_halves(subclassed), {WEIGHTS}),
    "many types": (odd(functional), {WHOLE, WEIGHTS}),  # what HDF5 has a type for depends on its version
    "many types, subclassed": (odd(subclassed), {WEIGHTS}),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_value_comes_back_to_its_place(session: Session, name: str, width: int) -> None:
    build, kinds = MODELS[name]
    draft, expected = draft_of(build(width))
    manifest = pair_files.write(session, draft)
    assert manifest.kind in kinds
    saved = pair_files.load_from(session.spool, manifest.name)
    assert differences(saved.values, expected) == []


def test_a_layer_that_is_frozen_while_its_snapshot_is_written_keeps_its_values(session: Session, width: int) -> None:
    model = twins(True, True)(width)
    draft, expected = draft_of(model)
    model.parts[0].first.trainable = False
    saved = pair_files.load_from(session.spool, pair_files.write(session, draft).name)
    assert differences(saved.values, expected) == []


def test_keras_reads_the_weights_file_or_refuses_it_and_takes_no_variable_for_another(session: Session) -> None:
    def reread(build: Callable[[int], keras.Model]) -> Any:
        draft, expected = draft_of(build(SMALL))
        other = build(SMALL)
        other.load_weights(session.spool.file(pair_files.write(session, draft).name.file("h5")))
        return [np.array_equal(v, expected[Place("model", i)]) for i, v in enumerate(other.weights)]

    assert reread(lambda width: subclassed(width, layers.Dense(width), layers.Dense(width))) == [True] * 4
    assert reread(of_halves(subclassed)) == [True] * 4
    for build in (twins(False, True), layers_of_one_name(True, True)):
        with pytest.raises(ValueError, match="count mismatch"):
            reread(build)


def draft_of(model: keras.Model) -> tuple[Draft, dict[Place, np.ndarray]]:
    """A snapshot in which no two variables have the same value, and these values."""
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    variables.build_optimizers(model)
    parts = variables.collect(model)
    random = np.random.default_rng(7)
    for part in parts.values():
        part.variable.assign(random.integers(0, 2 if part.dtype == "bool" else 100, part.shape).astype("float32"))
    expected = {place: np.array(part.read().numpy()) for place, part in parts.items()}
    return snapshot.take(Watched(model), Position(0, 1, 1), "test", {}, {}, print), expected


def differences(values: Any, expected: dict[Place, np.ndarray]) -> list[Any]:
    """The places whose value is not, bit for bit, what is expected there."""
    found = {place: (str(value.dtype), value.shape, value.tobytes()) for place, (_, value) in values.items()}
    wanted = {place: (str(value.dtype), value.shape, value.tobytes()) for place, value in expected.items()}
    return [place for place in found.keys() | wanted.keys() if found.get(place) != wanted.get(place)]
