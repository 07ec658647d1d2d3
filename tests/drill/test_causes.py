"""The cause that a drill names: what is proved, else what is likely, else that it is not known."""

from __future__ import annotations

import pytest

from holdfast.drill.causes import cautions, of_a_difference, of_a_failure, of_an_unequal_reference
from holdfast.drill.compare_runs import DataCompared, Difference

SAME, OTHER = DataCompared(12, "", exact=False), DataCompared(12, "batch 1 of epoch 3", exact=False)
EXACT, UNKNOWN = DataCompared(0, "", exact=True), DataCompared(0, "", exact=False)
DRAWS = (
    "the layer noise draws from tf.random (RandomStandardNormal), and that state cannot be kept: after an interruption "
    "it draws other numbers than it would have; use keras.random.normal(…, seed=self.seed_generator)"
)
AUGMENTS = "resuming …, but the data comes in another order than before: …. It draws from tf.random (RandomUniform): …"
OF_FITS = "those before it are not trained again, and the weights at their ends are not kept"
NOT_KEPT = "the state of callback Counter is not kept"


SEVERAL = "making a batch draws random numbers, so no two runs see the same: give it workers=1"
GENERATOR = (
    "resuming at the right batch, but the generator gives other batches than it gave before: seed what it draws from"
)


@pytest.mark.parametrize(
    ("said", "cause", "remedy"),
    [
        (SEVERAL, "the data: making a batch draws random numbers, so no two runs see the same", "give it workers=1"),
        (GENERATOR, "the data: the generator gives other batches than it gave before", "seed what it draws from"),
    ],
)
def test_data_that_names_itself_comes_with_its_own_remedy(said: str, cause: str, remedy: str) -> None:
    assert of_a_difference([said, said], EXACT, []) == (cause, remedy)
    assert of_an_unequal_reference([], EXACT, [said]) == (cause, remedy)


def test_other_batches_are_a_proof_against_the_data() -> None:
    found = of_a_difference([], OTHER, [])
    assert found.cause.startswith("the data: batch 1 of epoch 3 is not the one")
    assert found.remedy.startswith("seed what shuffles the data: ")


def test_data_that_draws_random_numbers_is_named_so() -> None:
    found = of_a_difference([AUGMENTS], OTHER, [])
    assert "(draws from tf.random (RandomUniform))" in found.cause
    assert found.remedy.startswith("draw by tf.random.stateless_…")


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("the data is cached after it is shuffled, …: …. Put cache() before shuffle()", "put cache() before shuffle()"),
        ("…, so no two runs see the same: set deterministic=True", "set deterministic=True"),
        ("… another order …. Python code that it calls (numpy_function, say) may draw …", "give that code a seed"),
    ],
)
def test_the_remedy_is_the_least_change_to_the_pipeline(said: str, remedy: str) -> None:
    assert of_a_difference([said], OTHER, []).remedy == remedy


@pytest.mark.parametrize("data", [SAME, EXACT, UNKNOWN])
def test_a_layer_that_draws_from_tf_random_is_the_cause_and_not_the_data(data: DataCompared) -> None:
    found = of_a_difference([NOT_KEPT, DRAWS, DRAWS], data, ["x.csv"])
    assert found.cause.startswith("the layer noise draws from tf.random")
    assert "the data" not in found.cause
    assert found.remedy == "use keras.random.normal(…, seed=self.seed_generator)"


def test_two_causes_that_are_both_proved_are_both_named() -> None:
    found = of_a_difference([DRAWS], OTHER, [])
    assert "batch 1 of epoch 3" in found.cause
    assert "the layer noise" in found.cause
    assert "seed what shuffles the data" in found.remedy
    assert "keras.random.normal" in found.remedy


def test_a_callback_whose_state_is_not_kept_comes_before_a_guess_at_files() -> None:
    assert NOT_KEPT in of_a_difference([NOT_KEPT], SAME, ["x.csv"]).cause
    assert "x.csv" in of_a_difference([], SAME, ["x.csv"]).cause


def test_that_earlier_fits_leave_no_weights_is_no_cause() -> None:
    assert "weights" not in of_a_difference([OF_FITS], SAME, []).cause


def test_the_data_is_cleared_where_its_batches_are_the_same() -> None:
    assert "the data is not the cause: 12 batches compared are the same" in of_a_difference([], SAME, []).cause
    assert "the data" not in of_a_difference([], EXACT, []).cause


def test_what_is_not_known_is_said_and_how_to_find_out() -> None:
    found = of_a_difference([], UNKNOWN, [])
    assert found.cause.startswith("not known: the order of the data, which could not be compared, or state")
    assert "if it still differs, it is not the data" in found.remedy


def test_a_training_that_differs_from_itself_is_told_why() -> None:
    weights = [Difference("model[0] dense/kernel", 0.1)]
    generators = [Difference("rest[0] seed_generator/seed_generator_state", 1.0)]
    assert "unseeded layer" in of_an_unequal_reference(generators, OTHER, []).cause
    assert "batch 1 of epoch 3 is another one in each start" in of_an_unequal_reference(weights, OTHER, []).cause
    assert of_an_unequal_reference(weights, SAME, [DRAWS]).cause == (
        "the layer noise draws from tf.random (RandomStandardNormal)"
    )
    assert "unseeded initial weights" in of_an_unequal_reference(weights, SAME, []).cause
    assert "could not be compared" in of_an_unequal_reference(weights, UNKNOWN, []).cause
    assert "data" not in of_an_unequal_reference(weights, EXACT, []).cause


def test_a_file_that_the_failed_machine_speaks_of_is_named() -> None:
    output = ["Traceback …", "FileNotFoundError: No such file: 'out/best.keras'"]
    found = of_a_failure(["log.csv", "out/best.keras"], output)
    assert found.cause.startswith("the script needs out/best.keras, ")
    assert "artifacts" in found.remedy
    assert of_a_failure(["log.csv"], output).cause.startswith("not known. The script wrote log.csv")
    assert of_a_failure([], output).cause.startswith("not known")


def test_an_equal_end_comes_with_each_warning_that_only_an_interruption_led_to() -> None:
    lost = "best.keras is missing: the best model so far is lost"
    [note] = cautions([NOT_KEPT], [NOT_KEPT, lost, lost])
    assert note == f"identical here, but a start after an interruption warned: {lost}"
    assert cautions([NOT_KEPT], [NOT_KEPT]) == []
