"""Which variable is which, and what is said when a checkpoint and a model differ. No training is needed for that."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest

from holdfast.core.errors import Mismatch
from holdfast.training.keras import variables
from holdfast.training.keras.variables import Part, assign, assign_matching, collect, is_metric
from holdfast.training.pair.pair_files import Place

layers = keras.layers


@pytest.fixture(autouse=True)
def names_begin_anew() -> Iterator[None]:
    keras.utils.clear_session(free_memory=False)
    yield
    keras.utils.clear_session(free_memory=False)


def model_of(units: int = 3, name: str = "mine") -> keras.Model:
    model = keras.Sequential([layers.Input((2,)), layers.Dense(units, name=name), layers.Dropout(0.5, seed=1)])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse", metrics=["mae"])
    return model


def values_of(parts: dict[Place, Part]) -> dict[Place, tuple[str, np.ndarray]]:
    return {place: (part.path, np.asarray(part.read())) for place, part in parts.items()}


def filled(values: dict[Place, tuple[str, np.ndarray]], number: int) -> dict[Place, tuple[str, np.ndarray]]:
    return {place: (path, np.full_like(value, number)) for place, (path, value) in values.items()}


class Copied:
    """A variable with a copy on each replica, as under a distribution strategy."""

    def __init__(self, path: str, *values: float) -> None:
        self.path, self.shape, self.dtype = path, (1,), "float32"
        self.value = self
        self.values = [keras.Variable(np.array([value], "float32")).value for value in values]


def copies(*values: float, group: str = "model") -> dict[Place, Part]:
    """What ``collect`` finds of a model with one such variable."""

    class Model:
        train_step = keras.Model.train_step
        variables = (Copied("norm/mean", *values),) if group == "model" else ()
        metrics_variables = (Copied("loss", *values),) if group == "metrics" else ()

    return collect(Model())


def test_every_variable_has_its_group_and_place() -> None:
    model = model_of()
    variables.build_optimizers(model)
    found = {(place.group, place.index): part.path for place, part in collect(model).items()}
    ends = {
        ("model", 0): "mine/kernel",
        ("model", 1): "mine/bias",
        ("model", 2): "seed_generator_state",
        ("optimizer", 0): "iteration",
        ("optimizer", 1): "learning_rate",
        ("optimizer", 2): "mine_kernel_momentum",
        ("optimizer", 3): "mine_bias_momentum",
    }
    assert {key for key in found if key[0] != "metrics"} == set(ends)
    assert [found[key] for key in ends if not found[key].endswith(ends[key])] == []


def test_further_optimizers_are_groups_of_their_own_and_none_counts_twice() -> None:
    model = model_of()
    model.main = model.optimizer
    model.second = keras.optimizers.SGD(0.5)
    assert list(variables.optimizers(model)) == ["optimizer", "optimizer:second"]
    places = list(collect(model))
    assert len([place for place in places if place.group == "optimizer:second"]) == 2
    assert len({id(part.variable) for part in collect(model).values()}) == len(places)


def test_optimizers_in_lists_and_dicts_are_found_with_the_key_that_they_have_there() -> None:
    model = model_of()
    model.pair = [keras.optimizers.SGD(0.1), "no optimizer", keras.optimizers.SGD(0.2)]
    model.named = {"late": (model.pair[0], keras.optimizers.SGD(0.3)), "self": model}
    found = list(variables.optimizers(model))
    assert found == ["optimizer", "optimizer:named.late.0", "optimizer:named.late.1", "optimizer:pair.2"]


class Adversaries(keras.Model):
    """A model of two compiled ones, trained by a step of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.generator, self.discriminator = model_of(name="g"), model_of(name="d")

    def train_step(self, data: Any) -> Any:
        return {}


def test_the_optimizers_of_compiled_models_inside_are_found_where_the_step_may_use_them() -> None:
    model = Adversaries()
    model.compile("adam")
    found = list(variables.optimizers(model))
    assert found == ["optimizer", "optimizer:discriminator.optimizer", "optimizer:generator.optimizer"]
    around = keras.Sequential([layers.Input((2,)), model_of()])
    around.compile("adam", "mse")
    assert list(variables.optimizers(around)) == ["optimizer"], "Keras' own step uses no other"


def test_what_an_optimizer_keeps_beside_its_list_of_variables_is_found() -> None:
    model = model_of()
    model.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.Nadam()), "mse")
    variables.build_optimizers(model)
    product = model.optimizer.inner_optimizer._u_product
    found = [place for place, part in collect(model).items() if part.variable is product]
    assert found == [Place("optimizer+", 0)], "a group of its own: older pairs do not have it, and still fit"
    assert len(collect(model)) == len({id(part.variable) for part in collect(model).values()})


def test_a_model_that_was_not_compiled_has_no_optimizer() -> None:
    model = keras.Sequential([layers.Input((2,)), layers.Dense(1)])
    variables.build_optimizers(model)
    assert variables.optimizers(model) == {}
    assert {place.group for place in collect(model)} == {"model"}


def test_slots_are_built_once_and_only_where_there_are_weights() -> None:
    unbuilt = keras.Sequential([layers.Dense(1)])
    unbuilt.compile("adam", "mse")
    variables.build_optimizers(unbuilt)
    assert not unbuilt.optimizer.built
    model = model_of()
    variables.build_optimizers(model)
    slots = [id(variable) for variable in model.optimizer.variables]
    variables.build_optimizers(model)
    assert [id(variable) for variable in model.optimizer.variables] == slots


