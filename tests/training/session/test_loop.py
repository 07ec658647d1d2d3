"""``holdfast.session``: the same guarantees for loops that are not ``fit``."""

from __future__ import annotations

import os
import random
import signal
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import holdfast
from holdfast.core.errors import SettingsError
from holdfast.spool import Board, Spool
from holdfast.training.session.open import close_session, open_session
from integration.daemons import wait_for

STEPS = 20


def gradient_tape(directory: Path, stop: int | None) -> bytes:
    """A custom loop over Keras variables, with an optimizer, a seed generator and NumPy's random numbers."""
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(3)
    noise = keras.random.SeedGenerator(5)
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(8, "tanh"), keras.layers.Dense(1)])
    optimizer = keras.optimizers.Adam(0.01)
    optimizer.build(model.trainable_variables)
    variables = [*model.variables, *optimizer.variables, noise.state]
    with holdfast.session(every=6, directory=str(directory)) as run:
        if run.resume_from:
            for variable, value in zip(variables, run.resume_from.arrays.values(), strict=True):
                variable.assign(value)
        for step in range(run.step, STEPS):
            x = tf.constant(np.random.rand(8, 4), "float32")
            with tf.GradientTape() as tape:
                y = model(x + keras.random.normal((8, 4), stddev=0.1, seed=noise))
                loss = tf.reduce_mean((y - random.random()) ** 2)
            optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
            if step + 1 == stop:
                os.kill(os.getpid(), signal.SIGTERM)
            if run.boundary(step + 1):
                run.commit({f"{i} {v.path}": v for i, v in enumerate(variables)}, loss=float(loss))
    return b"".join(np.asarray(v.value).tobytes() for v in variables)


def started(directory: Path, stop: int | None = None) -> bytes | int:
    close_session()
    try:
        return gradient_tape(directory, stop)
    except SystemExit as error:
        return int(str(error.code))
    finally:
        close_session()


def test_a_gradient_tape_loop_ends_the_same_wherever_it_is_stopped(tmp_path: Path) -> None:
    undisturbed = started(tmp_path / "undisturbed")
    assert started(tmp_path / "stopped", 1) == 75
    assert started(tmp_path / "stopped", 13) == 75
    assert started(tmp_path / "stopped") == undisturbed


