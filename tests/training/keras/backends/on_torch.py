"""What holds on PyTorch, in a process that has no TensorFlow: test_other_backends.py runs this file there."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch

import holdfast
from holdfast.core.errors import SettingsError
from holdfast.training.data.fingerprint import fingerprint, sample
from holdfast.training.data.python.rng_snapshots import arrays_in
from holdfast.training.keras.backends import torch as backend
from holdfast.training.keras.backends.torch_spec import described
from holdfast.training.keras.backends.torch_tensors import Gradient
from holdfast.training.keras.fit.identity import settings_of
from holdfast.training.keras.fit.progress import number_in
from holdfast.training.keras.watched import Watched
from holdfast.training.session.open import close_session

from ...restarts import Script, Stop, assert_same, interrupted, once, state_of
from . import matrix
from .matrix import VALIDATION, WITHIN, Shuffled, X, Y, layers, script, validating
from .what_holds import rows


class OwnStep(keras.Model):
    """A subclassed model with two optimizers, and a step of its own, as Keras' guide for PyTorch has it."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.drop, self.head = layers.Dense(6, "relu"), layers.Dropout(0.3), layers.Dense(1)
        self.of_head = keras.optimizers.SGD(0.05, momentum=0.9)

    def call(self, x: Any, training: bool = False) -> Any:
        return self.head(self.drop(self.hidden(x), training=training))

    def train_step(self, data: Any) -> Any:
        x, y = data
        self.zero_grad()
        loss = self.compute_loss(y=y, y_pred=self(x, training=True))
        loss.backward()
        with torch.no_grad():
            for optimizer, layer in ((self.optimizer, self.hidden), (self.of_head, self.head)):
                optimizer.apply([v.value.grad for v in layer.trainable_weights], layer.trainable_weights)
        return {"loss": loss}


class InEights(OwnStep):
    """Its step depends on the number of rows."""

    def train_step(self, data: Any) -> Any:
        x, y = data
        return super().train_step((x.reshape(8, 4), y))


class Accumulating(keras.Model):
    """Leaves gradients where they are for later batches, of Keras' layer, of a parameter of PyTorch's and of a loss's:
    each fourth batch applies what has come together.
    """

    def __init__(self) -> None:
        super().__init__()
        self.head = layers.Dense(1)
        self.head.build((None, 4))
        self.scale = torch.nn.Parameter(torch.ones(4))
        self.seen = keras.Variable(0, dtype="int32", trainable=False)
        self.offset = Offset()

    def call(self, x: Any) -> Any:
        return self.head(x * self.scale)

    def train_step(self, data: Any) -> Any:
        x, y = data
        loss = self.compute_loss(y=y, y_pred=self.offset(self(x)))
        loss.backward()
        self.seen.assign(self.seen + 1)
        if int(self.seen) % 4 == 0:
            with torch.no_grad():
                weights = self.head.trainable_weights
                self.optimizer.apply([variable.value.grad for variable in weights], weights)
                self.scale -= 0.05 * self.scale.grad
                self.offset.by -= 0.05 * self.offset.by.grad
            self.zero_grad()
            self.scale.grad = self.offset.by.grad = None
        return {"loss": loss}


class Replacing(OwnStep):
    """Each step puts another parameter in the place of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(4))

    def call(self, x: Any, training: bool = False) -> Any:
        return super().call(x * self.scale, training=training)

    def train_step(self, data: Any) -> Any:
        logs = super().train_step(data)
        self.scale = torch.nn.Parameter(0.9 * self.scale.detach() + 0.1 * data[0].mean(0))
        return logs


class Offset:
    """Holds a parameter that no module has."""

    def __init__(self) -> None:
        self.by = torch.nn.Parameter(torch.zeros(1))

    def __call__(self, y: Any) -> Any:
        return y + self.by


class TrainedByPyTorch(keras.Model):
    """With an optimizer of PyTorch's, and a schedule for it."""

    def __init__(self) -> None:
        super().__init__()
        self.head = layers.Dense(1)
        self.head.build((None, 4))
        self.by = torch.optim.Adam([variable.value for variable in self.head.trainable_weights])
        self.rate = torch.optim.lr_scheduler.StepLR(self.by, 3)

    def call(self, x: Any) -> Any:
        return self.head(x)

    def train_step(self, data: Any) -> Any:
        x, y = data
        self.by.zero_grad()
        loss = self.compute_loss(y=y, y_pred=self(x))
        loss.backward()
        self.by.step()
        return {"loss": loss}


