"""What a dataset object changes in itself is kept as plain values, whatever it is made of."""

from __future__ import annotations

import functools
import itertools
import random
import sqlite3
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from holdfast.core.errors import InvalidPair
from holdfast.training.data.python.object_state import ObjectState
from holdfast.training.data.python.slots import MOST_SLOTS, Slots
from holdfast.training.pair.plain import pack
from holdfast.training.session import random_state


class Helper:
    def __init__(self) -> None:
        self.chance = random.Random(3)
        self.seen = {"batches": 0}


class Data:
    def __init__(self, folder: str = "/a") -> None:
        self.index = np.arange(6)
        self.files = [f"{folder}/{n}.png" for n in range(6)]
        self.pairs = [(f"{n}", n) for n in range(6)]
        self.names = np.asarray(["c", "a", "b"])
        self.images = [np.zeros(2) + n for n in range(4)]
        self.weights = np.ones((2, 2))
        self.count = 0
        self.losses = [0.5, 0.5]
        self.mine = np.random.default_rng(1)
        self.helper = Helper()

    def change(self) -> None:
        self.index = np.random.default_rng(5).permutation(self.index)
        random.Random(5).shuffle(self.files)
        random.Random(6).shuffle(self.pairs)
        self.names[:] = ["b", "c", "a"]
        self.images.reverse()
        self.weights *= 0.5
        self.count += 3
        self.losses.append(0.1)
        self.mine.random()
        self.helper.chance.random()
        self.helper.seen["batches"] = 4


def shown(data: Data) -> list[Any]:
    return [
        data.index.tolist(),
        [file[-5:] for file in data.files],
        data.pairs,
        data.names.tolist(),
        [float(image[0]) for image in data.images],
        data.weights.tolist(),
        data.count,
        data.losses,
        data.mine.bit_generator.state,
        data.helper.chance.getstate(),
        data.helper.seen,
    ]


def test_everything_that_changed_is_put_back_in_a_new_object(said: list[str]) -> None:
    first = Data()
    state = ObjectState(first, said.append)
    first.change()
    saved = state.read()
    second = Data("/b")
    ObjectState(second, said.append).put(saved)
    assert shown(second) == shown(first)
    assert second.files[0].startswith("/b/")
    assert said == []


def test_an_order_is_kept_though_it_is_unchanged_and_another_start_makes_another_one(said: list[str]) -> None:
    first, second = Data(), Data()
    random.Random(1).shuffle(first.files)
    ObjectState(second, said.append).put(ObjectState(first, said.append).read())
    assert second.files == first.files


def test_what_is_unchanged_costs_next_to_nothing(said: list[str]) -> None:
    data = Data()
    data.x = np.zeros((1000, 1000))  # type: ignore[attr-defined]
    data.y = np.arange(100_000)  # type: ignore[attr-defined]
    assert len(repr(ObjectState(data, said.append).read())) < 40_000


def test_what_cannot_be_kept_is_named_with_its_remedy(said: list[str]) -> None:
    data = Data()
    state = ObjectState(data, said.append)
    data.files = ["/a/other.png"]
    state.read()
    assert said == [
        "Data.files changes during the training, and is not kept: shuffle an array of indices instead, or give the "
        "dataset get_state() and set_state(state)"
    ]


def test_an_order_of_other_items_is_named(said: list[str]) -> None:
    first, second = Data(), Data()
    second.files[0] = "/a/new.png"
    ObjectState(second, said.append).put(ObjectState(first, said.append).read())
    assert said == ["Data.files has other items than when the checkpoint was made: its order is not restored"]


@pytest.mark.parametrize(
    "saved",
    [
        {"Data.index": {"~order": [9, 9, 9, 9, 9, 9], "of": 0}},
        {"Data.count": "a text"},
        {"Data.mine": {"~random": 3}},
        {"Data.mine": 3},
        {"Data.weights": {"~array": ["object", [1], b""]}},
    ],
)
def test_malformed_values_are_refused(saved: dict[str, Any], said: list[str]) -> None:
    data = Data()
    if "Data.index" in saved:
        saved["Data.index"]["of"] = ObjectState(data, said.append).read()["Data.index"]["of"]
    with pytest.raises(InvalidPair, match="malformed"):
        ObjectState(data, said.append).put(saved)


