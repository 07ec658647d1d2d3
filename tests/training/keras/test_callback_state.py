"""The state of other callbacks, taken and given back without a training."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from holdfast.core import restricted_pickle
from holdfast.core.errors import InvalidPair
from holdfast.training.keras.callback_state import (
    continue_csv_files,
    flush,
    overwrite_steps,
    read_states,
    set_states,
    to_entries,
)

kept = keras.callbacks


class Mine(kept.Callback):
    """A user's own, with a state."""

    def __init__(self, state: Any = None) -> None:
        super().__init__()
        self.state = state

    def get_state(self) -> Any:
        return self.state

    def set_state(self, state: Any) -> None:
        self.state = state


class Forgetful(kept.Callback):
    """A user's own that counts, and offers nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 3


class Patient(kept.EarlyStopping):
    """Derived from Keras' own."""


def taken(*callbacks: Any) -> tuple[list[dict[str, Any]], list[str]]:
    said: list[str] = []
    return to_entries(callbacks, read_states(callbacks), said.append), said


def test_a_state_comes_back_to_the_callback_of_its_class_in_order() -> None:
    entries, said = taken(Mine(1), Patient(), Mine({"a": np.arange(3)}))
    assert said == []
    assert [entry["class"] for entry in entries] == ["Mine", "Patient", "Mine"]
    first, second = Mine(), Mine()
    set_states([first, Patient(), second], entries, pytest.fail)
    assert first.state == 1
    assert second.state["a"].tolist() == [0, 1, 2]


def test_of_keras_own_what_changes_is_kept_also_for_those_derived_from_them() -> None:
    before = Patient(patience=9)
    before.wait, before.best, before.best_epoch, before.stopped_epoch, before.best_weights = 4, 0.5, 2, 7, [np.ones(2)]
    entries, said = taken(before)
    after = Patient(patience=3)
    set_states([after], entries, pytest.fail)
    assert (after.wait, after.best, after.best_epoch, after.stopped_epoch) == (4, 0.5, 2, 7)
    assert after.best_weights[0].tolist() == [1, 1]
    assert after.patience == 3, "its settings are the script's"
    assert said == []


def test_only_what_changes_in_a_training_is_taken_from_a_file() -> None:
    callback = kept.EarlyStopping(patience=3)
    callback.best = 1.0
    set_states([callback], [{"class": "EarlyStopping", "state": {"patience": 99, "best": 0.25}}], pytest.fail)
    assert (callback.patience, callback.best) == (3, 0.25)
    set_states([callback], [{"class": "EarlyStopping", "state": [1, 2]}], pytest.fail)
    set_states([callback], [{"class": "EarlyStopping", "state": None}], pytest.fail)
    assert callback.best == 0.25


def test_of_callbacks_that_have_no_state_none_is_kept() -> None:
    entries, said = taken(kept.TerminateOnNaN(), kept.LearningRateScheduler(lambda epoch: 0.1), Mine(), Forgetful())
    assert [entry["state"] for entry in entries] == [None] * 4
    assert said == [], "what a callback counts is found elsewhere"


def test_a_callback_that_is_new_in_the_script_begins_with_its_own_state() -> None:
    callbacks = [Mine(5), Mine(6), Mine(7)]
    set_states(callbacks, [{"class": "Mine", "state": 1}, {"class": "Mine", "state": None}], pytest.fail)
    assert [mine.state for mine in callbacks] == [1, 6, 7]


@pytest.mark.parametrize("half", ["get_state", "set_state"])
def test_half_an_offer_to_be_kept_is_none(half: str) -> None:
    callback = Forgetful()
    setattr(callback, half, pytest.fail)
    assert taken(callback)[0] == [{"class": "Forgetful", "state": None}]


def test_a_state_that_is_not_plain_is_named_and_left_out() -> None:
    entries, said = taken(Mine(object()), Mine(2))
    assert [entry["state"] for entry in entries] == [None, 2]
    assert len(said) == 1
    assert "the callback Mine is not kept: it holds" in said[0]


