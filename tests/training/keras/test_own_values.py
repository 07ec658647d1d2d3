"""What callbacks count and collect in plain Python: kept if it changes, named where it cannot be kept."""

from __future__ import annotations

import copy
import dataclasses
import enum
import functools
import gc
import io
import itertools
import random
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

import keras
import numpy as np
import pytest

from holdfast.core import restricted_pickle
from holdfast.core.errors import InvalidPair
from holdfast.training.keras.own_values import OwnValues
from holdfast.training.keras.watched import Watched

layers = keras.layers


@pytest.fixture(scope="module")
def model() -> keras.Model:
    model = keras.Sequential([keras.Input((2,)), layers.Dense(1)])
    model.compile("adam", "mse")
    return model


class Meter:
    def __init__(self) -> None:
        self.total, self.rows = 0.0, [np.zeros(2)]


class Collects(keras.callbacks.Callback):
    def __init__(self) -> None:
        super().__init__()
        self.every = 10
        self.count = 0
        self.best: Any = None
        self.losses: dict[str, list[float]] = defaultdict(list)
        self.recent: deque[float] = deque(maxlen=2)
        self.seen = {1}
        self.meter = Meter()
        self.sums = np.zeros(3)
        self.rng, self.dice = np.random.default_rng(1), random.Random(2)

    def work(self) -> None:
        self.count += 1
        self.best = 0.25
        self.losses["loss"].append(0.5)
        self.recent.extend([1.0, 2.0, 3.0])
        self.seen.add(7)
        self.meter.total += 2.0
        self.meter.rows.append(np.ones(2))
        self.sums[1] = 4
        self.rng.random(), self.dice.random()


class Patient(keras.callbacks.EarlyStopping):
    """Derived from Keras' own, with a counter more."""

    def __init__(self) -> None:
        super().__init__(patience=4)
        self.calls = 0


def watched(model: keras.Model, *callbacks: Any) -> tuple[OwnValues, list[str]]:
    said: list[str] = []
    values = OwnValues(Watched(model, callbacks, said.append), said.append)
    values.begin()
    return values, said


def through_a_file(values: Any) -> Any:
    return restricted_pickle.loads(restricted_pickle.dumps(values))


def test_what_changes_comes_back_and_what_does_not_is_the_scripts(model: keras.Model) -> None:
    before, after = Collects(), Collects()
    values, said = watched(model, before)
    assert values.read() == {}, "nothing has changed yet"
    before.work()
    after.every = 99
    later, _ = watched(model, after)
    losses = after.losses
    later.restore(through_a_file(values.read()))
    assert (after.count, after.best, after.every) == (1, 0.25, 99)
    assert after.losses is losses, "others may hold the same list"
    assert losses["loss"] == [0.5]
    assert losses["new"] == [], "it is a defaultdict still"
    assert (list(after.recent), after.recent.maxlen, after.seen) == ([2.0, 3.0], 2, {1, 7})
    assert (after.meter.total, len(after.meter.rows), after.sums.tolist()) == (2.0, 2, [0, 4, 0])
    assert after.rng.random() == before.rng.random()
    assert after.dice.random() == before.dice.random()
    assert said == []
    assert later.read().keys() == values.read().keys(), "what was restored is state, changed again or not"


def test_a_callback_derived_from_keras_own_keeps_what_it_counts(model: keras.Model) -> None:
    before, after = Patient(), Patient()
    values, said = watched(model, before)
    before.calls, before.wait = 3, 2
    kept = values.read()
    assert kept == {"Patient.calls": 3}, "what Keras' own class sets is kept with its callback"
    later, _ = watched(model, after)
    later.restore(kept)
    assert (after.calls, said) == (3, [])


class Nested(keras.callbacks.Callback):
    def __init__(self) -> None:
        super().__init__()
        self.scale: Any = 1.0
        self.recent: dict[str, Any] = {}
        self.counted: dict[str, Any] = {}


def test_numbers_of_numpys_and_a_deques_length_come_back_as_they_were(model: keras.Model) -> None:
    """Another type rounds otherwise; another length keeps other items."""
    before, after = Nested(), Nested()
    values, said = watched(model, before)
    before.scale = np.float32(0.1)
    before.recent["loss"] = [deque([np.float64(0.5)], maxlen=2), deque([1])]
    before.counted["words"] = Counter("a")
    later, _ = watched(model, after)
    later.restore(through_a_file(values.read()))
    assert (type(after.scale), after.scale) == (np.float32, np.float32(0.1))
    short, endless = after.recent["loss"]
    assert (short.maxlen, endless.maxlen, type(short[0])) == (2, None, np.float64)
    assert (type(after.counted["words"]), after.counted["words"], said) == (Counter, {"a": 1}, [])


