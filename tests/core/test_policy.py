from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.checkpoint_name import CheckpointName
from holdfast.core.errors import SettingsError
from holdfast.core.policy import (
    Backoff,
    Best,
    Cadence,
    Owed,
    Retention,
    ask_time,
    must_give_way,
    next_upload,
    superseded,
)

names = st.builds(
    CheckpointName,
    epoch=st.integers(0, 9),
    step=st.integers(0, 999),
    loss=st.just("0.5000"),
    incarnation=st.integers(1, 4),
    save=st.integers(1, 20),
)
pairs = st.lists(names, unique_by=lambda name: name.order, max_size=12)


def pair(incarnation: int, save: int) -> CheckpointName:
    return CheckpointName(1, 100 * save, "0.5000", incarnation, save)


# --- backoff -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failures", "chance", "seconds"),
    [(1, 0.0, 0.5), (1, 1.0, 1.0), (2, 0.5, 1.5), (3, 0.0, 2.0), (7, 0.0, 30.0), (8, 0.5, 45.0), (10_000, 0.0, 30.0)],
)
def test_the_wait_doubles_up_to_a_most_and_half_of_it_is_chance(failures: int, chance: float, seconds: float) -> None:
    assert Backoff(first=1, factor=2, most=60).delay(failures, chance) == seconds


@given(st.integers(1, 10**6), st.floats(0, 1, exclude_max=True))
def test_a_wait_is_never_zero_and_never_above_the_most(failures: int, chance: float) -> None:
    backoff = Backoff(first=0.5, factor=3, most=20)
    assert 0.25 <= backoff.delay(failures, chance) <= 20
    assert backoff.delay(failures, chance) <= backoff.delay(failures + 1, chance)


# --- cadence -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("every", "batches", "seconds", "due"),
    [
        ("epoch", 10**9, 1e9, False),
        (100, 99, 1e9, False),
        (100, 100, 0.0, True),
        (100, 101, 0.0, True),
        (timedelta(minutes=5), 10**9, 299.9, False),
        (timedelta(minutes=5), 0, 300.0, True),
        (timedelta(microseconds=1), 0, 0.1, True),
        ("90s", 10**9, 89.9, False),
        ("1.5m", 0, 90.0, True),
        ("2h", 0, 7200.0, True),
    ],
)
def test_a_pair_is_due_after_its_interval(every: Any, batches: int, seconds: float, due: bool) -> None:
    assert Cadence.of(every).due(batches, seconds) is due


def test_on_a_command_line_a_number_of_batches_is_text_too() -> None:
    assert Cadence.parse("500") == Cadence.of(500)
    assert Cadence.parse("10m") == Cadence.of(timedelta(minutes=10))
    assert Cadence.parse("auto").share == 0.01
    assert Cadence.parse("auto:0.5%").share == 0.005
    for text in ("auto:", "auto:0%", "auto:51%", "auto:1", "auto:-1%", "0", "-1", "10x", "1.5", "m", "", "\u0661"):
        with pytest.raises(SettingsError):
            Cadence.parse(text)


@pytest.mark.parametrize(
    "every", ["batch", "", "10", "10 m", "0s", 0, -1, True, False, 1.5, None, timedelta(0), timedelta(-1), [10]]
)
def test_an_interval_that_makes_no_sense_is_a_wrong_setting(every: Any) -> None:
    with pytest.raises(SettingsError, match="every="):
        Cadence.of(every)


# --- retention and the order of uploads ----------------------------------------------------------------------------


def test_the_newest_pairs_stay_and_the_oldest_goes_first() -> None:
    held = [pair(2, 1), pair(1, 1), pair(1, 10), pair(1, 9), pair(2, 2)]
    assert Retention(2).expendable(held, ()) == [pair(1, 1), pair(1, 9), pair(1, 10)]


def test_a_pair_that_is_owed_to_the_store_stays_however_old_it_is() -> None:
    held = [pair(1, 1), pair(1, 2), pair(1, 3)]
    assert Retention(1).expendable(held, {pair(1, 1)}) == [pair(1, 2)]


