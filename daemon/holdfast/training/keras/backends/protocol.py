"""What a backend of Keras does in its own way. A module of this folder is a backend: it has these functions.

Nothing of a backend's framework is imported outside of its module here and the modules of ``training/data`` that it
chooses from, so a training on one of them never loads another one's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from ...data.keras_in_use import keras
from ...data.position import DataPosition

Say = Callable[[str], None]
Step = Callable[[Any], Any]  # takes Keras' iterator, gives the logs


@dataclass(frozen=True)
class Kinds:
    """The classes of a framework's objects. ``views`` are variables that ``attributes`` makes anew each time, equal
    ones. ``leaves`` lead to nothing else, ``entered`` may lead to variables, ``unkept`` have a state that no pair has.
    """

    variables: tuple[type, ...] = ()
    views: tuple[type, ...] = ()
    tensors: tuple[type, ...] = ()
    leaves: tuple[type, ...] = ()
    tables: tuple[type, ...] = ()
    entered: tuple[type, ...] = ()
    unkept: tuple[type, ...] = ()


class HiddenDraw(NamedTuple):
    """A random operation whose state nothing can read. ``name``: the scopes that it is in, and its own name."""

    operation: str
    name: str


class Handover(Protocol):
    """``iterator`` gives the batches that ``give`` was given, one for each that is asked for."""

    iterator: Any

    def give(self, batch: Any) -> None: ...


class HeldOut(Protocol):
    """The data of a ``fit``'s validation. ``variables`` are those that its functions use, by stable names."""

    @property
    def variables(self) -> Mapping[str, Any]: ...

    def unkept(self) -> Iterator[str]:
        """One line for each thing that is another in a resumed training."""

    def facts(self) -> dict[str, Any]:
        """Its state, as plain values."""

    def random_state(self) -> dict[str, Any]:
        """The global states before this validation; empty outside of one."""

    def check(self, facts: Mapping[str, Any]) -> None:
        """As a pair is read. Raises InvalidPair for facts that could not be restored."""

    def restore_seeds(self, facts: Mapping[str, Any]) -> None:
        """Before the training's data: its state has the seeds that both share."""

    def restore(self, facts: Mapping[str, Any]) -> None:
        """As the first epoch after the checkpoint begins. Raises InvalidPair."""

    def begin(self, epoch_iterator: Any) -> None:
        """With Keras' iterator for validation, which has been reset just now."""

    def end(self) -> None: ...

    def release(self) -> None:
        """The ``fit`` is over: what Keras' objects were given is taken off."""


class Backend(Protocol):
    """In the order in which a ``fit`` needs them."""

    name: str  # as Keras has it
    ends: tuple[type[BaseException], ...]  # what an iterator at its end raises

    def refusal(self, model: keras.Model, epoch_iterator: Any) -> str | None:
        """One line where this ``fit`` cannot be resumed, before anything is trained; else None."""

    def processes(self) -> int:
        """How many processes train one model together."""

    def kinds(self) -> Kinds: ...

    def attributes(self, holder: Any) -> Mapping[str, Any]:
        """Those of an object, also what the framework keeps apart from them. Its plain buffers come as variables."""

    # --- variables

    def as_variable(self, value: Any) -> Any:
        """For one of ``kinds().variables``: what has a shape and a type, if that has none."""

    def inner(self, variable: Any) -> Any:
        """The framework's own variable inside of a Keras variable, which may be met by itself; or the same one."""

    def copies(self, variable: Any) -> tuple[Any, ...]:
        """What holds the values of a variable, one for each replica."""

    def gradients(self, model: keras.Model, found: Mapping[str, Any]) -> Mapping[str, Any]:
        """What steps leave beside the variables ``found`` for later steps, as variables; by paths, as they are."""

    def only_gradients(self, paths: Collection[str], found: Mapping[str, Any]) -> None:
        """Makes room for the ``gradients`` of those paths, and drops all others."""

    def live_values(self, model: keras.Model) -> Mapping[int, Any]:
        """The values that are not in their variables now, by the ids of these."""

    def readable(self, model: keras.Model) -> AbstractContextManager[Any]:
        """In which those that ask the model's single numbers (its learning rate) for their values get them."""

    def read(self, held: Any) -> Any:
        """A snapshot of one copy, or live value, that no later step changes. It costs as little as can be."""

    def assign(self, variable: Any, copy: Any, value: np.ndarray) -> None: ...

    def scope(self, model: keras.Model) -> AbstractContextManager[Any]:
        """In which the model's further variables are made."""

    # --- other state

    def random_state(self) -> Any:
        """The framework's own global random state, as plain values; None if it has none yet."""

    def set_random_state(self, state: Any) -> None:
        """What ``random_state`` gave. Raises ValueError or TypeError for anything else."""

    def seed(self) -> int | None:
        """The global seed that the script has set, if any."""

    def array_of(self, tensor: Any) -> np.ndarray | None:
        """Of one of ``kinds().tensors``; None where it holds no values, or texts."""

    def tensor_of(self, value: Any) -> Any: ...

    # --- data

    def position_in(self, x: Any, epoch_iterator: Any, say: Say, is_stopping: Callable[[], bool]) -> DataPosition:
        """For ``x`` as it was given to ``fit``, and the ``epoch_iterator`` that Keras made of it. ``is_stopping``: has
        the process been asked to end?
        """

    def validation_data(self, given: Any, x: Any, epoch_iterator: Any, say: Say) -> HeldOut:
        """As it was ``given`` to ``fit``, beside the training's ``x``, through which ``epoch_iterator`` goes."""

    def draws_in_data(self, x: Any) -> Sequence[str]:
        """The random operations in the data's functions whose state nothing can read."""

    def spec_of(self, iterator: Any) -> Any:
        """The shapes and types of its batches, as plain values; False where there is no need, or they can't be told."""

    def arrays_of(self, batch: Any) -> list[np.ndarray]:
        """In their order; what is none is left out."""

    def handover(self, train_function: Any, iterator: Any) -> Handover | None:
        """None where the train function may draw otherwise than a batch a step."""

    # --- the step

    def build(self, model: keras.Model, spec: Any, say: Say) -> None:
        """Creates what only a first step creates, for batches of that ``spec``. Raises HoldfastError."""

    def stand_in(self, train_function: Any, call: Callable[[Step, Any], Any]) -> Any:
        """A train function that does ``call(step, iterator)``, where ``step`` does one call of the model's own."""

    def begins_with_its_batch(self, model: keras.Model) -> bool:
        """Does a step change nothing of the state before its batch is there?"""

    def runs_eagerly(self, model: keras.Model) -> bool:
        """Does each step read the layers' settings anew?"""

    def hidden_draws(self, train_function: Any) -> Sequence[HiddenDraw]:
        """In the graphs of a train function that was called."""