class Phase(enum.Enum):
    WARM = "warm"
    COLD = "cold"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Plan:
    def __init__(self, rate: float) -> None:
        self.rate = rate


@dataclasses.dataclass(frozen=True)
class Fixed:
    rate: float = 0.5


class Chooses(keras.callbacks.Callback):
    def __init__(self) -> None:
        super().__init__()
        self.phase, self.level = Phase.WARM, Level.LOW
        self.sum, self.due = Decimal(0), datetime(2024, 1, 1)
        self.lazy: Any = None
        self.default: Any = None
        self.plans, self.later = [Plan(0.1), Plan(0.2)], [Phase.WARM]
        self.active: Any = self.plans[0]
        self.rule: Callable[[], float] = self.linear
        self.fresh, self.fixed = Plan(0.1), Fixed()
        self.unset: Any = None

    def linear(self) -> float:
        return 1.0

    def cosine(self) -> float:
        return 2.0


def test_members_of_an_enum_and_what_is_made_lazily_come_back(model: keras.Model) -> None:
    before, after = Chooses(), Chooses()
    values, said = watched(model, before)
    before.phase, before.level = Phase.COLD, Level.HIGH
    before.sum, before.due = Decimal("1.5"), datetime(2024, 2, 29)
    before.lazy, before.default = Counter("aab"), defaultdict(int, {"a": 1})
    before.fresh = Plan(0.3)  # made anew as one of its class
    later, _ = watched(model, after)
    later.restore(through_a_file(values.read()))
    assert (after.phase, after.level) == (Phase.COLD, Level.HIGH)
    assert (type(after.level), after.sum, after.due) == (Level, Decimal("1.5"), datetime(2024, 2, 29))
    assert (repr(after.lazy), repr(after.default)) == (repr(before.lazy), repr(before.default))
    assert said == []


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("active", lambda one: setattr(one, "active", one.plans[1])),
        ("unset", lambda one: setattr(one, "unset", one.plans[1])),
        ("rule", lambda one: setattr(one, "rule", one.cosine)),
        ("active", lambda one: setattr(one, "active", Meter())),
        ("unset", lambda one: setattr(one, "unset", Phase.COLD)),
        ("fixed.rate", lambda one: setattr(one, "fixed", dataclasses.replace(one.fixed, rate=0.25))),
    ],
    ids=["one of several", "one of several where none was", "a method", "another class", "an Enum", "frozen"],
)
def test_another_object_in_an_attribute_is_named_once_and_breaks_no_pair(
    path: str, change: Callable[[Chooses], None], model: keras.Model
) -> None:
    callback, said = Chooses(), list[str]()
    objects = Watched(model, [callback], said.append)
    values = OwnValues(objects, said.append)
    values.begin()
    values.step_done()
    assert values.read() == {}
    change(callback)
    objects.look_again()
    kept = [values.read(), values.read()][1]
    assert [line.split()[0] for line in said if "not kept" in line] == [f"Chooses.{path}"] * len(said)
    assert len(set(said)) == 1
    later, _ = watched(model, Chooses())
    later.restore(through_a_file(kept))


class Holds(keras.callbacks.Callback):
    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value


@pytest.mark.parametrize("name", ["MISSING", "__class__", 7])
def test_no_other_member_than_the_scripts_own_is_taken_from_a_file(name: Any, model: keras.Model) -> None:
    callback = Chooses()
    values, said = watched(model, callback)
    values.restore({"Chooses.phase": {"~enum": name}, "Chooses.lazy": {"~enum": "WARM"}})
    assert (callback.phase, callback.lazy, len(said)) == (Phase.WARM, None, 2)


class Outer:
    class Side(enum.Flag):
        LEFT = enum.auto()
        RIGHT = enum.auto()


class Named(enum.StrEnum):
    FIRST = "a/b"
    SECOND = "second"