def test_a_state_whose_callback_is_gone_is_named_once() -> None:
    said: list[str] = []
    entries, _ = taken(Mine(1), Mine(2), Mine(None), kept.TerminateOnNaN())
    mine = Mine()
    set_states([mine], entries, said.append)
    assert mine.state == 1
    assert said == ["the checkpoint holds the state of a Mine that the script no longer uses"]
    said.clear()
    set_states([], [{"class": "Mine", "state": None}], said.append)
    assert said == [], "it had none"


@pytest.mark.parametrize("entry", [{}, {"class": "Mine"}, {"state": 1}, 3, None, "text"])
def test_a_malformed_entry_is_an_invalid_pair(entry: Any) -> None:
    with pytest.raises(InvalidPair, match="malformed"):
        set_states([Mine()], [entry], pytest.fail)


def test_a_csv_file_is_cut_to_what_it_had_and_continued(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    logger = kept.CSVLogger(str(path))
    assert taken(logger)[0] == [{"class": "CSVLogger", "state": {"size": 0}}], "there is no file yet"
    logger.csv_file = path.open("w")
    logger.csv_file.write("epoch,loss\n0,1.5\n")
    entries, _ = taken(logger)
    assert entries[0]["state"] == {"size": 17}, "also what was not flushed"
    logger.csv_file.write("1,1.2\n")
    logger.csv_file.close()
    again = kept.CSVLogger(str(path))
    continue_csv_files([Mine(), again], entries)
    assert again.append
    assert path.read_text() == "epoch,loss\n0,1.5\n"


def test_a_csv_file_that_is_shorter_or_gone_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("epoch\n")
    for state in ({"size": 100}, {"size": 6}, {}, None):
        continue_csv_files([kept.CSVLogger(str(path))], [{"class": "CSVLogger", "state": state}])
    continue_csv_files([kept.CSVLogger(str(tmp_path / "gone.csv"))], [{"class": "CSVLogger", "state": {"size": 1}}])
    assert path.read_text() == "epoch\n"
    assert not (tmp_path / "gone.csv").exists()


def test_what_tensorboard_wrote_reaches_its_files() -> None:
    flushed: list[str] = []

    class Writer:
        def flush(self) -> None:
            flushed.append("flushed")

    board = kept.TensorBoard()
    board._writers = {"train": Writer(), "validation": Writer()}
    flush([Mine(), board])
    assert flushed == ["flushed"] * 2


class Tracked(list[Any]):
    """As Keras makes one of a list that is stored on a model."""


def test_a_list_of_another_kind_is_kept_as_a_list() -> None:
    entries, said = taken(Mine(Tracked([np.float32(1), np.ones(2)])))
    restricted_pickle.dumps(entries)
    assert said == []


def nested(depth: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


ENDLESS: list[Any] = []
ENDLESS.append(ENDLESS)


UNFIT = {
    "deep": nested(restricted_pickle.MAX_DEPTH - 2),
    "deeper": nested(2000),
    "endless": ENDLESS,
    "key": {((1,),): 2},
}


@pytest.mark.parametrize("kind", UNFIT)
def test_a_state_that_no_pair_can_hold_is_left_out_and_keeps_no_pair_from_being_written(kind: str) -> None:
    entries, said = taken(Mine(UNFIT[kind]), Mine(2))
    restricted_pickle.dumps({"callbacks": entries})
    assert [entry["state"] for entry in entries] == [None, 2]
    assert "the callback Mine is not kept: it holds" in said[0]


class Checkpointer:
    """Orbax's: it refuses a step that is there already, unless it may overwrite it."""

    def __init__(self) -> None:
        self.saved: list[tuple[int, bool]] = []

    def save_checkpointables(self, step: int, payload: Any, overwrite: bool = False) -> None:
        self.saved.append((step, overwrite))

    save_checkpointables_async = save_checkpointables


class OrbaxCheckpoint(kept.Callback):
    """What Keras' own has of state. (It needs a package that nothing else here needs.)"""

    def __init__(self) -> None:
        super().__init__()
        self.checkpointer, self.finished = Checkpointer(), 0
        self._last_batch_seen: int | None = None
        self._batches_seen_since_last_saving = self._total_batches_seen = 0

    def wait_until_finished(self) -> None:
        self.finished += 1


OrbaxCheckpoint.__module__ = "keras.src.callbacks.orbax_checkpoint"


def test_orbax_goes_on_with_its_numbers_and_stores_again_what_is_done_again() -> None:
    before, after = OrbaxCheckpoint(), OrbaxCheckpoint()
    before._last_batch_seen, before._batches_seen_since_last_saving, before._total_batches_seen = 4, 1, 13
    entries, _ = taken(before)
    set_states([after], entries, pytest.fail)
    assert (after._last_batch_seen, after._batches_seen_since_last_saving, after._total_batches_seen) == (4, 1, 13)
    overwrite_steps([after, Mine()])
    after.checkpointer.save_checkpointables_async(15, {})
    assert after.checkpointer.saved == [(15, True)]
    flush([after])
    assert after.finished == 1


# --- a best model whose file was lost --------------------------------------------------------------------------------


def checkpoint(path: Path, best: float | None = None) -> keras.callbacks.ModelCheckpoint:
    made = keras.callbacks.ModelCheckpoint(str(path), monitor="val_loss", save_best_only=True, mode="min")
    made.best = best
    return made


def restored(path: Path, entries: Any, say: Callable[[str], None]) -> keras.callbacks.ModelCheckpoint:
    fresh = checkpoint(path)
    set_states([fresh], entries, say)
    return fresh


def entries_of(callback: Any) -> Any:
    return to_entries([callback], read_states([callback]), no_words)


def no_words(text: str) -> None:
    raise AssertionError(text)


def test_a_best_value_whose_file_is_there_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "best.keras"
    path.write_bytes(b"a model")
    entries = entries_of(checkpoint(path, 0.25))
    assert restored(path, entries, no_words).best == 0.25
    path.write_bytes(b"one of a later epoch")
    os.utime(path, (4e9, 4e9))
    assert restored(path, entries, no_words).best == 0.25


@pytest.mark.parametrize("lost", ["missing", "older"])
def test_a_best_value_whose_file_was_lost_is_not_restored_and_said(tmp_path: Path, lost: str) -> None:
    path = tmp_path / "best.keras"
    path.write_bytes(b"a model")
    entries = entries_of(checkpoint(path, 0.25))
    if lost == "missing":
        path.unlink()
    else:
        os.utime(path, (1e9, 1e9))
    said: list[str] = []
    assert restored(path, entries, said.append).best is None
    (line,) = said
    assert str(path) in line
    assert lost in line
    assert "val_loss 0.25" in line


def test_a_best_value_goes_back_to_the_scripts_own_threshold(tmp_path: Path) -> None:
    entries = entries_of(checkpoint(tmp_path / "best.keras", 0.25))
    fresh = checkpoint(tmp_path / "best.keras", 0.5)
    set_states([fresh], entries, lambda text: None)
    assert fresh.best == 0.5


def test_a_threshold_that_no_model_was_better_than_has_no_file_to_miss(tmp_path: Path) -> None:
    path = tmp_path / "best.keras"
    fresh = checkpoint(path, 0.5)
    set_states([fresh], entries_of(checkpoint(path, 0.5)), no_words)
    assert fresh.best == 0.5


def test_where_each_best_model_has_a_file_of_its_own_none_is_missed(tmp_path: Path) -> None:
    path = tmp_path / "{epoch}.keras"
    assert restored(path, entries_of(checkpoint(path, 0.25)), no_words).best == 0.25


def test_a_lost_best_model_that_is_the_checkpoints_own_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "artifacts" / "best.keras"
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    entries = entries_of(checkpoint(tmp_path / "gone.keras", 0.25))
    fresh, said = checkpoint(path), list[str]()
    fresh.set_model(model)
    set_states([fresh], entries, said.append, {"val_loss": 0.25})
    assert fresh.best == 0.25
    assert "written again, as the checkpoint is of that best model" in said[0]
    read = keras.models.load_model(path)
    assert [w.tolist() for w in read.get_weights()] == [w.tolist() for w in model.get_weights()]
    set_states([checkpoint(path.with_name("other.keras"))], entries, said.append, {"val_loss": 0.5})
    assert "is lost" in said[1]
