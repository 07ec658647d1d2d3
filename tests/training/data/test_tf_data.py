"""The data of a ``fit`` goes on where it was, whatever was made of ``holdfast.dataset``, and where it is not ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import holdfast

from ..restarts import VALIDATION, Script, Stop, assert_same, interrupted, once

RNG = np.random.default_rng(1)
SAMPLES, TARGETS = 1 + RNG.random((50, 4), "float32"), 1 + RNG.random((50, 1), "float32")
MORE, THEIRS = 1 + RNG.random((53, 4), "float32"), 1 + RNG.random((53, 1), "float32")
STOPS: tuple[Stop, ...] = ((0, 2), (2, 3))


def rows(all_of_them: dict[str, Any], *rare: str) -> list[Any]:
    return [pytest.param(one, marks=pytest.mark.whole if one in rare else ()) for one in all_of_them]


def model() -> keras.Model:
    made = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(8, "tanh"), keras.layers.Dense(1)])
    made.compile(keras.optimizers.SGD(0.05, momentum=0.9), "mse")
    return made


def train(make_data: Callable[[], Any], **fit: Any) -> Script:
    def run(callbacks: list[keras.callbacks.Callback]) -> tuple[keras.Model, Any]:
        made, (x, *y) = model(), make_data()
        settings = {key: value() if callable(value) else value for key, value in fit.items()}
        return made, made.fit(x, *y, callbacks=callbacks, verbose=0, shuffle=False, **settings)

    return run


def check(script: Script, tmp_path: Path, *stops: Stop) -> None:
    undisturbed = once(script, tmp_path / "undisturbed")
    assert_same(interrupted(script, tmp_path / "stopped", *(stops or STOPS)), undisturbed)


def ours(size: int = 8, seed: int = 3) -> Any:
    return holdfast.dataset(SAMPLES, TARGETS, batch_size=size, seed=seed)


def held_out() -> Any:
    return holdfast.dataset(MORE, THEIRS, batch_size=7, seed=5)


def theirs() -> Any:
    return tf.data.Dataset.from_tensor_slices((SAMPLES, TARGETS)).batch(8)


def two_joined() -> Any:
    pairs = tf.data.Dataset.zip((ours(), ours(seed=4)))
    return pairs.map(lambda one, other: (one[0] + other[0], one[1]))


MADE_OF_OURS: dict[str, Callable[[], Any]] = {
    "other batches": lambda: ours().unbatch().batch(6),
    "filter": lambda: ours().unbatch().filter(lambda x, y: x[0] < 1.8).batch(4),
    "map": lambda: ours().map(lambda x, y: (2 * x, y)),
    "take": lambda: ours().take(5),
    "repeat": lambda: ours().repeat(2).prefetch(2),
    "two joined": two_joined,
}


@pytest.mark.parametrize("kind", rows(MADE_OF_OURS, "other batches", "map", "take", "repeat", "two joined"))
def test_what_is_made_of_ours_goes_on_exactly(tmp_path: Path, kind: str) -> None:
    check(train(lambda: (MADE_OF_OURS[kind](),), epochs=3), tmp_path)


class Peeks(keras.callbacks.Callback):
    """Looks at the first batch of the training's own data every few batches, which begins a pass through it."""

    def __init__(self, data: Any) -> None:
        super().__init__()
        self.data = data

    def get_state(self) -> None:
        return None

    def set_state(self, state: Any) -> None:
        pass

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if batch % 3 == 0:
            next(iter(self.data.take(1)))


def test_a_callback_that_draws_from_the_data_itself_changes_nothing_for_a_resumed_training(tmp_path: Path) -> None:
    def run(callbacks: list[keras.callbacks.Callback]) -> tuple[keras.Model, Any]:
        made, data = model(), ours()
        return made, made.fit(data, epochs=3, callbacks=[*callbacks, Peeks(data)], verbose=0, shuffle=False)

    check(run, tmp_path, (0, 1), (1, 4))