class Running(torch.nn.Module):
    """Puts another tensor into its buffer at each step."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(6))

    def forward(self, x: Any) -> Any:
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        return x - self.mean


class OfPyTorch(keras.Model):
    """Modules of PyTorch's own, with statistics in buffers and a dropout that draws from its global generator; and
    noise from a generator of the model's own.
    """

    def __init__(self) -> None:
        super().__init__()
        own = [torch.nn.Linear(4, 6), torch.nn.BatchNorm1d(6), torch.nn.ReLU(), Running(), torch.nn.Dropout(0.3)]
        self.hidden, self.head = layers.TorchModuleWrapper(torch.nn.Sequential(*own)), layers.Dense(1)
        self.noise = torch.Generator().manual_seed(7)

    def call(self, x: Any, training: bool = False) -> Any:
        if training:
            x = x + 0.1 * torch.randn(x.shape, generator=self.noise)
        return self.head(self.hidden(x, training=training))


def loader(**settings: Any) -> Any:
    data = torch.utils.data.TensorDataset(torch.as_tensor(X), torch.as_tensor(Y))
    return torch.utils.data.DataLoader(data, **{"batch_size": 8, "shuffle": True, **settings})


class Noisy(torch.utils.data.Dataset):
    """Draws from generators of its own, NumPy's and PyTorch's."""

    def __init__(self) -> None:
        self.chance, self.noise = np.random.default_rng(7), torch.Generator().manual_seed(7)

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, index: int) -> Any:
        return X[index] + self.chance.random(4, "float32") * torch.rand(4, generator=self.noise).numpy(), Y[index]


class Streamed(torch.utils.data.IterableDataset):
    """Counts its passes as they begin."""

    def __init__(self) -> None:
        self.passes = 0

    def __iter__(self) -> Any:
        self.passes += 1
        return ((x * self.passes, y) for x, y in zip(X, Y, strict=True))


def of(dataset: Any, **settings: Any) -> Any:
    return torch.utils.data.DataLoader(dataset, batch_size=8, **settings)


def split() -> dict[str, Any]:
    """Training and validation draw from one dataset's generator."""
    parts = [torch.utils.data.Subset(whole, range(first, 48, 2)) for whole in (Noisy(),) for first in (0, 1)]
    return {"x": of(parts[0]), "validation_data": of(parts[1])}


def with_workers() -> Any:
    gc.collect()  # workers of an earlier start in this process hold the lock on its run
    return loader(num_workers=2)


def with_own_generator() -> Any:
    return loader(generator=torch.Generator().manual_seed(5))


def of_batches() -> Any:
    order = torch.utils.data.RandomSampler(range(48), generator=torch.Generator().manual_seed(5))
    batches = torch.utils.data.BatchSampler(order, 8, drop_last=False)
    return loader(batch_sampler=batches, batch_size=1, shuffle=None)


def drawing() -> list[keras.callbacks.Callback]:
    """One that draws from the generator that the order of arrays is drawn from."""
    return [keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: torch.rand(batch + 1))]


def evaluated(data: Any) -> Callable[[], dict[str, Any]]:
    return lambda: {"x": loader(), "validation_data": data()}


ROWS: dict[str, tuple[Script, list[Stop]]] = {
    **matrix.ROWS,
    "a step of one's own with two optimizers": (script(OwnStep), [(0, 0), WITHIN]),
    "a step that depends on the number of rows": (script(InEights), [WITHIN]),
    "gradients that a step of one's own leaves for later batches": (script(Accumulating), [(0, 0), WITHIN, (2, 4)]),
    "a parameter that each step replaces by another": (script(Replacing), [(0, 0), WITHIN, (2, 4)]),
    "modules, buffers and generators of PyTorch's": (script(OfPyTorch), [WITHIN, (1, 5)]),
    "bfloat16 weights": (script(matrix.with_policy("bfloat16")), [WITHIN]),
    "arrays shuffled batch by batch, and a callback that draws": (
        script(data=lambda: {"x": X, "y": Y, "batch_size": 8, "shuffle": "batch"}, others=drawing),
        [(0, 3), WITHIN],
    ),
    "an epoch of all of the arrays, by its number of steps": (
        script(data=lambda: {"x": X, "y": Y, "batch_size": 8, "steps_per_epoch": 6}, others=drawing),
        [(0, 5), (1, 0), (1, 3)],
    ),
    "a PyDataset, and validation with another": (
        script(data=lambda: {"x": Shuffled(), "validation_data": Shuffled()}),
        [(0, VALIDATION), WITHIN],
    ),
    "a generator of unknown length": (script(data=lambda: {"x": matrix.drawn()}), [(0, 3), (0, 29)]),
    "a loader": (script(data=lambda: {"x": loader()}), [(0, 0), WITHIN, (1, 5)]),
    "a loader with a generator of its own": (script(data=lambda: {"x": with_own_generator()}), [(0, 5), WITHIN]),
    "a loader with a sampler of batches": (script(data=lambda: {"x": of_batches()}), [WITHIN]),
    "a loader whose dataset draws": (script(data=lambda: {"x": of(Noisy(), shuffle=True)}), [(0, 5), WITHIN]),
    "a loader whose dataset counts its passes": (script(data=lambda: {"x": of(Streamed())}), [(0, 3), (1, 5)]),
    "training and validation with parts of a dataset that draws": (
        script(data=split),
        [(0, VALIDATION), (1, 1), (1, VALIDATION)],
    ),
    "a loader with workers": (script(data=lambda: {"x": with_workers()}), [WITHIN]),
    "epochs of a part of a loader": (
        script(data=lambda: {"x": loader(), "steps_per_epoch": 4}, others=drawing),
        [(0, 3), (1, 1), (2, 0)],
    ),
    "validation with a part of a loader, in an order of its own": (
        script(data=lambda: {"x": X, "y": Y, "validation_data": with_own_generator(), "validation_steps": 2}),
        [(0, VALIDATION), (1, 1), (1, VALIDATION)],
    ),
    "a loader, and validation with another": (
        script(data=evaluated(loader), others=validating),
        [(0, VALIDATION), WITHIN, (1, VALIDATION)],
    ),
}