def test_a_snapshot_stays_as_it_was() -> None:
    model = model_of()
    part = collect(model)[Place("model", 1)]
    snapshot = part.read()
    part.assign(np.ones(3, "float32"))
    assert np.asarray(snapshot).tolist() == [0, 0, 0]
    assert np.asarray(part.read()).tolist() == [1, 1, 1]
    assert (part.shape, part.dtype) == ((3,), "float32")


def test_what_is_no_variable_of_tensorflows_is_read_and_assigned_by_keras() -> None:
    variable = keras.Variable([1.0])
    part = Part(variable, np.array([1.0]))
    assert part.read().tolist() == [1.0]
    part.assign(np.array([2.0]))
    assert np.asarray(variable.value).tolist() == [2.0]


def test_what_is_on_a_gpu_comes_to_the_host() -> None:
    class OnGpu:
        device = "/job:localhost/replica:0/task:0/device:GPU:0"

        def read_value(self) -> Any:
            return self

        def numpy(self) -> str:
            return "on the host"

    assert Part(None, OnGpu()).read() == "on the host"


def test_values_come_back_into_their_variables() -> None:
    parts = collect(model_of())
    said: list[str] = []
    assign(parts, filled(values_of(parts), 7), said.append)
    assert {np.asarray(part.read()).flat[0] for part in parts.values()} == {7}
    assert said == []


def test_a_checkpoint_without_a_group_leaves_that_group_as_it_is() -> None:
    parts = collect(model_of())
    values = {place: value for place, value in filled(values_of(parts), 7).items() if place.group == "model"}
    assign(parts, values, pytest.fail)
    assert np.asarray(parts[Place("model", 0)].read()).flat[0] == 7
    assert np.asarray(parts[Place("optimizer", 1)].read()).flat[0] == np.float32(0.1)


def test_a_mismatch_is_told_in_full_and_nothing_is_assigned() -> None:
    parts = collect(model_of())
    values = filled(values_of(parts), 7)
    values[Place("model", 0)] = ("mine/kernel", np.zeros((2, 4), "float32"))
    values[Place("model", 1)] = ("mine/bias", np.zeros(3, "float16"))
    values[Place("model", 9)] = ("more/kernel", np.zeros(5, "float32"))
    with pytest.raises(Mismatch) as error:
        assign(parts, values, pytest.fail)
    for text in (
        "kernel is (2, 4) in the checkpoint and (2, 3) in the model",
        "bias is float16 in the checkpoint and float32 in the model",
        "more/kernel (5,) has no counterpart in the model",
    ):
        assert text in str(error.value)
    assert "more)" not in str(error.value)
    assert np.asarray(parts[Place("optimizer", 1)].read()).flat[0] == np.float32(0.1)


def test_of_many_differences_three_are_named() -> None:
    parts = collect(model_of())
    values = {place: (path, np.zeros((9, 9), "float32")) for place, (path, _) in values_of(parts).items()}
    with pytest.raises(Mismatch, match=rf"\(and {len(parts) - 3} more\)"):
        assign(parts, values, pytest.fail)


def test_a_variable_that_the_checkpoint_does_not_have_is_named() -> None:
    parts = collect(model_of())
    values = values_of(parts)
    del values[Place("model", 1)]
    with pytest.raises(Mismatch, match=r"mine/bias \(3,\) is not in the checkpoint"):
        assign(parts, values, pytest.fail)


def test_each_replica_has_its_own_value() -> None:
    parts = copies(1, 2, 3)
    assert [place.group for place in parts] == ["model", "model@1", "model@2"]
    said: list[str] = []
    assign(parts, values_of(copies(4, 5, 6)), said.append)
    assert [float(np.asarray(part.read())[0]) for part in parts.values()] == [4, 5, 6]
    assert said == []


@pytest.mark.parametrize(("before", "after"), [((4, 5), (4, 5, 4)), ((4, 5, 6, 7), (4, 5, 6))])
def test_another_number_of_replicas_is_served_by_the_first_and_said(before: Any, after: Any) -> None:
    parts, said = copies(1, 2, 3), []
    assign(parts, values_of(copies(*before)), said.append)
    assert tuple(float(np.asarray(part.read())[0]) for part in parts.values()) == after
    assert len(said) == 1
    assert "not bit for bit" in said[0]


def test_a_metric_is_one_on_every_replica() -> None:
    assert [is_metric(place) for place in copies(1, 2, group="metrics")] == [True, True]
    assert [is_metric(place) for place in copies(1, 2)] == [False, False]


def test_metrics_take_what_fits_them_by_path_shape_and_type() -> None:
    parts = collect(model_of())
    bias, rate = Place("model", 1), Place("optimizer", 1)
    path = parts[bias].path
    for value in (("other/bias", np.ones(3, "float32")), (path, np.ones(4, "float32"))):
        assign_matching(parts, {bias: value, Place("model", 99): value})
    assign_matching(parts, {bias: (path, np.ones(3, "float64"))})
    assert np.asarray(parts[bias].read()).tolist() == [0, 0, 0]
    assign_matching(parts, {bias: (path, np.ones(3, "float32")), rate: (parts[rate].path, np.float32(0.5))})
    assert np.asarray(parts[bias].read()).tolist() == [1, 1, 1]
    assert float(np.asarray(parts[rate].read())) == 0.5