class Least(keras.metrics.Metric):
    """The least target of an epoch; those of TARGETS are 1 or more."""

    def __init__(self) -> None:
        super().__init__(name="least")
        self.value = self.add_variable((), keras.initializers.Constant(9.0))

    def reset_state(self) -> None:
        self.value.assign(9.0)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        self.value.assign(keras.ops.minimum(self.value, keras.ops.min(y_true)))

    def result(self) -> Any:
        return self.value * 1.0


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.unbatch().shuffle(20, seed=1).batch(6),
        # A cache keeps the first pass's order, and is filled by a later pass after a resume.
        pytest.param(lambda d: d.cache(), marks=pytest.mark.whole),
    ],
)
def test_no_empty_batch_is_trained_on_and_another_order_is_named(
    tmp_path: Path, change: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(callbacks: list[keras.callbacks.Callback]) -> tuple[keras.Model, Any]:
        made = model()
        made.compile("sgd", "mse", metrics=[Least()])
        return made, made.fit(change(ours()), epochs=3, callbacks=callbacks, verbose=0, shuffle=False)

    assert min(interrupted(run, tmp_path, (1, 4)).history["least"]) >= 1
    assert "another order" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("data", "size"),
    [(lambda: (SAMPLES, TARGETS), 8), pytest.param(lambda: (theirs(),), None, marks=pytest.mark.whole)],
)
def test_validation_data_of_ours_is_whole_beside_a_training_that_is_not(
    tmp_path: Path, data: Any, size: int | None
) -> None:
    check(train(data, epochs=3, batch_size=size, validation_data=held_out), tmp_path, (1, 3))


def test_validation_in_an_order_of_its_own_goes_on_with_it(tmp_path: Path) -> None:
    script = train(lambda: (ours(),), epochs=4, validation_data=held_out)
    check(script, tmp_path, (2, VALIDATION), (3, 1))


def test_a_pipeline_keeps_its_order_however_often_it_is_stopped_when_nothing_is_left_to_shuffle(tmp_path: Path) -> None:
    script = train(lambda: (tf.data.Dataset.from_tensor_slices((SAMPLES, TARGETS)).shuffle(20).batch(8),), epochs=4)
    check(script, tmp_path, (1, 5), (2, 5))


def test_a_pipeline_that_is_validated_on_too_keeps_its_order(tmp_path: Path) -> None:
    """Each validation opens iterators over it, which advance its shuffle's seed. Stopped when nothing is left to
    shuffle, the state of the training's iterator does not have it any more.
    """

    def run(callbacks: list[keras.callbacks.Callback]) -> tuple[keras.Model, Any]:
        made, data = model(), tf.data.Dataset.from_tensor_slices((SAMPLES, TARGETS)).shuffle(20).batch(8)
        return made, made.fit(data, epochs=4, validation_data=data, callbacks=callbacks, verbose=0)

    check(run, tmp_path, (1, 5), (2, 6))


def several_fits(make: Callable[[], list[Any]], directory: Path, watched: int, **fit: Any) -> Script:
    """A ``fit`` for each dataset, 2 epochs each; the stop is for the one that is ``watched``."""

    def run(callbacks: list[keras.callbacks.Callback]) -> tuple[keras.Model, Any]:
        made, history = model(), None
        for n, data in enumerate(make()):
            watching = callbacks[:2] if n == watched else []
            resume = holdfast.Resume(directory)
            history = made.fit(data, epochs=2, verbose=0, shuffle=False, callbacks=[*watching, resume], **fit)
        return made, history

    return run


def test_a_second_fit_of_a_pipeline_keeps_its_order_after_a_stop_when_nothing_is_left_to_shuffle(
    tmp_path: Path,
) -> None:
    """The first fit's end is restored as well, which opens all the iterators that it had."""

    def twice() -> list[Any]:
        return 2 * [tf.data.Dataset.from_tensor_slices((SAMPLES, TARGETS)).shuffle(20).batch(8)]

    undisturbed = once(several_fits(twice, tmp_path / "a", watched=1), tmp_path / "a")
    assert_same(interrupted(several_fits(twice, tmp_path / "b", watched=1), tmp_path / "b", (0, 5)), undisturbed)


