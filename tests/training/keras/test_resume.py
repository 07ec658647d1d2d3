"""``holdfast.Resume``: stopped anywhere, started again, and the ending is the undisturbed one's, bit for bit."""

from __future__ import annotations

import functools
import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import holdfast
from holdfast.core.errors import Mismatch, NoValidPair, SettingsError
from holdfast.spool import Spool

from ..restarts import VALIDATION, Ended, Script, assert_same, interrupted, once

layers = keras.layers
RNG = np.random.default_rng(0)
IMAGES = RNG.random((90, 8, 8, 1), "float32")
LABELS = RNG.integers(0, 4, 90)
EPOCHS, BATCHES = 3, 6


def sequential() -> keras.Model:
    return keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.RandomTranslation(0.1, 0.1, seed=1),
            layers.Conv2D(4, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dropout(0.3, seed=2),
            layers.Dense(4, activation="softmax"),
        ]
    )


def functional() -> keras.Model:
    inputs = keras.Input((8, 8, 1))
    x = layers.Flatten()(inputs)
    shared = layers.Dense(8, activation="relu", name="shared")
    joined = layers.Add()([layers.Dense(8)(x), shared(layers.Dense(8)(x)), shared(layers.Dense(8)(x))])
    return keras.Model(inputs, layers.Dense(4, activation="softmax")(layers.Dropout(0.2)(joined)))


class Subclassed(keras.Model):
    """Nothing of it exists before its first batch."""

    def __init__(self) -> None:
        super().__init__()
        self.flatten = layers.Flatten()
        self.inner = keras.Sequential([layers.Dense(8, activation="relu"), layers.Dropout(0.3)])
        self.norm = layers.BatchNormalization()
        self.out = layers.Dense(4, activation="softmax")

    def call(self, inputs: Any, training: bool = False) -> Any:
        x = self.inner(self.flatten(inputs), training=training)
        return self.out(self.norm(x, training=training))


class BuiltInName(Subclassed):
    """Its ``build`` makes nothing, as in many a script: Keras takes it for built, and its first batch builds it."""

    def build(self, shape: Any) -> None:
        self.built = True


def built_in_name() -> keras.Model:
    model = BuiltInName()
    model.build((None, 8, 8, 1))
    return model


def unused_layer() -> keras.Model:
    model = Subclassed()
    model.unused = layers.Dense(3)
    model(IMAGES[:1])
    return model


def unbuilt_sequential() -> keras.Model:
    return keras.Sequential([layers.Flatten(), layers.Dense(8, activation="relu"), layers.Dense(4, "softmax")])


def script(build: Any = sequential, epochs: int = EPOCHS, **fit: Any) -> Script:
    def run(callbacks: list[keras.callbacks.Callback]) -> tuple[keras.Model, Any]:
        model = build()
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        data = holdfast.dataset(IMAGES, LABELS, batch_size=16, seed=5)
        settings = {"validation_data": (IMAGES[:20], LABELS[:20]), "verbose": 0, "shuffle": False, **fit}
        return model, model.fit(data, epochs=epochs, callbacks=callbacks, **settings)

    return run


Undisturbed = Callable[[Any], Ended]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """The ending of each model's training when nothing happens, trained once."""
    return functools.cache(lambda build: once(script(build), tmp_path_factory.mktemp("undisturbed")))


BUILDS = [sequential, functional, Subclassed, unbuilt_sequential, built_in_name, unused_layer]
STOPS = [(0, 0), (1, 3), (1, BATCHES - 1), (2, VALIDATION)]


@pytest.mark.parametrize(
    ("build", "stop"),
    [(sequential, STOPS[3]), (built_in_name, STOPS[0])],  # all of them: the next test
)
def test_a_stop_in_the_middle_does_not_change_the_ending(
    tmp_path: Path, undisturbed: Undisturbed, build: Any, stop: tuple[int, int]
) -> None:
    assert_same(interrupted(script(build), tmp_path, stop), undisturbed(build))