def loop_over_a_dataset(directory: Path, shuffle: bool, stop: int | None = None) -> list[float]:
    """The recipe of docs/session.md: a dataset for each epoch, without the batches that are done."""
    close_session()
    x, seen = np.arange(12.0), []
    with holdfast.session(directory=str(directory)) as run:
        start = run.resume_from
        seen = [] if start is None else list(start.values)
        for epoch in range(0 if start is None else start.epoch, 3):
            batch = start.batch if start is not None and epoch == start.epoch else 0
            for numbers in holdfast.dataset(x, batch_size=4, seed=epoch, shuffle=shuffle).skip(batch):
                seen += numbers.numpy().tolist()
                batch += 1
                if len(seen) == stop:
                    os.kill(os.getpid(), signal.SIGTERM)
                if run.boundary(len(seen) // 4, epoch, batch) or len(seen) == 36:
                    run.commit({}, seen)
    return seen


@pytest.mark.parametrize("stop", [8, 12, 20])
def test_a_loop_with_a_dataset_for_each_epoch_sees_what_an_undisturbed_one_sees(
    tmp_path: Path, stop: int, capfd: pytest.CaptureFixture[str]
) -> None:
    undisturbed = loop_over_a_dataset(tmp_path / "undisturbed", True)
    with pytest.raises(SystemExit):
        loop_over_a_dataset(tmp_path / "stopped", True, stop)
    assert loop_over_a_dataset(tmp_path / "stopped", True) == undisturbed
    assert "a second time" not in capfd.readouterr().err
    close_session()


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_loop_that_reads_one_shuffled_dataset_again_and_again_is_told_once(
    run: Any, shuffle: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    data = holdfast.dataset(np.arange(12.0), batch_size=4, seed=1, shuffle=shuffle)
    with run:
        for step in range(4):
            assert len(list(data)) == 3
            run.boundary(step + 1)
        run.commit({})
    assert capfd.readouterr().err.count("Make one for each epoch: holdfast.dataset") == int(shuffle)


@pytest.mark.parametrize("stop", [2, 4])
def test_the_readmes_loop_completes_wherever_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    """Also in the last batch: the start after that has nothing left to train."""
    monkeypatch.chdir(tmp_path)
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    blocks = [rest.partition("```")[0] for rest in readme.split("```python\n")[1:]]
    [code] = [
        block.replace("10_000", "4").replace("every=100", "every=2") for block in blocks if "holdfast.session(" in block
    ]
    done = []

    def one_batch(weights: np.ndarray, step: int) -> float:
        done.append(step)
        weights += 1
        if step + 1 == stop:
            os.kill(os.getpid(), signal.SIGTERM)
        return 0.5

    def start() -> np.ndarray:
        close_session()
        names = {"holdfast": holdfast, "weights": np.zeros(3), "one_batch": one_batch}
        try:
            exec(code, names)  # noqa: S102  # the README's
        finally:
            close_session()
        return np.asarray(names["weights"])

    with pytest.raises(SystemExit, match="75"):
        start()
    assert start().tolist() == [4, 4, 4]
    assert done == [0, 1, 2, 3]
    assert len(list(tmp_path.glob("runs/*/complete.json"))) == 1
    (folder,) = tmp_path.glob("runs/*")
    assert [name.step for name in Spool(folder).pairs()] == [4, 2], "no step is stored twice"


def test_a_loop_says_where_it_goes_on_and_where_its_state_is_as_a_fit_does(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    started(tmp_path, 8)
    (run,) = tmp_path.iterdir()
    started(tmp_path)
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("holdfast: ")]
    assert said == [
        f"holdfast: {run}: a new run",
        f"holdfast: stopped by SIGTERM; the state is in {run}; start again to go on (exit 75)",
        f"holdfast: {run}: going on from epoch 0, batch 8 (step 8)",
    ]


def test_the_runs_folder_has_one_for_the_scripts_own_files(tmp_path: Path) -> None:
    with holdfast.session(directory=str(tmp_path)) as run:
        (run.run_dir / "artifacts" / "note.txt").write_text("there")


def test_values_come_back_as_they_were_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given: dict[str, Any] = {"names": ["a", ("b", 1)], "rate": 0.5, "array": np.arange(3), "none": None}
    given["counts"] = defaultdict(lambda: 0, {(1, 2): 4})
    close_session()
    with holdfast.session(directory=str(tmp_path)) as run:
        assert run.resume_from is None
        run.boundary(7, epoch=2, batch=3)
        run.commit({"half": np.ones(2, "float16"), "text": np.array(["x"])}, given, loss=float("inf"))
        run.commit({"half": np.ones(2, "float16"), "text": np.array(["x"])}, given, loss=0.25)
    close_session()
    next(tmp_path.glob("*/complete.json")).unlink()
    state = holdfast.session(directory=str(tmp_path)).resume_from
    close_session()
    assert state is not None
    assert (state.epoch, state.batch, state.step) == (2, 3, 7)
    assert state.arrays["half"].dtype == np.float16
    assert state.arrays["text"].tolist() == ["x"]
    assert state.values["array"].tolist() == [0, 1, 2]
    assert {**state.values, "array": None} == {**given, "array": None}
    assert (
        capsys.readouterr().err.count(
            "in the values of a commit, a defaultdict with a factory of its own comes back as a dict"
        )
        == 1
    )


def test_what_is_not_plain_is_refused_at_once(tmp_path: Path) -> None:
    close_session()
    run = holdfast.session(directory=str(tmp_path))
    with pytest.raises(TypeError, match="object"):
        run.commit({}, {"model": object()})
    close_session()


def test_arrays_without_names_are_refused_in_one_line(tmp_path: Path) -> None:
    close_session()
    run = holdfast.session(directory=str(tmp_path))
    for arrays in ([1, 2], np.zeros(2)):
        with pytest.raises(TypeError, match=r"run\.commit: give a dict of names and arrays, not"):
            run.commit(arrays)  # type: ignore[arg-type]
    close_session()


@pytest.mark.parametrize(
    "given",
    [
        {"arrays": {0: np.zeros(2)}},
        {"arrays": {"a": np.zeros(2)}, "metrics": {1: 2.0}},
        {"arrays": {"a": np.zeros(2, "V4")}},
        {"arrays": {"a": np.array([object()])}},
        {"arrays": {"a": np.zeros(2, [("x", "f4")])}},
    ],
    ids=["a name", "a metric's name", "bytes of no type", "objects", "records"],
)
def test_what_no_start_could_read_back_is_refused_at_once(run: Any, tmp_path: Path, given: dict[str, Any]) -> None:
    run.boundary(6)
    with pytest.raises(TypeError, match=r"^run\.commit: [^\n]+$"):
        run.commit(**given)
    assert resumed(tmp_path).resume_from is None


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"step": -1}, ValueError),
        ({"step": 10**15}, ValueError),
        ({"step": 1, "epoch": -1}, ValueError),
        ({"step": 1, "epoch": 10**9}, ValueError),
        ({"step": 1, "batch": -1}, ValueError),
        ({"step": 1, "batch": 10**15}, ValueError),
        ({"step": 1.5}, TypeError),
        ({"step": 1, "epoch": "one"}, TypeError),
    ],
)
def test_a_boundary_refuses_what_is_no_count(run: Any, given: dict[str, Any], error: type[Exception]) -> None:
    run.boundary(6)
    with pytest.raises(error, match=rf"^run\.boundary: {list(given)[-1]} is [^\n]+$"):
        run.boundary(**given)
    assert run.step == 6, "nothing has changed"