@pytest.mark.parametrize(
    "value",
    [
        [Phase.WARM, Phase.COLD],
        (1, [Level.HIGH, 2]),
        {Phase.COLD},  # of one item, whose order is the same each time
        {"kept": Named.FIRST},
        {Phase.COLD: 1, (Level.LOW, 2): {Outer.Side.LEFT: Outer.Side.RIGHT}},
        Counter({Level.HIGH: 2}),
        OrderedDict({Named.SECOND: [Phase.COLD]}),
        deque([Phase.COLD], maxlen=2),
    ],
    ids=repr,
)
def test_members_of_an_enum_within_other_values_come_back(value: Any, model: keras.Model) -> None:
    before, after = Holds(None), Holds(None)
    values, said = watched(model, before)
    before.value = value
    later, _ = watched(model, after)
    later.restore(through_a_file(values.read()))
    assert (repr(after.value), said) == (repr(value), [])


def test_members_that_could_not_be_found_again_are_named(model: keras.Model) -> None:
    class Local(enum.Enum):
        ONE = 1

    for member in (Local.ONE, Outer.Side.LEFT | Outer.Side.RIGHT):
        callback = Holds([])
        values, said = watched(model, callback)
        callback.value.append(member)
        assert (values.read(), len(said)) == ({}, 1)
        assert said[0].startswith("Holds.value is not kept: it holds a ")


@pytest.mark.parametrize(
    "names",
    [
        ("turtledemo", "Mode", "ONE"),
        (__name__, "Phase", "MISSING"),
        (__name__, "Phase", "mro"),
        (__name__, "Collects", "work"),
        (__name__, "enum.Enum", "name"),
        (__name__, "keras.Model", "fit"),
        ("dataclasses", "keras", "x"),
    ],
)
def test_a_file_imports_nothing_and_names_members_only(names: Any, model: keras.Model) -> None:
    callback = Holds([1])
    values, said = watched(model, callback)
    values.restore({"Holds.value": [{"~member": list(names)}]})
    assert (callback.value, "turtledemo" in sys.modules) == ([1], False)
    assert [line.partition(": the checkpoint holds ")[0] for line in said] == ["Holds.value"]


LARGE: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "a set": (lambda: set(range(3000)), lambda value: [value.remove(7), value.add(5000)]),
    "a dict": (lambda: dict.fromkeys(range(5000), 0), lambda value: value.update({4999: 1})),
    "a list": (lambda: [0.0] * 9000, lambda value: value.__setitem__(7, 1.0)),
    "a list of lists": (lambda: [[0, 0] for _ in range(2500)], lambda value: value[3].append(1)),
    "more than is looked at": (lambda: [[0, [0]] for _ in range(10_100)], lambda value: value[-1].append(1)),
}


@pytest.mark.parametrize("kind", LARGE)
def test_a_change_anywhere_in_a_large_value_is_seen(kind: str, model: keras.Model) -> None:
    made, change = LARGE[kind]
    before, after = Holds(made()), Holds(made())
    values, _ = watched(model, before)
    change(before.value)
    later, _ = watched(model, after)
    later.restore(values.read())
    assert after.value == before.value


class Word(str):
    shown = 0

    def __repr__(self) -> str:
        Word.shown += 1
        return super().__repr__()


UNCHANGED: dict[str, Callable[[], Any]] = {
    "pairs of texts": lambda: [(Word(n), "b") for n in range(30_000)],
    "texts": lambda: [Word(n) for n in range(200_000)],
    "a dict of texts": lambda: {n: [Word(n)] for n in range(10_100)},
    "lists": lambda: [[0, [0]] for _ in range(7000)],
    "arrays": lambda: [np.zeros(1) for _ in range(20_100)],
}


@pytest.mark.parametrize("kind", UNCHANGED)
def test_a_large_value_that_does_not_change_is_neither_named_nor_stored_nor_read_as_a_whole(
    kind: str, model: keras.Model
) -> None:
    Word.shown = 0
    values, said = watched(model, Holds(UNCHANGED[kind]()))
    assert (values.read(), values.read(), said, Word.shown) == ({}, {}, [], 0)


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        ([[1], [2, 3]], [[1, 2], [3]], True),
        ([1, 0.5], [True, 0.5], True),
        ([0.5, float("nan")], [0.5, float("nan")], False),
        ([[1000, (2.5,)], {3: -70.5}], [[1000, (2.5,)], {3: -70.5}], False),
        ({1000, 2.5, -7.5}, {-7.5, 1000, 2.5}, False),
        ([np.ones(2), [np.zeros(1)]], [np.ones(2), [np.zeros(1)]], False),
        ([np.ones(2), [np.zeros(1)]], [np.ones(2), [np.ones(1)]], True),
        ([bytearray(b"a")], [bytearray(b"b")], True),
    ],
)
def test_a_value_that_is_made_anew_has_changed_if_what_it_says_has(
    before: Any, after: Any, changes: bool, model: keras.Model
) -> None:
    callback = Holds([before])
    values, said = watched(model, callback)
    callback.value = [copy.deepcopy(after)]
    assert bool(values.read() or said) == changes
    assert bool(values.read() or said) == changes


