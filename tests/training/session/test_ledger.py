"""Which training is which, from one start of a command to the next: nothing but plain values."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.core.checkpoint_name import CheckpointName
from holdfast.core.errors import InvalidPair
from holdfast.training.pair.pair_files import Position, Saved
from holdfast.training.session.identity import Identity
from holdfast.training.session.ledger import Ledger, TrainingRecord, ledger_of

BASE: Identity = {
    "kind": "fit",
    "script": "train.py",
    "arguments": "a",
    "command": "c",
    "source": "s",
    "site": [["__main__", "main"]],
    "text": "t",
    "lines": [10],
    "loops": [],
    "model": "m",
    "layers": "l",
    "optimizer": "Adam",
    "rate": 0.001,
    "compile": "o",
    "epochs": 3,
    "seed": None,
    "data": None,
    "weights": [1.0],
}


def name_of(save: int, loss: str = "0.5000") -> CheckpointName:
    return CheckpointName(1, save, loss, 1, save)


def fit(**changed: Any) -> Identity:
    return {**BASE, **changed}


def known(*fits: Identity, done: bool = True) -> Ledger:
    """As a later start reads it: finished fits, unless ``done`` is False."""
    return Ledger(TrainingRecord(one, name_of(save), done=done) for save, one in enumerate(fits, 1))


def begins(ledger: Ledger, identity: Identity, **given: Any) -> int | None:
    """Which of the known it is, by its pair; None for a new one. It is then trained to its end."""
    record, _ = ledger.begin(identity, **given)
    number = record.pair.save if record.pair else None
    ledger.finish()
    return number


# --- the same again --------------------------------------------------------------------------------------------------


def test_each_fit_of_a_script_is_found_again() -> None:
    first, second = fit(lines=[10]), fit(lines=[20])
    ledger = known(first, second)
    assert [begins(ledger, first), begins(ledger, second), begins(ledger, fit(lines=[30]))] == [1, 2, None]


def test_equal_fits_are_told_apart_by_their_order() -> None:
    ledger = known(fit(), fit())
    assert [begins(ledger, fit()) for _ in range(3)] == [1, 2, None]


def test_a_fit_without_a_seed_is_the_same_with_other_initial_weights() -> None:
    assert begins(known(fit()), fit(weights=[0.3])) == 1


def test_numbers_that_another_machine_rounds_otherwise_are_the_same() -> None:
    ledger = known(fit(seed=1, data=[[2, 2], "float32", [0.5, 1.0]]))
    assert begins(ledger, fit(seed=1, weights=[1.0000004], data=[[2, 2], "float32", [0.5000001, 1.0]])) == 1


def test_what_another_process_of_this_start_has_finished_is_not_found_again() -> None:
    record = TrainingRecord(fit(), name_of(1), done=True)
    assert begins(Ledger([record], claimed=[0]), fit()) is None


def test_what_another_process_of_this_start_left_unfinished_is_found_again() -> None:
    record = TrainingRecord(fit(), name_of(1), done=False)
    assert begins(Ledger([record], claimed=[0]), fit()) == 1


# --- never another's -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "another",
    [
        {"model": "other"},
        {"optimizer": "SGD"},
        {"loops": [["fold", "b"]]},
        {"data": [[2], "int64", [7, 8]]},
        {"seed": 2},
        {"rate": 0.01},
        {"layers": "other"},
        {"compile": "other"},
        {"lines": [11]},
        {"arguments": "b"},
        {"script": "b.py"},
        {"epochs": 6},
        {"kind": "loop"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_a_finished_fit_is_not_given_to_another_that_the_script_goes_on_to(another: dict[str, Any]) -> None:
    """As of a tuner that skips the trials it has done: nothing was edited."""
    before = fit(loops=[["fold", "a"]], data=[[2], "int64", [1, 2]], seed=1)
    assert begins(known(before), {**before, **another}) is None


@pytest.mark.parametrize(("before", "now", "given"), [("b", "a", 2), ("b", "c", None), ("d", "a", None)])
def test_a_loss_is_as_it_was_before_a_skipped_fit_that_changed_it(before: str, now: str, given: int | None) -> None:
    ledger = known(fit(lines=[1], loss="a", loss_at_end="b"), fit(lines=[2], loss=before))
    assert begins(ledger, fit(lines=[1], loss="a")) == 1
    assert begins(ledger, fit(lines=[2], loss=now)) == given


def test_a_trial_with_another_loss_is_another_where_no_fit_was_skipped() -> None:
    ledger = known(fit(lines=[1], loss="a", loss_at_end="b"), fit(lines=[2], loss="b"))
    assert begins(ledger, fit(lines=[2], loss="a")) is None


def test_a_seeded_fit_with_other_initial_weights_is_another() -> None:
    assert begins(known(fit(seed=1)), fit(seed=1, weights=[2.0])) is None


def test_an_unfinished_fit_is_not_given_to_another_that_this_start_comes_to_later() -> None:
    ledger = known(fit(), done=False)
    record, _ = ledger.begin(fit())
    assert record.pair == name_of(1)
    assert begins(ledger, fit(rate=0.1)) is None


def test_a_turn_of_a_loop_is_another_training_even_if_the_script_was_edited() -> None:
    assert begins(known(fit(loops=[["i", "0"]])), fit(loops=[["i", "1"]], source="edited", epochs=9)) is None


@pytest.mark.parametrize("done", [True, False], ids=["finished", "unfinished"])
def test_a_stage_that_is_skipped_gives_nothing_to_the_next_script(done: bool) -> None:
    """As of ``[ -f pre.out ] || python pre.py; python train.py``: two main files differ, and nobody edited one."""
    ledger = known(fit(script="pre.py", source="p"), done=done)
    assert begins(ledger, fit(script="train.py", source="t", epochs=6)) is None
    assert not ledger.diverged


@pytest.mark.parametrize("done", [True, False], ids=["finished", "unfinished"])
def test_a_script_of_another_name_in_another_command_goes_on(done: bool) -> None:
    another = fit(script="train2.py", source="t", command="edited", epochs=6)
    assert begins(known(fit(), done=done), another) == 1


def test_what_could_be_either_of_two_is_neither() -> None:
    ledger = known(fit(lines=[10]), fit(lines=[20]), done=False)
    assert begins(ledger, fit(lines=[15])) is None


# --- edits and extensions --------------------------------------------------------------------------------------------


def test_an_unfinished_fit_resumes_with_another_rate_and_says_so() -> None:
    record, differences = known(fit(), done=False).begin(fit(rate=0.1, lines=[12]))
    assert (record.pair, differences) == (name_of(1), ["lines", "rate"])


def test_a_finished_fit_is_extended() -> None:
    assert begins(known(fit()), fit(epochs=6, rate=0.1), extended=True) == 1
    assert begins(known(fit()), fit(epochs=6, rate=0.1, source="edited")) == 1
    assert begins(known(fit()), fit(epochs=6, command="edited", arguments="b")) == 1


def test_an_extension_of_as_many_epochs_takes_no_other_settings() -> None:
    assert begins(known(fit()), fit(rate=0.1), extended=True) is None


def test_lines_that_an_edit_moved_are_found_by_their_text() -> None:
    ledger = known(fit(text="a", lines=[10]), fit(text="b", lines=[20]))
    edited = [fit(text="a", lines=[12], source="edited"), fit(text="b", lines=[22], source="edited")]
    assert [begins(ledger, one) for one in edited] == [1, 2]


def test_a_fit_that_does_not_fit_any_more_is_given_its_pair_so_that_it_is_refused() -> None:
    assert begins(known(fit(), done=False), fit(model="other", source="edited")) == 1
    assert begins(known(fit(), done=False), fit(model="other")) == 1
    assert begins(known(fit()), fit(model="other", source="edited")) is None, "but not a finished one"


def test_what_was_built_upon_an_earlier_fit_is_stale_once_that_is_trained_further() -> None:
    first, second = fit(lines=[10]), fit(lines=[20], weights=[5.0])
    ledger = known(first, second)
    assert begins(ledger, {**first, "epochs": 6}, extended=True) == 1
    ledger.trains()
    assert begins(ledger, {**second, "weights": [6.0]}) is None


def test_what_began_with_the_same_weights_is_not_stale() -> None:
    first, second = fit(lines=[10]), fit(lines=[20], weights=[5.0])
    ledger = known(first, second)
    ledger.begin({**first, "epochs": 6}, extended=True)
    ledger.trains()
    ledger.finish()
    assert begins(ledger, second) == 2


# --- called again in one process -------------------------------------------------------------------------------------


class Model:
    pass


def raised(identity: Identity, model: Model) -> Ledger:
    ledger = Ledger()
    ledger.begin(identity, holder=model)
    ledger.saved(name_of(7))
    return ledger


def test_a_fit_that_raised_is_the_same_when_its_model_is_fitted_again() -> None:
    model = Model()
    again = fit(seed=1, lines=[30], text="u", weights=[4.0], epochs=5)
    record, _ = raised(fit(seed=1), model).begin(again, holder=model)
    assert record.pair == name_of(7)


def test_a_fit_that_raised_is_the_same_when_it_is_called_again_with_a_new_model() -> None:
    assert raised(fit(seed=1), Model()).begin(fit(seed=1, weights=[4.0]), holder=Model())[0].pair == name_of(7)


@pytest.mark.parametrize("another", [{"rate": 0.1}, {"loops": [["trial", "1"]]}, {"lines": [30]}])
def test_another_fit_after_one_that_raised_is_another(another: dict[str, Any]) -> None:
    ledger = raised(fit(loops=[["trial", "0"]]), Model())
    assert ledger.begin(fit(**{"loops": [["trial", "0"]], **another}), holder=Model())[0].pair is None


def test_a_model_whose_fit_raised_and_that_is_given_other_data_is_fitted_anew() -> None:
    model = Model()
    ledger = raised(fit(data=[[2], "int64", [1, 2]]), model)
    assert ledger.begin(fit(data=[[2], "int64", [3, 4]]), holder=model)[0].pair is None


# --- in a pair -------------------------------------------------------------------------------------------------------


def saved(facts: dict[str, Any], *needs: CheckpointName) -> Saved:
    return Saved(Position(1, 0, 8), {}, facts, needs)


def test_a_pair_holds_the_whole_ledger_and_names_the_pairs_of_the_others() -> None:
    ledger = known(fit(lines=[1]), fit(lines=[2]))
    ledger.begin(fit(lines=[3]))
    ledger.saved(name_of(9))
    assert ledger.needs() == (name_of(1), name_of(2))
    read = ledger_of(saved(ledger.facts(), *ledger.needs()), name_of(10), done=False)
    assert [(one.identity, one.pair, one.done) for one in read.records] == [
        (fit(lines=[1]), name_of(1), True),
        (fit(lines=[2]), name_of(2), True),
        (fit(lines=[3]), name_of(10), False),
    ]


def test_a_loss_that_is_not_finite_is_the_last_state_of_a_finished_fit_and_of_no_other() -> None:
    ledger = Ledger()
    record, _ = ledger.begin(fit())
    ledger.saved(name_of(1))
    ledger.saved(name_of(2, "nan"))
    assert record.pair == name_of(1)
    ledger.finish()
    assert record.pair == name_of(2, "nan")


def test_fits_of_early_versions_are_found_by_their_number() -> None:
    early = {"fit": 1, "fits": [{"epoch": [0], "history": {"loss": [0.5]}}]}
    ledger = ledger_of(saved(early), name_of(4), done=False)
    first, _ = ledger.begin(fit(lines=[10]))
    assert (first.pair, first.history) == (None, early["fits"][0])
    ledger.finish()
    assert ledger.begin(fit(lines=[20]))[0].pair == name_of(4)


@pytest.mark.parametrize(
    "facts",
    [
        {"fit": 0, "fits": 7},
        {"fit": -1, "fits": []},
        {"fit": 0, "fits": [7]},
        {"fit": 0, "fits": [{"identity": 7, "done": True}]},
        {"fit": 0, "fits": [{"identity": {}, "done": 1}]},
        {"fit": 0, "fits": [{"identity": {}, "done": True, "needs": 0}]},
        {"fit": 0, "fits": [{"identity": {}, "done": True, "needs": -1}]},
        {"fit": 0, "fits": [{"identity": {}, "done": True, "history": 3}]},
    ],
)
def test_a_malformed_ledger_is_an_invalid_pair(facts: dict[str, Any]) -> None:
    with pytest.raises(InvalidPair, match="which trainings the run has"):
        ledger_of(saved(facts), name_of(1), done=True)