@pytest.mark.whole
@pytest.mark.parametrize(
    ("build", "stop"),
    [
        *((sequential, stop) for stop in STOPS[:3]),  # the fourth: the test before
        *((build, STOPS[number % 4]) for number, build in enumerate(BUILDS[1:], 1)),  # by turns
    ],
)
def test_a_stop_anywhere_does_not_change_the_ending(
    tmp_path: Path, undisturbed: Undisturbed, build: Any, stop: tuple[int, int]
) -> None:
    assert_same(interrupted(script(build), tmp_path, stop), undisturbed(build))


@pytest.mark.whole
def test_many_stops_do_not_change_the_ending(tmp_path: Path, undisturbed: Undisturbed) -> None:
    stops = [(0, 2), (0, 3), (1, VALIDATION), (2, 0), (2, BATCHES - 1)]
    assert_same(interrupted(script(), tmp_path, *stops), undisturbed(sequential))


def test_training_on_after_the_end_equals_training_in_one_go(tmp_path: Path) -> None:
    once(script(epochs=2), tmp_path / "longer")
    assert_same(once(script(epochs=4), tmp_path / "longer"), once(script(epochs=4), tmp_path / "in-one-go"))


def test_alone_each_start_says_where_it_goes_on_and_a_stop_where_the_state_is(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ways: list[int] = []

    def said(*arguments: Any) -> list[str]:
        once(*arguments)
        lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("holdfast: ")]
        place = "holdfast: the position in the data is saved as the passes of holdfast.dataset"
        ways.append(lines.count(place))
        return [line for line in lines if line != place]

    short = script(epochs=2)
    stopped = said(short, tmp_path, (1, 3))
    (run,) = tmp_path.iterdir()
    assert stopped == [
        f"holdfast: {run}: a new run",
        f"holdfast: stopped by SIGTERM; the state is in {run}; start again to go on (exit 75)",
    ]
    assert said(short, tmp_path) == [f"holdfast: {run}: going on from epoch 1, batch 4 (step 10)"]
    following = run.with_name(run.name.replace("00001-", "00002-"))
    assert said(short, tmp_path) == [f"holdfast: {following}: a new run ({run.name} is complete)"]
    assert ways == [1, 0, 1], "how the place in the data is kept is said once a run"


class Remembers(keras.callbacks.Callback):
    def __init__(self) -> None:
        super().__init__()
        self.last: Any = None

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.last = f"batch {batch}"