@dataclasses.dataclass(slots=True)
class Narrow:
    rate: float = 0.5


def test_objects_that_took_each_others_place_are_not_held(model: keras.Model) -> None:
    callback = Holds(None)
    values, _ = watched(model, callback)
    for _ in range(9):
        callback.value = [Narrow(), model.layers]
        values.read()
        callback.value = Narrow()
        values.read()
    assert sum(type(one) is Narrow for one in gc.get_objects()) < 4


def rate_of(step: int, rate: float) -> float:
    return rate


@pytest.mark.parametrize("made", [lambda model: model.layers[-1], lambda model: lambda: 1], ids=["a layer", "a lambda"])
def test_what_each_start_sets_as_its_first_epoch_begins_is_not_named(made: Any, model: keras.Model) -> None:
    callback = Holds(None)
    values, said = watched(model, callback)
    callback.value = made(model)
    values.step_done()
    assert (values.read(), said) == ({}, [])


@pytest.mark.parametrize(("rate", "named"), [(0.1, 0), (0.01, 1)])
def test_a_partial_function_with_other_arguments_is_another_one(rate: float, named: int, model: keras.Model) -> None:
    callback = Holds(functools.partial(rate_of, rate=0.1))
    values, said = watched(model, callback)
    callback.value = functools.partial(rate_of, rate=rate)
    assert (values.read(), len(said)) == ({}, named)


def test_an_object_that_takes_the_place_of_one_that_is_gone_is_another(model: keras.Model) -> None:
    callback = Holds([Plan(0.1)])
    values, said = watched(model, callback)
    for _ in range(9):  # CPython gives it the address that has come free
        callback.value.clear()
        callback.value.append(Plan(0.1))
    values.read()
    assert [line.split()[0] for line in said] == ["Holds.value"]


def test_settings_of_keras_own_callbacks_that_others_change_are_kept(model: keras.Model) -> None:
    def made() -> tuple[Any, Any]:
        stops = keras.callbacks.EarlyStopping("loss", patience=2, min_delta=0.1, mode="min")
        return stops, keras.callbacks.ReduceLROnPlateau("loss", factor=0.1, min_delta=0.1)

    (stops, plateau), (stopping, reducing) = made(), made()
    values, said = watched(model, stops, plateau)
    for one in (stops, plateau):
        one._set_monitor_op()  # as at a first epoch's end
    assert values.read() == {}, "Keras has given them a sign"
    stops.patience *= 2
    plateau.factor, plateau.min_delta = 0.5, -0.25
    later, _ = watched(model, stopping, reducing)
    later.restore(through_a_file(values.read()))
    stopping._set_monitor_op(), reducing._set_monitor_op()
    assert (stopping.patience, stopping.min_delta) == (4, stops.min_delta)
    assert (reducing.factor, reducing.min_delta) == (0.5, plateau.min_delta)
    assert said == []


Library = type(
    "Library",
    (keras.callbacks.Callback,),
    {"__module__": "wandb.of_a_test", "steps": 0, "__init__": lambda self: setattr(self, "rows", 1)},
)


class Derived(Library):  # type: ignore[valid-type, misc]
    def __init__(self) -> None:
        super().__init__()
        self.own = 1


@pytest.mark.parametrize("kind", [Library, Derived])
def test_numbers_that_a_librarys_callback_counts_are_kept(kind: Any, model: keras.Model) -> None:
    before, after = kind(), kind()
    values, _ = watched(model, before)
    before.rows += 1
    later, _ = watched(model, after)
    later.restore(through_a_file(values.read()))
    assert after.rows == 2