def test_the_largest_counts_come_back(run: Any, tmp_path: Path) -> None:
    run.boundary(10**15 - 1, epoch=10**9 - 1)
    run.commit({"a": np.zeros(2)})
    wait_for(lambda: not run.busy, "the commit is written")
    assert resumed(tmp_path).step == 10**15 - 1


@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.array, tf.constant])
def test_counts_of_numpy_and_tensorflow_are_as_good_as_pythons(run: Any, tmp_path: Path, kind: Any) -> None:
    assert run.boundary(kind(6), epoch=kind(2), batch=kind(1)) is True
    run.commit({"a": np.zeros(2)})
    wait_for(lambda: not run.busy, "the commit is written")
    state = resumed(tmp_path).resume_from
    assert (state.epoch, state.batch, state.step) == (2, 1, 6)
    assert type(state.step) is int


# --- what the boundary answers, and what a commit keeps ------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Any]:
    close_session()
    loop = holdfast.session(every=6, directory=str(tmp_path))
    yield loop
    close_session()


def resumed(directory: Path, every: int = 6) -> Any:
    """The next start of the same run, whether its loop came to an end or not."""
    close_session()
    for mark in directory.glob("*/complete.json"):
        mark.unlink()
    return holdfast.session(every=every, directory=str(directory))


def test_a_stop_is_due_at_the_next_boundary_whatever_the_interval(run: Any) -> None:
    assert not run.boundary(1)
    open_session().request_stop("test")
    assert run.should_stop
    assert run.boundary(2)
    with pytest.raises(SystemExit) as ended:
        run.commit({"a": np.zeros(2)})
    assert ended.value.code == 75


def test_a_save_that_was_asked_for_is_due_once(run: Any) -> None:
    open_session().save_reason = "rebalance"
    assert run.boundary(1)
    run.commit({"a": np.zeros(2)})
    assert not run.boundary(2)


def test_the_interval_counts_from_the_last_commit_also_after_a_restart(run: Any, tmp_path: Path) -> None:
    assert [step for step in range(1, 7) if run.boundary(step)] == [6]
    run.commit({"a": np.zeros(2)})
    assert [step for step in range(7, 13) if run.boundary(step)] == [12]
    wait_for(lambda: not run.busy, "the commit is written")
    again = resumed(tmp_path)
    assert again.step == 6
    assert [step for step in range(7, 13) if again.boundary(step)] == [12]