def test_what_a_pair_that_stays_needs_stays_too() -> None:
    held = [pair(1, save) for save in range(1, 6)]
    needs = {pair(1, 5): [pair(1, 2), pair(1, 9)], pair(1, 4): [pair(1, 1)]}
    assert Retention(1).expendable(held, needs=lambda name: needs.get(name, ())) == [pair(1, 1), pair(1, 3), pair(1, 4)]


@given(pairs, st.integers(1, 15), st.data())
def test_what_retention_lets_go_is_older_than_all_that_it_keeps_for_their_age(
    held: list[CheckpointName], last: int, data: st.DataObject
) -> None:
    owed = data.draw(st.sets(st.sampled_from(held))) if held else set()
    gone = Retention(last).expendable(held, owed)
    kept = [name for name in held if name not in gone]
    assert len(kept) >= min(last, len(held))
    assert owed <= set(kept)
    assert gone == sorted(gone, key=lambda name: name.order)
    newest = sorted(held, key=lambda name: name.order, reverse=True)[:last]
    assert set(kept) == owed | set(newest)


def owing(save: int, size: int = 100, lasting: bool = True) -> Owed:
    return Owed(pair(1, save), size, lasting)


NOTHING_STORED = (0, 0)


@given(pairs)
def test_the_newest_pair_is_brought_to_the_store_first(names: list[CheckpointName]) -> None:
    owed = [Owed(name, 100, lasting=True) for name in names]
    first = next_upload(owed, NOTHING_STORED, None, None)
    assert (first is None) == (not owed)
    assert all(first.name.order >= name.order for name in names if first is not None)


@pytest.mark.parametrize(("rate", "left"), [(None, 0.0), (1.0, 0.0), (1.0, -5.0)])
def test_the_newest_pair_is_tried_however_little_time_is_left(rate: float | None, left: float) -> None:
    assert next_upload([owing(1), owing(2)], NOTHING_STORED, rate, left) == owing(2)


def test_a_pair_older_than_what_is_stored_must_make_it_before_the_deadline() -> None:
    stored = pair(1, 9).order
    assert next_upload([owing(1), owing(2, size=1000)], stored, 10.0, 20.0) == owing(1)
    assert next_upload([owing(1), owing(2)], stored, 10.0, 9.0) is None
    assert next_upload([owing(1), owing(2)], stored, None, 9.0) == owing(2)
    assert next_upload([owing(1), owing(2)], stored, 10.0, None) == owing(2)


def test_what_the_newest_pair_needs_is_not_superseded() -> None:
    newest = Owed(pair(1, 9), 100, lasting=False, needs=(pair(1, 4),))
    assert superseded([newest, owing(4, lasting=False), owing(3, lasting=False)]) == [owing(3, lasting=False)]


def test_of_pairs_that_only_serve_to_go_on_from_all_but_the_newest_are_superseded() -> None:
    owed = [owing(4, lasting=False), owing(1, lasting=False), owing(2), owing(3, lasting=False)]
    assert superseded(owed) == [owing(1, lasting=False), owing(3, lasting=False)]
    assert superseded([owing(1, lasting=False)]) == []
    assert superseded([]) == []


def test_a_pair_whose_loss_is_not_finite_takes_the_place_of_none_that_a_training_can_resume_from() -> None:
    usable = Owed(pair(1, 8), 100, lasting=False, needs=(pair(1, 3),))
    broken = Owed(replace(pair(1, 9), loss="nan"), 100, lasting=False)
    owed = [broken, usable, owing(7, lasting=False), owing(3, lasting=False)]
    assert superseded(owed) == [owing(7, lasting=False)]
    assert next_upload(owed, NOTHING_STORED, 10.0, 10.0) == usable


@pytest.mark.parametrize(
    ("rate", "left", "gives_way"), [(10, 20, False), (10, 19.9, True), (None, 1e9, True), (0, 1, True)]
)
def test_an_upload_gives_way_if_it_and_the_newest_cannot_both_make_it(
    rate: float | None, left: float, gives_way: bool
) -> None:
    assert must_give_way(rest=50, newest=150, rate=rate, left=left) is gives_way


# --- the drain's time ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("window", "seconds"), [(110, 66), (100, 60), (10, 6), (1, 1), (0, 1)])
def test_a_child_gets_the_greater_part_of_the_drain_but_leaves_some_for_the_upload(
    window: float, seconds: float
) -> None:
    assert ask_time(window) == pytest.approx(seconds)