@pytest.mark.parametrize("steps", [None, pytest.param(5, marks=pytest.mark.whole)])
def test_a_fit_that_was_not_begun_goes_on_with_the_passes_of_the_one_before(tmp_path: Path, steps: int | None) -> None:
    def twice() -> list[Any]:
        data = ours().repeat() if steps else ours()
        return [data, data]

    def once_only() -> list[Any]:
        return twice()[:1]

    undisturbed = once(several_fits(twice, tmp_path / "a", 1, steps_per_epoch=steps), tmp_path / "a")
    once(several_fits(once_only, tmp_path / "b", 1, steps_per_epoch=steps), tmp_path / "b")
    next(tmp_path.glob("b/*/complete.json")).unlink()  # as if the process had died between the two
    resumed = once(several_fits(twice, tmp_path / "b", 1, steps_per_epoch=steps), tmp_path / "b")
    assert_same(resumed, undisturbed)


@pytest.mark.whole
def test_a_later_fit_goes_on_with_the_passes_of_one_that_was_passed_over(tmp_path: Path) -> None:
    def there_and_back() -> list[Any]:
        one, other = ours(), ours(seed=9)
        return [one, other, one]

    undisturbed = once(several_fits(there_and_back, tmp_path / "a", 1), tmp_path / "a")
    resumed = interrupted(several_fits(there_and_back, tmp_path / "b", 1), tmp_path / "b", (1, 2))
    assert_same(resumed, undisturbed)


STEPS: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "ours without repeat": (lambda: (ours(5),), {"steps_per_epoch": 5}),
    "ours, repeated": (lambda: (ours(5).repeat(),), {"steps_per_epoch": 7}),
    "ours, in other batches": (lambda: (ours().unbatch().batch(5).repeat(),), {"steps_per_epoch": 4}),
    "plain": (lambda: (theirs().repeat(),), {"steps_per_epoch": 5}),
    "plain, without repeat": (lambda: (theirs().take(6),), {"steps_per_epoch": 3}),
    "arrays": (lambda: (SAMPLES, TARGETS), {"steps_per_epoch": 5, "batch_size": 5}),
}


@pytest.mark.parametrize(
    "kind",
    rows(STEPS, "ours without repeat", "ours, repeated", "ours, in other batches", "plain, without repeat", "arrays"),
)
def test_with_steps_per_epoch_the_data_goes_on_at_the_right_batch(tmp_path: Path, kind: str) -> None:
    make_data, fit = STEPS[kind]
    check(train(make_data, epochs=5, **fit), tmp_path, (1, 1), (3, fit["steps_per_epoch"] - 1))


@pytest.mark.parametrize("stop", [(1, 4), pytest.param((2, 1), marks=pytest.mark.whole)])
@pytest.mark.parametrize("fixed", [True, False])
def test_one_iterator_for_all_epochs_is_warned_of_where_its_batches_are_others(
    tmp_path: Path, stop: Stop, fixed: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    def data() -> tuple[tf.data.Dataset]:
        source = theirs() if fixed else ours().unbatch().shuffle(30, seed=len(made)).batch(5)
        made.append(source)
        return (source.repeat(),)

    made: list[Any] = []
    interrupted(train(data, epochs=4, steps_per_epoch=5), tmp_path, stop)
    assert capsys.readouterr().err.count("another order than before") == (0 if fixed else 1)


@pytest.mark.parametrize("data", [lambda: ours(5), pytest.param(lambda: theirs().take(6), marks=pytest.mark.whole)])
def test_what_repeats_in_a_fixed_order_is_drawn_again_for_one_round_at_most(tmp_path: Path, data: Any) -> None:
    drawn = [0]

    def count(x: Any, y: Any) -> Any:
        def one(value: Any) -> Any:
            drawn[0] += 1
            return value

        return tf.ensure_shape(tf.numpy_function(one, [x], x.dtype), x.shape), y

    script = train(lambda: (data().map(count).repeat(),), epochs=8, steps_per_epoch=7)
    undisturbed = once(script, tmp_path / "undisturbed")
    assert once(script, tmp_path / "stopped", (6, 6)).code == 75
    drawn[0] = 0
    assert_same(once(script, tmp_path / "stopped"), undisturbed)
    assert drawn[0] < 6 * 7, "less than what the epochs before drew"