def test_a_resumed_start_names_what_its_checkpoint_lacks(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def run(callbacks: list[keras.callbacks.Callback]) -> tuple[keras.Model, Any]:
        return script(sequential, epochs=2)([Remembers(), *callbacks])

    line = "holdfast: Remembers.last begins anew: the checkpoint does not have it"
    once(run, tmp_path, (1, 2))
    assert line not in capfd.readouterr().err.splitlines()
    once(run, tmp_path)
    assert capfd.readouterr().err.splitlines().count(line) == 1


class Eager(keras.Sequential):
    """Sees the size of each batch, and counts them."""

    def __init__(self) -> None:
        super().__init__([keras.Input((1,)), keras.layers.Dense(1)])
        self.size, self.count = None, 0

    def call(self, x: Any, **kwargs: Any) -> Any:
        self.size, self.count = x.shape[0], self.count + 1
        return super().call(x, **kwargs)


def test_what_an_eager_step_counts_is_named_and_the_size_of_its_batch_is_not(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def run(callbacks: list[keras.callbacks.Callback]) -> tuple[keras.Model, Any]:
        model = Eager()
        model.compile("sgd", "mse", run_eagerly=True)
        return model, model.fit(np.ones((5, 1)), np.ones((5, 1)), 2, 2, verbose=0, callbacks=callbacks)

    once(run, tmp_path)
    lines = [line for line in capfd.readouterr().err.splitlines() if " changes during the training" in line]
    assert [line.split()[1] for line in lines] == ["model.count"]


def test_a_complete_run_is_not_continued_but_followed_by_the_next(tmp_path: Path) -> None:
    first = once(script(epochs=1), tmp_path)
    assert_same(once(script(epochs=1), tmp_path), first)
    assert len(list(tmp_path.glob("0000*"))) == 2


def test_the_users_own_script_needs_one_callback_only(tmp_path: Path) -> None:
    def theirs(callbacks: list[keras.callbacks.Callback]) -> tuple[keras.Model, Any]:
        model = sequential()
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        stock = [
            keras.callbacks.EarlyStopping(patience=5, restore_best_weights=True),
            keras.callbacks.ReduceLROnPlateau(patience=1, min_delta=1.0),
        ]
        fit = {"validation_data": (IMAGES[:20], LABELS[:20]), "verbose": 0, "batch_size": 16, "shuffle": False}
        return model, model.fit(IMAGES, LABELS, epochs=4, callbacks=[*stock, *callbacks], **fit)

    assert_same(interrupted(theirs, tmp_path / "stopped", (1, 2), (3, 1)), once(theirs, tmp_path / "undisturbed"))


def test_what_is_not_exact_is_said_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def shuffled(callbacks: list[keras.callbacks.Callback]) -> tuple[keras.Model, Any]:
        model = sequential()
        model.compile("adam", "sparse_categorical_crossentropy")
        data = holdfast.dataset(IMAGES, LABELS, batch_size=16, seed=1).unbatch().shuffle(100, seed=1).batch(16)
        return model, model.fit(data, epochs=2, callbacks=callbacks, verbose=0)

    ended = interrupted(shuffled, tmp_path, (1, 2))
    assert [entry[2] for entry in ended.seen if entry[0] == "end"] == list(range(BATCHES)) * 2
    assert capfd.readouterr().err.count("another order than before") == 1


def test_exact_data_needs_no_such_notice(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    interrupted(script(), tmp_path, (0, 2))
    assert "order" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("build", "kind"),
    [(sequential, "model"), (Subclassed, "weights"), pytest.param(functional, "model", marks=pytest.mark.whole)],
)
def test_the_manifest_says_what_the_h5_is_and_keras_opens_it(tmp_path: Path, build: Any, kind: str) -> None:
    ended = once(script(build), tmp_path)
    spool = Spool(next(tmp_path.glob("0000*")))
    name = spool.pairs()[0]
    assert spool.manifest(name).kind == kind
    path = str(spool.file(name.file("h5")))
    if kind == "model":
        model = keras.models.load_model(path, compile=False)
    else:
        model = build()
        model(IMAGES[:1])
        model.load_weights(path)
    weights = {key.split(" ")[1]: value for key, value in ended.state.items()}
    assert all(weights[v.path] == np.asarray(v.value).tobytes() for v in model.weights if v.path in weights)
    assert len(model.weights) > 3


def test_a_pair_is_stored_at_each_epochs_end_and_a_few_are_kept(tmp_path: Path) -> None:
    once(script(epochs=4), tmp_path, keep=3)
    spool = Spool(next(tmp_path.glob("0000*")))
    assert [(n.epoch, n.step) for n in reversed(spool.pairs())] == [(2, 12), (3, 18), (4, 24)]


@pytest.mark.parametrize("every", [2, pytest.param(timedelta(microseconds=1), marks=pytest.mark.whole)])
def test_pairs_are_stored_in_between_when_asked_for(tmp_path: Path, every: Any) -> None:
    once(script(epochs=2), tmp_path, every=every, keep=100)
    spool = Spool(next(tmp_path.glob("0000*")))
    assert any(n.step % BATCHES for n in spool.pairs())


@pytest.mark.parametrize("every", ["daily", 0, -1, True, timedelta(0), 2.5])
def test_a_senseless_interval_is_refused(every: Any) -> None:
    with pytest.raises(SettingsError, match="every="):
        holdfast.Resume(every=every)


@pytest.mark.parametrize("keep", [0, -1, True, 2.5, None])
def test_a_senseless_number_of_pairs_to_keep_is_refused(tmp_path: Path, keep: Any) -> None:
    with pytest.raises(SettingsError, match="keep="):
        holdfast.Resume(keep=keep)
    with pytest.raises(SettingsError, match="keep="):
        holdfast.session(directory=str(tmp_path / "runs"), keep=keep)
    assert not list(tmp_path.iterdir())


def test_a_second_resume_in_one_fit_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"this fit has 2 holdfast\.Resume callbacks: give it one"):
        once(lambda callbacks: script()([*callbacks, holdfast.Resume(tmp_path)]), tmp_path)


def test_a_checkpoint_of_another_model_is_refused_and_names_what_differs(tmp_path: Path) -> None:
    def with_units(units: int) -> Script:
        def build() -> keras.Model:
            return keras.Sequential(
                [
                    layers.Input((8, 8, 1)),
                    layers.Flatten(),
                    layers.Dense(units, name="mine"),
                    layers.Dense(4, "softmax"),
                ]
            )

        return script(build)

    wider, narrow = with_units(9), with_units(7)
    assert once(wider, tmp_path, (0, 1)).code == 75
    with pytest.raises(Mismatch, match=r"mine/kernel is \(64, 9\) in the checkpoint and \(64, 7\) in the model"):
        once(narrow, tmp_path)


def test_damaged_pairs_are_passed_over_but_never_all_of_them_silently(
    tmp_path: Path, undisturbed: Undisturbed, capfd: pytest.CaptureFixture[str]
) -> None:
    once(script(), tmp_path / "damaged", (2, 3))
    spool = Spool(next((tmp_path / "damaged").glob("0000*")))
    newest = spool.pairs()[0]
    _flip_a_byte(spool.file(newest.file("h5")))
    assert_same(once(script(), tmp_path / "damaged"), undisturbed(sequential))
    assert f"{newest}: passed over" in capfd.readouterr().err
    spool.file("complete.json").unlink()
    for name in spool.pairs():
        _flip_a_byte(spool.file(name.file("pkl")))
    with pytest.raises(NoValidPair):
        once(script(), tmp_path / "damaged")


def _flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_after_fit_the_model_is_as_keras_left_it(tmp_path: Path) -> None:
    def twice(callbacks: list[keras.callbacks.Callback]) -> tuple[keras.Model, Any]:
        model, history = script()(callbacks)
        before = model.train_function
        more = model.fit(IMAGES, LABELS, epochs=1, verbose=0)
        assert model.train_function is before
        assert more.epoch == [0], "a later fit starts at its own beginning"
        return model, history

    assert interrupted(twice, tmp_path, (1, 1)).code is None


def test_sigterm_means_again_what_it_meant_before(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    once(script(epochs=1), tmp_path)
    assert signal.getsignal(signal.SIGTERM) is before


def test_evaluate_and_predict_are_left_alone() -> None:
    model = sequential()
    model.compile("adam", "sparse_categorical_crossentropy")
    model.evaluate(IMAGES, LABELS, verbose=0, callbacks=[holdfast.Resume()])
    model.predict(IMAGES, verbose=0, callbacks=[holdfast.Resume()])
    assert not Path("runs").exists()


def test_a_loop_of_the_scripts_own_that_calls_the_callback_is_refused_in_one_line(tmp_path: Path) -> None:
    """It would train, and save nothing."""
    callbacks = keras.callbacks.CallbackList([holdfast.Resume(tmp_path)], model=sequential(), epochs=2)
    with pytest.raises(SettingsError, match=r"works in the callbacks that fit was given, .*Use holdfast\.session"):
        callbacks.on_train_begin()


def test_a_fit_of_the_old_keras_package_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = sequential()
    model.compile("adam", "sparse_categorical_crossentropy")
    monkeypatch.setattr(keras, "__version__", "2.15.0")
    with pytest.raises(SettingsError, match=r"^this fit is of the package keras in its version 2, .*: install one"):
        model.fit(IMAGES, LABELS, verbose=0, callbacks=[holdfast.Resume(tmp_path)])