@pytest.mark.parametrize("kind", [np.random.MT19937, np.random.Philox])
def test_a_generators_place_outside_of_its_buffer_is_refused_and_nothing_is_set(
    kind: Any, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    data = Data()
    data.mine = np.random.Generator(kind(1))
    data.mine.random()
    state = ObjectState(data, said.append)
    saved, before = state.small(), str(data.mine.bit_generator.state)
    monkeypatch.setattr(random_state, "PLACES", range(1))
    monkeypatch.setattr(random_state, "PHILOX_PLACES", range(1))
    for take in (state.check, state.put):
        with pytest.raises(InvalidPair, match="a place outside of the generator's buffer"):
            take(saved)
    assert str(data.mine.bit_generator.state) == before


@pytest.fixture
def said() -> list[str]:
    return []


class Flip:
    def __init__(self, seed: int) -> None:
        self.mine = np.random.default_rng(seed)


class Wide:
    """More values than are looked at, and then what matters."""

    def __init__(self) -> None:
        self.labels = {f"{n}": n for n in range(2000)}
        self.parts = {f"{n}": [n] for n in range(2000)}
        self.flips = [Flip(1), Flip(2)]
        self.chances = (random.Random(4), random.Random(5))
        self.mine = np.random.default_rng(1)

    def draw(self) -> list[Any]:
        return [self.mine.random(), *(f.mine.random() for f in self.flips), *(c.random() for c in self.chances)]


def test_generators_are_kept_however_much_else_there_is_and_the_limit_is_named(said: list[str]) -> None:
    first = Wide()
    state = ObjectState(first, said.append)
    first.draw()
    saved, expected = state.small(), first.draw()
    assert len(saved) == len(expected)
    second = Wide()
    ObjectState(second, said.append).put(saved)
    assert second.draw() == expected
    assert said == [], "nothing but generators has changed"
    first.parts["3"].append(1)
    state.read(), state.read()
    assert len(said) == 1
    assert said[0].startswith("Wide holds more than 1000 values, and is not looked at as a whole")


class Kinds:
    def __init__(self) -> None:
        self.cached: Any = None
        self.best: Any = 0.5
        self.shape: Any = (1, 2)
        self.seen = {1}
        self.last: deque[float] = deque([1.0], maxlen=2)
        self.weights = {f"{n}": 0.5 for n in range(100)}

    def change(self) -> None:
        self.cached = np.ones(2)
        self.best, self.shape = None, (3, 4)
        self.seen.add(2)
        self.last.extend([2.0, 3.0])
        self.weights["7"] = 0.25

    def shown(self) -> list[Any]:
        cached = None if self.cached is None else self.cached.tolist()
        return [cached, self.best, self.shape, self.seen, self.last, self.weights]


def test_other_kinds_of_values_are_kept_once_they_changed(said: list[str]) -> None:
    first = Kinds()
    state = ObjectState(first, said.append)
    assert state.read() == {}
    first.change()
    second = Kinds()
    last = second.last
    ObjectState(second, said.append).put(state.read())
    assert second.shown() == first.shown()
    assert second.last is last
    assert said == []


@pytest.mark.parametrize(
    ("name", "plain"),
    [("cached", "a"), ("best", "a"), ("shape", ("a",)), ("seen", {"~set": ["a"]}), ("weights", {"a": 1.0})],
)
def test_no_text_is_taken_from_a_file(name: str, plain: Any, said: list[str]) -> None:
    with pytest.raises(InvalidPair, match="malformed"):
        ObjectState(Kinds(), said.append).put({f"Kinds.{name}": plain})


def test_a_text_that_changes_is_named(said: list[str]) -> None:
    data = Kinds()
    state = ObjectState(data, said.append)
    data.best, data.weights["a"] = "good", 1.0
    assert state.read() == {}
    assert [line.split(" ")[0] for line in said] == ["Kinds.best", "Kinds.weights"]


def test_a_large_dict_of_numbers_is_looked_at_per_epoch_not_per_draw(said: list[str]) -> None:
    data = Kinds()
    state = ObjectState(data, said.append)
    data.change()
    assert "Kinds.weights" not in state.small()
    assert "Kinds.weights" in state.read()


def test_an_attribute_that_is_added_and_a_generator_that_comes_later_are_named(said: list[str]) -> None:
    data = Kinds()
    state = ObjectState(data, said.append)
    data.cached = np.random.default_rng(1)
    data.mine = np.random.default_rng(2)  # type: ignore[attr-defined]
    assert state.read() == {}
    assert [line.split(",")[0] for line in said] == [
        "Kinds.cached changes during the training",
        "Kinds.mine is added during the training",
    ]


class Opens:
    """As a dataset of files: opened as the first item is asked for. Its records are texts, and do not change."""

    def __init__(self) -> None:
        self.file: Any = None
        self.records = {n: {"name": f"{n}.png", "boxes": {"label": "cat"}} for n in range(1200)}
        self.count = 0

    def __getitem__(self, n: int) -> str:
        self.file = self.file or sqlite3.connect(":memory:")
        self.index = self.file.cursor()
        return self.records[n]["name"]  # type: ignore[return-value]


def test_a_file_that_is_opened_is_no_change_and_without_one_no_limit_is_named(said: list[str]) -> None:
    data = Opens()
    state = ObjectState(data, said.append)
    data[3]
    assert (state.read(), said) == ({}, [])
    data.count = 1
    assert state.read() == {"Opens.count": 1}
    assert [line.split(" and")[0] for line in said] == ["Opens holds more than 1000 values,"]


def test_so_many_objects_are_looked_at_for_what_is_added_to_them_and_no_more() -> None:
    found = Slots(Opens())
    assert (len(found.holders), found.cut) == (MOST_SLOTS, True)


def test_an_item_that_is_removed_costs_nothing(said: list[str]) -> None:
    data = Data()
    data.helper.parts = {"a": [1, 2], "b": Helper()}  # type: ignore[attr-defined]
    data.helper.chances = [random.Random(1)]  # type: ignore[attr-defined]
    state = ObjectState(data, said.append)
    data.helper.parts.clear()  # type: ignore[attr-defined]
    data.helper.chances.clear()  # type: ignore[attr-defined]
    ObjectState(Data(), said.append).put({k: v for k, v in state.read().items() if "parts" not in k})


outside = np.random.default_rng(1)
order = np.arange(6)
passes = 0


def noise() -> float:
    """A helper of the module's."""
    return float(outside.random())


class Others:
    chance = random.Random(2)


class Outside:
    """Draws, shuffles and counts in everything that is not an attribute of its own."""

    of_class = np.random.default_rng(3)

    def __init__(self) -> None:
        inside = np.random.default_rng(4)
        self.augment = functools.partial(add, np.random.default_rng(5))
        self.draw = np.random.default_rng(6).random
        self.closed_over = lambda: inside.random()
        self.method = random.Random(7).gauss

    def change(self) -> list[float]:
        global passes
        passes += 1
        np.random.default_rng(passes).shuffle(order)
        drawn = [noise(), Others.chance.random(), self.of_class.random(), self.augment(1.0), self.draw()]
        return [*drawn, self.closed_over(), self.method(0.0, 1.0), passes, *order.tolist()]


def add(chance: np.random.Generator, value: float) -> float:
    return float(value + chance.random())


@pytest.fixture
def as_at_a_start() -> Callable[[], None]:
    def begin() -> None:
        global outside, order, passes
        outside, order, passes = np.random.default_rng(1), np.arange(6), 0
        Others.chance, Outside.of_class = random.Random(2), np.random.default_rng(3)

    return begin


def test_what_its_functions_and_classes_refer_to_is_kept(said: list[str], as_at_a_start: Callable[[], None]) -> None:
    as_at_a_start()
    first = Outside()
    state = ObjectState(first, said.append)
    first.change()
    saved, expected = state.read(), first.change()
    as_at_a_start()
    second = Outside()
    ObjectState(second, said.append).put(saved)
    assert second.change() == expected
    assert said == []


def test_the_global_generators_are_nobodys_own(said: list[str]) -> None:
    data = Outside()
    data.draw, data.method = np.random.random, random.gauss
    assert [path for path in ObjectState(data, said.append).read() if "draw" in path or "method" in path] == []


class OfKeras:
    """Draws with layers and generators of Keras' and TensorFlow's."""

    def __init__(self, trained: keras.Model) -> None:
        self.trained = trained
        self.layers = [keras.layers.RandomFlip(seed=1), keras.Sequential([keras.layers.GaussianNoise(1.0, seed=2)])]
        self.seeds = keras.random.SeedGenerator(3)
        self.generator = tf.random.Generator.from_seed(4)

    def draw(self) -> Any:
        self.trained(np.zeros((1, 4)), training=True)
        drawn = [np.asarray(layer(np.ones((1, 4, 4, 1)), training=True)).tolist() for layer in self.layers]
        return [drawn, float(keras.random.normal((), seed=self.seeds)), float(self.generator.normal(()))]


def test_what_layers_and_generators_of_keras_draw_is_kept_but_for_the_trained_models(said: list[str]) -> None:
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dropout(0.5), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    first, second = OfKeras(model), OfKeras(model)
    state, other = ObjectState(first, said.append), ObjectState(second, said.append)
    first.draw()
    saved, expected = state.small(), first.draw()
    assert not any("trained" in path for path in saved)
    other.check(saved)
    other.put(saved)
    assert second.draw() == expected
    saved["OfKeras.seeds"] = {"~random": pack(np.zeros(3))}
    with pytest.raises(InvalidPair, match="seeds is malformed"):
        other.check(saved)
    assert said == []


class Compact:
    __slots__ = ("chance", "count")

    def __init__(self) -> None:
        self.chance, self.count = random.Random(2), 0


class WithCompact:
    def __init__(self) -> None:
        self.part = Compact()


def test_what_is_kept_in_slots_is_kept(said: list[str]) -> None:
    first, second = WithCompact(), WithCompact()
    state = ObjectState(first, said.append)
    first.part.count = 3
    first.part.chance.random()
    ObjectState(second, said.append).put(state.read())
    assert (second.part.count, second.part.chance.getstate()) == (3, first.part.chance.getstate())
    assert said == []


class Counting:
    """An iterator, of which everything is seen."""

    def __init__(self) -> None:
        self.count = 0

    def __iter__(self) -> Counting:
        return self

    def __next__(self) -> int:
        self.count += 1
        return self.count


def test_an_iterator_is_named_and_a_file_is_none(said: list[str], tmp_path: Path) -> None:
    data = Kinds()
    data.cached = itertools.cycle([1, 2])
    data.best = {"stream": (n for n in range(3))}
    data.shape, data.last = Counting(), [iter([1])]  # type: ignore[assignment]
    with (tmp_path / "a").open("w") as data.seen:  # type: ignore[assignment]
        ObjectState(data, said.append)
    assert [line.partition(": where it stands is not kept")[0] for line in said] == [
        "Kinds.cached is an iterator",
        "Kinds.best['stream'] is an iterator",
        "Kinds.last[0] is an iterator",
    ]


class Nested:
    def __init__(self, levels: int) -> None:
        self.chance = random.Random(levels)
        self.inside = Nested(levels - 1) if levels else None


def test_what_lies_deeper_than_is_looked_at_is_named_and_its_generators_are_kept(said: list[str]) -> None:
    first, second = Nested(9), Nested(9)
    state = ObjectState(first, said.append)
    for one in state.generators:
        one.random()
    ObjectState(second, said.append).put(state.read())
    assert [one.random() for one in state.generators] == [one.random() for one in ObjectState(second, print).generators]
    assert len(state.generators) == 10
    assert said == [], "nothing but generators has changed"
    first.count = 1  # type: ignore[attr-defined]
    state.read()
    assert said[1].startswith("Nested.inside.inside.inside.inside.inside lies deeper in Nested than is looked at")


def test_a_number_that_was_replaced_is_seen_though_it_lies_where_the_first_one_did(said: list[str]) -> None:
    data = Data()
    data.losses = [float("1.5")]
    before = id(data.losses[0])
    state = ObjectState(data, said.append)
    data.losses[0] = float("2.5")
    data.losses[0] = float("3.5")
    assert state.read().get("Data.losses") == [3.5], before == id(data.losses[0])


def test_a_text_that_was_replaced_is_named_though_it_lies_where_the_first_one_did(said: list[str]) -> None:
    data = Kinds()
    data.best = "".join(["a", "b"])
    state = ObjectState(data, said.append)
    data.best = "".join(["c", "d"])
    data.best = "".join(["e", "f"])
    state.read()
    assert [line.split(" ")[0] for line in said] == ["Kinds.best"]
