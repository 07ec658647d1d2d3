"""What ``holdfast doctor -- COMMAND`` learns of a ``fit`` at its beginning, before anything is trained."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from ..training.data.keras_in_use import use
from .environment import LOOK_VARIABLE
from .protect import SERVED, not_served, with_callbacks

Row = tuple[str, str, str, str]
"""What was looked at, a level (ok, warning, problem), what was found, and what to do."""


class Looked(SystemExit):
    """Ends a script at its first ``fit``."""


def fit(
    original: Callable[..., Any], model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], kind: str, refuse: Any
) -> Any:
    """Calls ``original`` up to where Keras has built the model and opened the data, reports, and raises Looked."""
    if kind not in SERVED:
        _report([("Keras", "problem", *not_served(kind))])
    use("tf_keras" if kind == "tf_keras" else "keras")
    return with_callbacks(original, model, args, kwargs, lambda given: [_look(), *given])


def _report(rows: list[Row]) -> None:
    script = os.path.basename(sys.argv[0]) if sys.argv and sys.argv[0] else "python"
    with open(os.environ[LOOK_VARIABLE], "a", encoding="utf-8") as file:
        file.write(json.dumps({"script": script, "findings": rows}) + "\n")
    raise Looked(0)


def _look() -> Any:
    from ..training.data.keras_in_use import keras
    from ..training.keras.backends.chosen import variables_of
    from ..training.keras.internals import enclosing_fit

    class Look(keras.callbacks.Callback):
        """The first one in the list, so that no other one has begun anything."""

        def set_params(self, params: Any) -> None:
            callbacks, frame = enclosing_fit(self)
            if callbacks is not None and frame is not None:
                others = [callback for callback in callbacks.callbacks if callback is not self]
                _report(_findings(self.model, others, variables_of(frame)))

        on_train_begin = set_params  # of a CallbackList that the script made itself

    return Look()


def _findings(model: Any, callbacks: list[Any], local: Mapping[str, Any]) -> list[Row]:
    from ..training.keras.backends.chosen import backend

    refused = backend().refusal(model, local.get("epoch_iterator"))
    data = _data(local) if refused is None else [("data", "problem", refused, "")]
    return [_keras(), _length(local), *_seeds(), *data, *_state(model, callbacks)]


def _keras() -> Row:
    from ..training.data.keras_in_use import is_keras_2, keras

    engine = import_module(keras.backend.backend())
    name = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}[engine.__name__]
    kind = "tf_keras" if is_keras_2() else "Keras"
    text = f"{kind} {keras.__version__} on {name} {engine.__version__}, Python {platform.python_version()}"
    return "Keras", "ok", text, ""


def _length(local: Mapping[str, Any]) -> Row:
    batches = getattr(local.get("epoch_iterator"), "num_batches", None)
    return "fit", "ok", f"{local.get('epochs')} epochs of {batches or 'an unknown number of'} batches", ""


def _seeds() -> list[Row]:
    from ..training.keras.backends.chosen import backend

    seed = backend().seed()
    if seed is not None:
        return [("seeds", "ok", f"the global seed is {seed}", "")]
    text = "no global seed is set: two runs differ even where nothing interrupts them"
    return [
        ("seeds", "warning", text, "call keras.utils.set_random_seed at the top to make runs comparable, bit for bit")
    ]


def _data(local: Mapping[str, Any]) -> list[Row]:
    from ..training.keras.backends.chosen import backend
    from ..training.keras.fit.progress import uneven_calls

    named: list[str] = []
    x, iterator, validation = local.get("x"), local.get("epoch_iterator"), local.get("validation_data")
    position = backend().position_in(x, iterator, named.append, lambda: False)
    adapter = type(getattr(iterator, "data_adapter", None)).__name__
    kinds = {"ArrayDataAdapter": "arrays", "TFDatasetAdapter": "a tf.data pipeline"}
    what = kinds.get(adapter, f"{type(x).__module__.split('.')[0]}'s {type(x).__name__}")
    named += [text for text in (position.unkept, uneven_calls(iterator) if validation is not None else None) if text]
    named += backend().validation_data(validation, x, iterator, named.append).unkept()
    fixed = backend().seed() is not None or local.get("shuffle") is False
    if adapter == "ArrayDataAdapter" and fixed:
        rows: list[Row] = [("data", "ok", f"{what}, in an order that each start has again", "")]
    elif adapter == "ArrayDataAdapter":
        text = f"{what}, shuffled without a seed: each sample once in each epoch, in an order that no other run has"
        rows = [("data", "warning", text, "set a seed, or give fit a holdfast.dataset")]
    elif position.exact and not named:
        rows = [("data", "ok", f"{what}: a resumed training sees the batches of an undisturbed one", "")]
    else:
        text = (
            f"{what}: a resumed training continues at the right batch; whether the order is the same is not known yet"
        )
        rows = [("data", "warning", text, "holdfast drill --auto shows it")]
    return [*rows, *(("data", "warning", text, "") for text in named)]


def _state(model: Any, callbacks: list[Any]) -> list[Row]:
    from ..training.keras.watched import Watched

    named: list[str] = []
    found = Watched(model, callbacks, named.append).found
    text = f"{len(model.variables)} variables of the model, {len(found.variables)} in all with those of the callbacks"
    return [("state", "ok", text, ""), *(("state", "warning", text, "") for text in named)]
