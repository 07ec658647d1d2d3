"""The validation data that Python feeds, beside the training's.

Keras looks at its first batches when it validates for the first time in a process, which may draw random numbers. In a
resumed training this was done long ago: so the states are put back as they were just before. Not so where TensorFlow
reads on in the training's data meanwhile: its draws are not to be repeated.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from typing import Any

from ....core.errors import InvalidPair
from ...session import random_state
from .. import dataset_passes
from ..keras_in_use import keras
from .object_state import state_in
from .torch_loader import LoaderState, generators_of

_DROPPED = (
    "validation_data is a Python generator: TensorFlow draws ahead of it, and what it drew ahead is dropped at each "
    "validation's end, so no two runs see the same batches: give a keras.utils.PyDataset or arrays"
)
_BOTH = (
    "fit's data and its validation_data are both fed by Python, and with steps_per_epoch TensorFlow reads on in the "
    "first one while the other is read. Global random numbers are drawn meanwhile: if both draw them, no two runs "
    "see the same. Leave out steps_per_epoch, or let one of them draw from np.random.default_rng(seed) of its own"
)
_ONE_GENERATOR = (
    "fit's data and its validation_data draw from one torch.Generator: after an interruption the validation may see "
    "other batches than it would have. Give each a generator of its own"
)
_NOT_FED_BY_PYTHON = ("ArrayDataAdapter", "TFDatasetAdapter")


class PythonValidation:
    """``given`` to ``fit`` as ``validation_data``, beside the ``training``'s data, which ``epoch_iterator`` goes
    through. It may be the same: then the training's position keeps what changes in it.
    """

    def __init__(self, given: Any, epoch_iterator: Any, say: Callable[[str], None], training: Any = None) -> None:
        x = given[0] if isinstance(given, tuple | list) and given else given
        self._state = _state_of(x, training, say)
        self._object = self._read()
        self._shared = given is not None and given is training
        self._is_generator = isinstance(x, types.GeneratorType)
        self._say = say
        self._happened = False  # in this training, in whatever process
        self._begun = False  # in this process
        self._within = False
        self._both_fed = False
        self._random_before: dict[str, Any] = {}
        self.passes_before = dataset_passes.counts()  # as ``random_before``
        self._read_on = _is_fed(epoch_iterator) and epoch_iterator.steps_per_epoch is not None
        self._adapter = getattr(epoch_iterator, "data_adapter", None)
        if self._adapter is not None:
            self._note_states_after(self._adapter)

    def facts(self) -> dict[str, Any]:
        return {"validation": {"happened": self._happened, "object": {} if self._shared else self._object}}

    def random_state(self) -> dict[str, Any]:
        """The global states before this validation; empty outside of one."""
        return self._random_before if self._within else {}

    def check(self, facts: Mapping[str, Any]) -> None:
        """As a pair is read. Raises InvalidPair."""
        saved = facts.get("validation", {})
        if not isinstance(saved, dict) or not isinstance(saved.get("object", {}), dict):
            raise InvalidPair("the .pkl's state of the validation data is malformed")
        if self._state is not None:
            self._state.check(saved.get("object", {}))

    def restore(self, facts: Mapping[str, Any]) -> None:
        """As the first epoch after the checkpoint begins. Raises InvalidPair."""
        saved = facts.get("validation", {})
        self._happened = bool(saved.get("happened"))
        if self._state is not None:
            self._state.put(saved.get("object", {}))
            self._object = self._read()

    def begin(self, epoch_iterator: Any) -> None:
        """With Keras' iterator for validation, which has been reset just now."""
        if epoch_iterator is None:  # of an ``evaluate`` of somebody's own
            return
        is_fed = _is_fed(epoch_iterator)
        if is_fed and self._happened and not self._begun and self._random_before:
            if not self._read_on:
                random_state.set_state(self._random_before)
            if self._state is not None:
                self._state.put(self._object)
            epoch_iterator.reset()
        if self._is_generator:
            self._say(_DROPPED)
        self._begun = self._within = True
        self._both_fed = self._read_on and is_fed

    def end(self) -> None:
        if self._within:
            self._within, self._happened = False, True
            self._object = self._read()
            self.passes_before = dataset_passes.counts()
            if self._both_fed and random_state.get_state() != self._random_before:
                self._say(_BOTH)

    def release(self) -> None:
        """The ``fit`` is over: its adapter is Keras' own again."""
        if self._adapter is not None:
            vars(self._adapter).pop("on_epoch_end", None)

    def _read(self) -> dict[str, Any]:
        return {} if self._state is None else self._state.read()

    def _note_states_after(self, adapter: Any) -> None:
        """After the training's epoch, which Keras tells its data: validation is next."""
        ends = adapter.on_epoch_end

        def on_epoch_end() -> None:
            ends()
            self._random_before = random_state.get_state()
            self._object = self._read()  # the training may share a generator with it
            self.passes_before = dataset_passes.counts()

        adapter.on_epoch_end = on_epoch_end


def _state_of(x: Any, training: Any, say: Callable[[str], None]) -> Any:
    if isinstance(x, keras.utils.PyDataset):
        return state_in(x, say)
    is_loader = any(cls.__module__.startswith("torch.utils.data") for cls in type(x).__mro__)
    if not is_loader:
        return None
    theirs = generators_of(training)  # its position keeps them
    if any(one is other for one in generators_of(x) for other in theirs):
        say(_ONE_GENERATOR)
    return LoaderState(x, say, theirs)


def _is_fed(epoch_iterator: Any) -> bool:
    """By Python, batch by batch."""
    adapter = getattr(epoch_iterator, "data_adapter", None)
    return adapter is not None and type(adapter).__name__ not in _NOT_FED_BY_PYTHON
