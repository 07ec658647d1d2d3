"""What a ``fit`` under ``--auto`` gets: a ``Resume``, unless it has one; what the script gave stays as it is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import holdfast
from holdfast.auto import protect
from holdfast.spool import Spool
from holdfast.training.session.open import close_session, open_session

X = np.ones((8, 2), "float32")


@pytest.fixture(autouse=True)
def session(tmp_path: Path) -> Iterator[Any]:
    """The process's own, without a supervisor."""
    close_session()
    yield open_session(tmp_path / "runs")
    close_session()


@pytest.fixture
def model() -> keras.Model:
    made = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    made.compile("sgd", "mse")
    return made


def fit(model: keras.Model, *args: Any, **kwargs: Any) -> Any:
    """As the hook calls it."""
    return protect.fit(type(model).fit, model, args, {"verbose": 0, **kwargs}, "tensorflow", pytest.fail)


def pairs(session: Any) -> int:
    return len(Spool(session.spool.path).pairs())


class Other(keras.callbacks.Callback):
    pass


@pytest.mark.parametrize("given", ["nothing", "None", "one", "list", "tuple", "Resume", "CallbackList", "with Resume"])
def test_a_fit_is_saved_once_for_each_epoch_whatever_its_callbacks_are(
    given: str, model: keras.Model, session: Any
) -> None:
    other, resume = Other(), holdfast.Resume()
    made: dict[str, Any] = {
        "None": None,
        "one": other,
        "list": [other],
        "tuple": (other,),
        "Resume": [other, resume],
        "CallbackList": keras.callbacks.CallbackList([other], add_history=True, model=model),
        "with Resume": keras.callbacks.CallbackList([other, resume], add_history=True, model=model, epochs=2, steps=2),
    }
    callbacks = made.get(given)
    before = list(getattr(callbacks, "callbacks", callbacks) or []) if given != "one" else []
    history = fit(
        model, X, X[:, :1], batch_size=4, epochs=2, **({} if given == "nothing" else {"callbacks": callbacks})
    )
    assert len(history.history["loss"]) == 2
    assert pairs(session) == 2
    if before:
        assert list(getattr(callbacks, "callbacks", callbacks)) == before


def test_arguments_may_be_given_by_their_place(model: keras.Model, session: Any) -> None:
    other = Other()
    protect.fit(type(model).fit, model, (X, X[:, :1], 4, 1, 0, [other]), {}, "tensorflow", pytest.fail)
    assert other.model is model
    assert pairs(session) == 1


def test_wrong_arguments_are_keras_to_complain_of(model: keras.Model, session: Any) -> None:
    with pytest.raises(TypeError, match="no_such_argument"):
        fit(model, X, X[:, :1], no_such_argument=1)
    fit(model, X, X[:, :1])
    assert pairs(session) == 1, "the next one is saved as ever"


def test_a_fit_inside_another_or_beside_it_is_left_alone_and_named(
    model: keras.Model, session: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    inner = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    inner.compile("sgd", "mse")

    class Fits(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            fit(inner, X, X[:, :1], epochs=3)
            thread = threading.Thread(target=fit, args=(inner, X, X[:, :1]))
            thread.start()
            thread.join()

    fit(model, X, X[:, :1], epochs=1, callbacks=[Fits()])
    assert pairs(session) == 1
    assert capfd.readouterr().err.count("a fit began while another one of this process runs") == 1, "once is enough"
    fit(inner, X, X[:, :1], epochs=1)
    assert pairs(session) == 2


def test_a_fit_beside_a_loop_that_keeps_its_state_itself_is_left_alone(model: keras.Model, session: Any) -> None:
    with holdfast.session() as run:
        fit(model, X, X[:, :1])
        run.boundary(1)
        run.commit({"w": X})
    assert pairs(session) == 1


def test_keras_on_another_backend_is_refused_before_it_trains(model: keras.Model, session: Any) -> None:
    with pytest.raises(SystemExit) as stopped:
        protect.fit(type(model).fit, model, (X, X[:, :1]), {}, "openvino", pytest.fail)
    assert stopped.value.code == 70
    assert pairs(session) == 0
