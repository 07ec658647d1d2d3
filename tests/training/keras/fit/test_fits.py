"""Several calls of ``fit`` in one process, and what comes between and after them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import holdfast
from holdfast.core.errors import SettingsError
from holdfast.spool import Spool
from holdfast.training.session.open import close_session

from ...restarts import assert_same, interrupted, once

layers = keras.layers
X = np.random.default_rng(4).random((24, 4), "float32")


def compiled() -> keras.Model:
    model = keras.Sequential(
        [layers.Input((4,)), layers.Dense(3, "tanh"), layers.Dropout(0.2, seed=3), layers.Dense(4)]
    )
    model.compile("adam", "mse")
    return model


def fit(model: keras.Model, epochs: int, *callbacks: keras.callbacks.Callback) -> Any:
    data = holdfast.dataset(X, X, batch_size=8, seed=4)
    return model.fit(data, epochs=epochs, verbose=0, shuffle=False, callbacks=[*callbacks])


class At(keras.callbacks.Callback):
    """Does something once, before an epoch, when all pairs so far are written. Notes which epochs begin."""

    def __init__(self, epoch: int, act: Callable[[], None]) -> None:
        super().__init__()
        self.epoch = epoch
        self.act: Callable[[], None] | None = act
        self.begun: list[int] = []

    def get_state(self) -> None:
        return None

    def set_state(self, state: Any) -> None:
        pass

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.begun.append(epoch)
        if epoch == self.epoch and self.act is not None:
            for thread in threading.enumerate():
                if thread.name == "holdfast-writer":
                    thread.join()
            act, self.act = self.act, None
            act()


def fails() -> None:
    raise ZeroDivisionError


def test_a_later_fit_needs_no_pair_that_an_earlier_one_went_on_from(tmp_path: Path) -> None:
    def run(callbacks: list[keras.callbacks.Callback]) -> tuple[keras.Model, Any]:
        model = compiled()
        fit(model, 4, *callbacks)
        return model, fit(model, 2, *callbacks[2:])

    stopped = interrupted(run, tmp_path / "stopped", (1, 1), keep=1)
    assert_same(stopped, once(run, tmp_path / "undisturbed", keep=1))


def test_a_resumed_fit_that_raised_goes_on_from_its_newest_pair_when_it_is_called_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    begun: list[int] = []

    def run(callbacks: list[keras.callbacks.Callback]) -> tuple[keras.Model, Any]:
        model, failing = compiled(), At(3, fails)
        try:
            return model, fit(model, 4, failing, *callbacks)
        except ZeroDivisionError:
            return model, fit(model, 4, failing, *callbacks)
        finally:
            begun[:] = failing.begun

    interrupted(run, tmp_path, (1, 1), keep=1)
    assert begun == [1, 2, 3, 3]
    assert "passed over" not in capfd.readouterr().err


def test_a_script_that_is_killed_between_two_fits_does_not_train_the_first_again(tmp_path: Path) -> None:
    begun: list[int] = []

    def run(directory: Path) -> Any:
        def twice(callbacks: list[keras.callbacks.Callback]) -> tuple[keras.Model, Any]:
            model, notes = compiled(), At(-1, fails)
            fit(model, 3, notes, callbacks[2])
            begun[:] = notes.begun
            shutil.copytree(
                directory, directory.parent / f"{directory.name}-killed"
            )  # the disk, if it were killed here
            return model, fit(model, 2, *callbacks)

        return once(twice, directory)

    undisturbed = run(tmp_path / "runs")
    assert begun == [0, 1, 2]
    assert_same(run(tmp_path / "runs-killed"), undisturbed)
    assert begun == []


def test_a_new_trial_is_no_fault_and_what_is_finished_is_named_as_that(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def search(*trials: int, rate: float = 0.01) -> Callable[[Any], Any]:
        def run(callbacks: list[keras.callbacks.Callback]) -> tuple[keras.Model, Any]:
            for trial in trials:
                model = keras.Sequential([layers.Input((4,)), layers.Dense(3), layers.Dense(4)])
                model.compile(keras.optimizers.Adam(rate * trial), "mse")
                history = fit(model, 1, callbacks[2])
            if not (tmp_path / "killed").exists():
                shutil.copytree(tmp_path / "runs", tmp_path / "killed")  # the disk, if it were killed here
            return model, history

        return run

    def said(directory: str, script: Callable[[Any], Any]) -> str:
        once(script, tmp_path / directory)
        return capfd.readouterr().err

    said("runs", search(1, 2))
    shutil.copytree(tmp_path / "killed", tmp_path / "again")
    lines = said("killed", search(3))
    assert "holdfast: fits 1 and 2 are finished: not trained again, unless the script asks for more epochs" in lines
    assert "holdfast: fit 3 begins: another iteration of the loop than fit 2, which is at epoch 1" in lines
    assert "--extend" not in lines
    lines = said("again", search(1, rate=0.1))
    assert (
        "this training does not match the checkpoint of fit 1 at epoch 1: its learning rate differs. It starts" in lines
    )


def powered(gamma: float) -> Callable[[Any, Any], Any]:
    return lambda y_true, y_pred: keras.ops.abs(y_true - y_pred) ** gamma


TRIALS: dict[str, list[tuple[Any, dict[int, float] | None]]] = {
    "a setting of the loss": [(keras.losses.Huber(delta=0.5), None), (keras.losses.Huber(delta=0.25), None)],
    "what it closes over": [(powered(1.0), None), (powered(2.0), None)],
    "class weights": [("mse", {0: 1.0}), ("mse", {0: 3.0})],
}


@pytest.mark.parametrize("setting", TRIALS)
def test_a_trial_that_differs_from_a_finished_one_in_its_loss_alone_is_another(setting: str, tmp_path: Path) -> None:
    """Of a search without a seed, which leaves out what it has done."""

    def epochs_of(directory: Path, loss: Any, weights: dict[int, float] | None) -> int:
        notes, disk = At(-1, fails), directory / "runs"

        def script(callbacks: list[keras.callbacks.Callback]) -> tuple[keras.Model, Any]:
            model = keras.Sequential([layers.Input((4,)), layers.Dense(1)])
            model.compile("sgd", loss)
            history = model.fit(X, np.zeros(24), 24, 1, verbose=0, callbacks=[notes, *callbacks], class_weight=weights)
            if not killed.exists():
                shutil.copytree(disk, killed)  # as if it were killed here
            return model, history

        killed = tmp_path / "killed"
        once(script, disk, seed=None)
        return len(notes.begun)

    done, another = TRIALS[setting]
    first = epochs_of(tmp_path / "first", *done)
    for name in ("same", "other"):
        shutil.copytree(tmp_path / "killed", tmp_path / name / "runs")
    assert [first, epochs_of(tmp_path / "same", *done), epochs_of(tmp_path / "other", *another)] == [1, 0, 1]


class Power(keras.losses.Loss):
    def __init__(self, gamma: float) -> None:
        super().__init__()
        self.gamma = gamma

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return keras.ops.abs(y_true - y_pred) ** self.gamma


def test_fits_that_share_a_loss_which_an_earlier_one_has_changed_are_not_trained_again(tmp_path: Path) -> None:
    """And one with a loss that is new is another."""

    def begun(directory: Path, second: float | None = None) -> list[list[int]]:
        notes = [At(0, lambda: setattr(loss, "gamma", 2.0)), At(-1, fails), At(-1, fails)]
        loss = Power(1.0)

        def script(callbacks: list[keras.callbacks.Callback]) -> tuple[keras.Model, Any]:
            model = keras.Sequential([layers.Input((4,)), layers.Dense(1)])
            for note in notes:
                if second is not None and note is notes[1]:
                    loss.gamma = second
                model.compile("sgd", loss)
                history = model.fit(X, np.zeros(24), 24, 1, verbose=0, callbacks=[note, callbacks[2]])
                if note is notes[1] and not killed.exists():
                    shutil.copytree(directory, killed)  # as if it were killed here
            return model, history

        killed = tmp_path / "killed"
        once(script, directory)
        return [note.begun for note in notes]

    assert begun(tmp_path / "runs") == [[0], [0], [0]]
    for name in ("same", "other"):
        shutil.copytree(tmp_path / "killed", tmp_path / name)
    assert begun(tmp_path / "same") == [[], [], [0]]
    assert begun(tmp_path / "other", second=3.0)[:2] == [[], [0]]


class StopAtTheEnd(keras.callbacks.Callback):
    """Sends this process a real SIGTERM after all epochs."""

    def on_train_end(self, logs: Any = None) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_stop_after_the_last_epoch_ends_the_process_before_the_scripts_tail(tmp_path: Path) -> None:
    tails: list[int] = []

    def run(stop: bool) -> Any:
        def ends(callbacks: list[keras.callbacks.Callback]) -> tuple[keras.Model, Any]:
            model = compiled()
            history = fit(model, 2, *callbacks, *[StopAtTheEnd()] * stop)
            tails.append(len(history.epoch))
            return model, history

        return once(ends, tmp_path)

    assert (run(stop=True).code, tails) == (75, [])
    assert (run(stop=False).code, tails) == (None, [2])
    assert len(list(tmp_path.glob("0000*"))) == 1


def test_after_a_fit_that_raised_sigterm_means_again_what_it_meant_before(tmp_path: Path) -> None:
    heard: list[int] = []

    def mine(number: int, frame: Any) -> None:
        heard.append(number)

    before = signal.signal(signal.SIGTERM, mine)
    try:
        model = compiled()
        with pytest.raises(ZeroDivisionError):
            fit(model, 2, At(1, fails), holdfast.Resume(tmp_path))
        fit(model, 1, At(0, lambda: os.kill(os.getpid(), signal.SIGTERM)))
        assert heard == [signal.SIGTERM], "a fit without Resume is stopped by nobody"
        with pytest.raises(SystemExit, match="75"):
            fit(model, 2, At(1, lambda: os.kill(os.getpid(), signal.SIGTERM)), holdfast.Resume(tmp_path))
        close_session()
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        close_session()
        signal.signal(signal.SIGTERM, before)


class Breaks(keras.callbacks.Callback):
    """Ends a ``fit`` in the way of a script that stops itself, once the second epoch has begun."""

    def get_state(self) -> None:
        return None

    def set_state(self, state: Any) -> None:
        pass

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if epoch == 2:
            raise KeyboardInterrupt


def test_a_fit_without_resume_after_one_that_raised_is_not_touched(tmp_path: Path) -> None:
    def run(callbacks: list[keras.callbacks.Callback]) -> tuple[keras.Model, Any]:
        model = compiled()
        with contextlib.suppress(KeyboardInterrupt):
            fit(model, 4, *callbacks, Breaks())
        return model, fit(model, 2)

    undisturbed = once(run, tmp_path / "undisturbed")
    resumed = interrupted(run, tmp_path / "stopped", (1, 1))
    assert [len(resumed.history["loss"]), undisturbed.state] == [2, resumed.state]


def test_a_fit_without_resume_after_one_that_raised_among_dropped_batches_drops_none(tmp_path: Path) -> None:
    class BreaksAtOnce(Breaks):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 1 and len(list(tmp_path.glob("*/model-*.json"))) > 1:
                raise KeyboardInterrupt

    steps: list[int] = []

    def run(callbacks: list[keras.callbacks.Callback]) -> tuple[keras.Model, Any]:
        model = compiled()
        with contextlib.suppress(KeyboardInterrupt):
            fit(model, 4, *callbacks, BreaksAtOnce())
        before = int(model.optimizer.iterations)
        history = fit(model, 1)
        steps.append(int(model.optimizer.iterations) - before)
        return model, history

    interrupted(run, tmp_path, (1, 1))
    assert steps == [3]


def test_a_loop_behind_a_fit_is_refused_and_leaves_it_its_pairs(tmp_path: Path) -> None:
    close_session()
    fit(compiled(), 2, holdfast.Resume(str(tmp_path)))
    (run,) = tmp_path.iterdir()
    before = Spool(run).pairs()
    with pytest.raises(SettingsError, match="this process already has a training"):
        holdfast.session(directory=str(tmp_path))
    assert Spool(run).pairs() == before
    close_session()


def test_a_fit_behind_a_loop_is_refused_before_its_first_batch(tmp_path: Path) -> None:
    close_session()
    with holdfast.session(directory=str(tmp_path)) as loop:
        loop.boundary(1)
        loop.commit({"a": X})
    model = compiled()
    before = model.get_weights()[0].copy()
    with pytest.raises(SettingsError, match="this process already has a training"):
        fit(model, 2, holdfast.Resume(str(tmp_path)))
    assert np.array_equal(model.get_weights()[0], before)
    close_session()