def test_what_no_rule_limits_stays() -> None:
    assert Retention().expendable([pair(1, 1), pair(1, 2)]) == []


def test_pairs_that_no_restart_could_use_do_not_push_usable_ones_out() -> None:
    usable = [pair(1, save) for save in (1, 2, 3)]
    diverged = [CheckpointName(9, 90, "nan", 1, save) for save in (4, 5, 6)]
    assert Retention(2).expendable([*usable, *diverged]) == [usable[0], diverged[0]]


def test_every_second_epoch_keeps_the_first_pair_of_those_epochs() -> None:
    held = [CheckpointName(step // 10, step, "0.5000", 1, step // 5) for step in range(5, 55, 5)]
    kept = set(held) - set(Retention(1, every=2).expendable(held))
    assert sorted((name.epoch, name.step) for name in kept) == [(2, 20), (4, 40), (5, 50)]


def test_the_best_pair_stays_by_the_loss_in_its_name_or_by_another_metric() -> None:
    held = [
        CheckpointName(save, 10 * save, loss, 1, save) for save, loss in enumerate(("0.9000", "0.2000", "0.5000"), 1)
    ]
    assert set(held) - set(Retention(1, best=Best()).expendable(held)) == {held[1], held[2]}
    accuracy = {held[0]: 0.99, held[1]: None, held[2]: 0.5}
    greatest = Retention(1, best=Best.of("val_accuracy:max"))
    assert set(held) - set(greatest.expendable(held, metrics=accuracy.get)) == {held[0], held[2]}


def test_a_best_pair_whose_loss_is_unknown_or_not_finite_is_none() -> None:
    losses = ("none", "nan", "0.5000", "none")
    held = [CheckpointName(save, save, loss, 1, save) for save, loss in enumerate(losses, 1)]
    assert Retention(1, best=Best()).expendable(held) == held[:2]


@pytest.mark.parametrize("keep", [Retention(best=Best()), Retention(1, 2, Best.of("vall_accuracy:max"))])
def test_a_best_metric_that_no_pair_has_lets_nothing_go(keep: Retention) -> None:
    held = [CheckpointName(save, save, loss, 1, save) for save, loss in enumerate(("none", "nan", "none"), 1)]
    assert keep.expendable(held, metrics=lambda name: None) == []


@pytest.mark.parametrize(
    "metric",
    [
        "loss",
        "val_loss",
        "head_loss",
        "error",
        "mae",
        "val_mae",
        "mse",
        "rmse",
        "mean_squared_error",
        "binary_crossentropy",
        "mse_1",
    ],
)
def test_of_losses_and_errors_the_least_is_best(metric: str) -> None:
    assert Best.of(metric) == Best(metric, greatest=False)
    assert Best.of(f"{metric}:max").greatest


@pytest.mark.parametrize(
    "metric",
    [
        "acc",
        "accuracy",
        "val_accuracy",
        "sparse_categorical_accuracy",
        "auc",
        "val_auc",
        "auc_2",
        "precision",
        "recall",
        "f1_score",
    ],
)
def test_of_accuracies_and_their_like_the_greatest_is_best(metric: str) -> None:
    assert Best.of(metric) == Best(metric, greatest=True)
    assert not Best.of(f"{metric}:min").greatest


@pytest.mark.parametrize("metric", ["reward", "val_reward", "neg_mse", "lossy", "accuracy_at_5"])
def test_which_is_best_by_a_metric_that_is_not_known_has_to_be_said(metric: str) -> None:
    with pytest.raises(SettingsError, match=f"^--keep-best {metric}: say {metric}:min or {metric}:max$"):
        Best.of(metric)
    assert (Best.of(f"{metric}:min").greatest, Best.of(f"{metric}:max").greatest) == (False, True)


@pytest.mark.parametrize("text", ["", ":max", "loss:least", "a:b:c"])
def test_a_best_metric_that_cannot_be_is_a_settings_error(text: str) -> None:
    with pytest.raises(SettingsError, match="val_accuracy:max"):
        Best.of(text)