def test_the_documents_table_has_what_each_of_these_rows_shows() -> None:
    assert rows("torch") == set(ROWS)


@pytest.mark.parametrize("row", ROWS)
def test_an_interrupted_training_ends_as_the_undisturbed_one(row: str, tmp_path: Path) -> None:
    run, stops = ROWS[row]
    assert_same(once(run, tmp_path / "whole"), interrupted(run, tmp_path / "stopped", *stops))


def test_a_training_with_it_is_the_one_without(tmp_path: Path) -> None:
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(3)
    model, history = script()([])
    ended = once(script(), tmp_path)
    assert ended.history == history.history
    assert list(ended.state.values()) == list(state_of(model).values())


def test_the_workers_of_a_pydataset_are_refused_before_it_trains(tmp_path: Path) -> None:
    run = script(data=lambda: {"x": Shuffled(workers=2)})
    with pytest.raises(SettingsError, match=r"^on PyTorch the workers of a PyDataset .*: give it workers=1"):
        once(run, tmp_path)


def test_a_step_that_builds_the_model_leaves_no_gradients_and_nothing_compiled() -> None:
    model = OwnStep()
    model.compile("adam", "mse")
    model.make_train_function()
    before = model.train_function
    backend.build(model, described((torch.as_tensor(X[:8]), torch.as_tensor(Y[:8]))), print)
    assert model.optimizer.built
    assert [one for one in model.parameters() if one.grad is not None] == []
    assert model.train_function is not before


def test_only_gradients_that_a_step_may_add_to_are_kept() -> None:
    """Keras' own step begins without: kept, they would be half of a small optimizer's checkpoint."""
    for make, kept in ((matrix.small, 0), (Accumulating, 4)):
        model, _ = script(make)([])
        assert model.trainable_variables[0].value.grad is not None
        assert sum(place.group.endswith(".grad") for place in Watched(model).parts()) == kept


def test_a_sparse_gradient_is_kept_as_a_dense_one() -> None:
    table = torch.nn.Embedding(5, 2, sparse=True)
    table(torch.tensor([1, 1, 3])).sum().backward()
    (held,) = backend.copies(Gradient(table.weight))
    assert backend.read(held).tolist() == [[0, 0], [2, 2], [0, 0], [1, 1], [0, 0]]


def test_a_batch_is_looked_at_that_numpy_cannot_read() -> None:
    """With gradients, in a format that NumPy lacks; one on a device is read the same way."""
    batch = (torch.full((2,), 3.0, requires_grad=True), torch.full((2,), 0.5, dtype=torch.bfloat16))
    assert [array.tolist() for array in arrays_in(batch)] == [[3, 3], [0.5, 0.5]]


def test_a_count_is_read_that_numpy_cannot_look_into() -> None:
    assert number_in(torch.full((), 3.0, requires_grad=True)) == 3


def test_what_a_module_has_learned_is_no_setting_of_its_layer() -> None:
    first, second = OfPyTorch(), OfPyTorch()
    assert settings_of(first) == settings_of(second)
    assert sample(first.trainable_variables[0].value) != sample(second.trainable_variables[0].value)


def test_a_tensor_is_known_by_some_of_its_values() -> None:
    tensor = torch.arange(3.0, dtype=torch.bfloat16, requires_grad=True)
    assert sample(tensor) == [[3], "float32", [0.0, 1.0, 2.0]]
    assert fingerprint(torch.arange(3)) == [[[3], "int64", [0, 1, 2]]]


def test_an_optimizer_of_pytorchs_is_named_as_the_training_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    once(script(TrainedByPyTorch), tmp_path, (0, 0))
    said = capsys.readouterr().err
    assert "model.by is PyTorch's Adam, whose state is not kept" in said
    assert "model.rate is PyTorch's StepLR, whose state is not kept" in said


def test_nothing_of_tensorflow_or_jax_is_loaded() -> None:
    assert holdfast.Resume is not None
    assert [name for name in sys.modules if name.split(".")[0] in ("tensorflow", "jax")] == []
    close_session()