def test_an_array_that_the_loop_changes_afterwards_is_stored_as_it_was(run: Any, tmp_path: Path) -> None:
    array = np.zeros(1000)
    run.boundary(6)
    run.commit({"a": array})
    array += 1
    wait_for(lambda: not run.busy, "the commit is written")
    assert resumed(tmp_path).resume_from.arrays["a"].sum() == 0


@pytest.mark.parametrize("count", [0, 1, 40_000], ids=["empty", "single", "large"])
@pytest.mark.parametrize("kind", ["f2", "f4", ">f4", "f8", "g", "i1", ">i8", "u2", "?", "c16", "S3", "M8[s]"])
def test_arrays_of_any_type_and_size_come_back(run: Any, tmp_path: Path, kind: str, count: int) -> None:
    array = np.arange(count).astype(kind).reshape(1, -1)[:, ::-1]
    run.boundary(6)
    run.commit({"first": array, "second": np.ones(()), "third": array.T})
    wait_for(lambda: not run.busy, "the commit is written")
    found = resumed(tmp_path).resume_from.arrays
    assert np.array_equal(found["first"], array)
    assert found["first"].dtype == array.dtype.newbyteorder("=")
    assert np.array_equal(found["third"], array.T)


def test_batches_that_no_commit_holds_are_said_and_the_run_is_not_complete(
    run: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with run:
        run.boundary(6)
        run.commit({"a": np.zeros(2)})
        run.boundary(8)
    said = capfd.readouterr().err
    assert "no commit holds the last 2 batches: call run.commit after the last batch too" in said
    assert "could not be written" not in said, "nobody tried"
    close_session()
    assert list(tmp_path.glob("*/complete.json")) == []


def test_a_stop_after_the_last_commit_ends_the_process_before_the_scripts_tail(run: Any, tmp_path: Path) -> None:
    def train() -> None:
        with run:
            run.boundary(6)
            run.commit({"a": np.zeros(2)})
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit, match="75"):
        train()
    close_session()
    assert list(tmp_path.glob("*/complete.json")) == []


def test_a_loop_that_fails_gives_the_signal_back(run: Any) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError), run:
        run.boundary(1 // 0)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_loop_that_is_stopped_takes_a_second_signal_for_the_same(run: Any) -> None:
    before = signal.getsignal(signal.SIGTERM)

    def train() -> None:
        with run:
            os.kill(os.getpid(), signal.SIGTERM)
            run.commit({"a": np.zeros(2)})

    with pytest.raises(SystemExit, match="75"):
        train()
    os.kill(os.getpid(), signal.SIGTERM)
    close_session()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_loop_that_fails_is_not_complete(run: Any, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), run:
        run.boundary(1 // 0)
    close_session()
    assert list(tmp_path.glob("*/complete.json")) == []


def test_a_second_loop_of_a_process_is_refused_before_it_trains_and_costs_the_first_one_nothing(
    tmp_path: Path,
) -> None:
    """No start could tell whose the newest pair is: the first loop went on with the state of the second."""
    with resumed(tmp_path) as first:
        first.boundary(6)
        first.commit({"a": np.ones(2)})
    with pytest.raises(SettingsError, match=r"^this process already has a training: .*one session[^\n]*$"):
        holdfast.session(directory=str(tmp_path))
    assert resumed(tmp_path).resume_from.arrays["a"].tolist() == [1, 1]
    close_session()


def test_a_loop_that_failed_is_not_followed_by_another_in_its_process(run: Any, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), run:
        run.boundary(1 // 0)
    with pytest.raises(SettingsError, match="this process already has a training"):
        holdfast.session(directory=str(tmp_path))


def test_a_wrong_interval_can_be_put_right_in_the_same_process(tmp_path: Path) -> None:
    close_session()
    with pytest.raises(SettingsError, match="every"):
        holdfast.session(every=0, directory=str(tmp_path))
    assert holdfast.session(every=1, directory=str(tmp_path)).step == 0
    close_session()


def test_batches_done_again_are_counted_again(run: Any, tmp_path: Path) -> None:
    for step in (1, 2, 3, 1, 2):
        run.boundary(step)
    [board] = tmp_path.glob(f"*/{Board.FILE}")
    assert Board.read(board)[:4] == (5, 0, 2, 2)