def test_what_is_kept_with_a_librarys_callback_is_not_kept_twice(model: keras.Model) -> None:
    """A best value of which the file is gone is not put back by the other way."""
    kind: Any = type("Library", (keras.callbacks.ModelCheckpoint,), {"__module__": "wandb.of_a_test"})
    one = kind("best.keras", save_best_only=True)
    one.best, one.uploads = 0.5, 0
    values, _ = watched(model, one)
    one.best, one.uploads = 0.25, 1
    assert values.read() == {"Library.uploads": 1}


class Counts(keras.callbacks.Callback):
    """With names that classes of Keras have, too."""

    def __init__(self) -> None:
        super().__init__()
        self.token_counts: Any = Counter()
        self.train_function = 0


def test_a_name_that_keras_has_elsewhere_is_the_scripts_own_in_its_class(model: keras.Model) -> None:
    before, after = Counts(), Counts()
    values, _ = watched(model, before)
    before.token_counts["a"] += 1
    before.train_function = 3
    later, _ = watched(model, after)
    later.restore(through_a_file(values.read()))
    assert (after.token_counts, after.train_function) == ({"a": 1}, 3)


class OfItsClass(keras.callbacks.Callback):
    """What a class has, its objects have until they are given their own."""

    count = 0
    best: ClassVar[dict[str, float]] = {}
    rows: ClassVar[list[int]] = []
    made = 0

    def work(self) -> None:
        self.count += 1
        self.best = {"loss": 0.5}  # type: ignore[misc]
        self.rows.append(3)
        OfItsClass.made += 2


def test_what_a_class_holds_for_its_objects_is_kept(model: keras.Model) -> None:
    before, after, other = OfItsClass(), OfItsClass(), OfItsClass()
    values, said = watched(model, before)
    assert values.read() == {}
    before.work()
    kept = through_a_file(values.read())
    OfItsClass.rows.clear()
    OfItsClass.made = 0
    later, _ = watched(model, after)
    later.restore(kept)
    assert (after.count, after.best, after.rows, OfItsClass.made) == (1, {"loss": 0.5}, [3], 2)
    assert (other.count, other.best, said) == (0, {}, [])
    assert later.read().keys() == kept.keys()


def test_an_iterator_is_named_and_a_file_is_none(model: keras.Model) -> None:
    class Rates(keras.callbacks.Callback):
        def __init__(self) -> None:
            super().__init__()
            self.rates, self.text = itertools.cycle([0.1, 0.2]), io.StringIO()

    values, said = watched(model, Rates())
    values.read()
    assert sorted({line.partition(":")[0] for line in said}) == ["Rates.rates is an iterator"]


TOTAL = 0


def test_what_a_function_closes_over_or_calls_global_is_kept(model: keras.Model) -> None:
    def counting(seen: list[int]) -> tuple[Any, Callable[[], int]]:
        number = 0

        def count(batch: int, logs: Any) -> None:
            nonlocal number
            global TOTAL
            number += 1
            TOTAL += 2
            seen.append(batch)

        return keras.callbacks.LambdaCallback(on_train_batch_end=count), lambda: number

    global TOTAL
    mine: list[int] = []
    before, _ = counting([])
    after, number = counting(mine)
    values, said = watched(model, before)
    before.on_train_batch_end(5, None)
    kept = values.read()
    TOTAL = 0
    later, _ = watched(model, after)
    later.restore(through_a_file(kept))
    assert (number(), TOTAL, mine, said) == (1, 2, [5], [])


def test_two_callbacks_of_one_class_are_told_apart(model: keras.Model) -> None:
    first, second = Patient(), Patient()
    values, _ = watched(model, first, second)
    second.calls = 1
    assert values.read() == {"Patient[1].calls": 1}


def test_usual_callbacks_give_nothing_to_say(model: keras.Model) -> None:
    kept = keras.callbacks

    class Shows(kept.Callback):
        def __init__(self, data: Any) -> None:
            super().__init__()
            self.data, self.path, self.started = data, "somewhere", None

    callbacks = [
        kept.EarlyStopping(patience=3),
        kept.ReduceLROnPlateau(),
        kept.LearningRateScheduler(lambda epoch: 0.1 / (epoch + 1)),
        kept.TerminateOnNaN(),
        kept.LambdaCallback(on_epoch_end=lambda epoch, logs: None),
        kept.ModelCheckpoint("x.keras"),
        Shows(np.zeros((100, 100))),
    ]
    values, said = watched(model, *callbacks)
    assert (values.read(), said) == ({}, [])


class Awkward(keras.callbacks.Callback):
    def __init__(self) -> None:
        super().__init__()
        self.phase = "warm"
        self.things: list[Any] = []
        self.stream = iter(range(3)) if not hasattr(self, "never") else None
        self.numbers = (n for n in range(3))


def test_what_cannot_be_kept_is_named_by_its_path(model: keras.Model) -> None:
    callback = Awkward()
    values, said = watched(model, callback)
    callback.phase = "cold"
    callback.things.append(object())
    assert values.read() == {}
    for path in ("Awkward.phase", "Awkward.things", "Awkward.stream", "Awkward.numbers"):
        assert [line for line in said if line.startswith(f"{path} ")], path
    assert all("get_state" in line for line in said)
    assert values.lost == ["Awkward.numbers", "Awkward.phase", "Awkward.stream", "Awkward.things"]
    callback.phase, callback.things = 1, []  # type: ignore[assignment]
    values.read()
    assert "Awkward.phase" not in values.lost


def test_a_value_that_the_script_no_longer_has_is_named(model: keras.Model) -> None:
    values, said = watched(model, Patient())
    values.restore({"Patient.other\n\x1b[2J": 1})
    assert len(said) == 1
    assert "Patient.other" in said[0]
    assert said[0].isprintable(), "whatever the file holds"


@pytest.mark.parametrize(
    "plain",
    [
        "/etc/passwd",
        [1, ["x"]],
        {"~random": "x"},
        {"a": b"x"},
        {"~random": {"bit_generator": "PCG64"}},
        {"~random": 1 << 70},
        [{"~random": "x"}],
        {"~set": ["x"]},
        {"~ordered": [["x", "y"]]},
        {"~member": ["x", "y"]},
        {"~member": ["x", "y", 1]},
    ],
)
def test_no_text_and_nothing_malformed_is_taken_from_a_file(model: keras.Model, plain: Any) -> None:
    callback = Collects()
    values, _ = watched(model, callback)
    with pytest.raises(InvalidPair):
        values.restore({"Collects.rng" if "~random" in plain else "Collects.best": plain})
    assert callback.best is None


class Curious(keras.Model):
    """Its step, when run eagerly, counts in Python."""

    def __init__(self) -> None:
        super().__init__()
        self.out = layers.Dense(1)
        self.count = 0
        self.width = 3

    def call(self, x: Any) -> Any:
        return self.out(x)


def test_a_python_value_of_the_model_that_changes_is_named_once_it_is_no_part_of_the_building() -> None:
    curious = Curious()
    values, said = watched(curious)
    curious.count = 1  # as a first step does
    values.read()
    curious.count = 2
    values.step_done()
    values.read()
    assert said == []
    curious.count = 3
    values.read()
    assert len(said) == 1
    assert said[0].startswith("model.count changes")


def test_the_size_of_an_epochs_last_batch_is_no_change_of_the_model() -> None:
    curious = Curious()
    values, said = watched(curious)
    curious.count = 32
    values.step_done()
    curious.count = 7
    values.read(within_epoch=False)
    curious.count = 32
    values.read()
    assert said == []
    curious.count = 33
    values.read()
    assert len(said) == 1


class Shy:
    """Refuses to be looked at."""

    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        raise RuntimeError("not here")


class Proxy:
    """Stands for something that is not there yet."""

    @property
    def __class__(self) -> Any:
        raise RuntimeError("not here")


class Slim:
    """Has no attributes of its own, and its class has one."""

    __slots__ = ()
    count = 0


class Knot(keras.callbacks.Callback):
    def __init__(self) -> None:
        super().__init__()
        self.shy, self.proxy, self.slim = Shy(), Proxy(), Slim()
        self.loop, self.count, self.meter = [0], 0, Meter()
        self.loop.append(self.loop)  # type: ignore[arg-type]


def test_what_refuses_to_be_looked_at_or_holds_itself_stops_no_training(model: keras.Model) -> None:
    knot = Knot()
    values, _ = watched(model, knot)
    knot.count = 1
    knot.loop[0] = 5
    knot.meter.total = 2.0
    assert values.read() == {"Knot.count": 1, "Knot.meter.total": 2.0}
