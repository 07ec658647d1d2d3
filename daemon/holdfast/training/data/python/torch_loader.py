"""PyTorch's ``DataLoader``, and what it draws from beside the global random states."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ....core.errors import InvalidPair
from ...session import random_state
from .iterable import IterablePosition
from .object_state import state_in

_SAMPLER = (
    "the DataLoader has a sampler of the script's own ({}): what it keeps in itself from one epoch to the next is not "
    "kept, so a resumed training may see another order. Let it draw from PyTorch's global generator"
)
_LIVE_ON = (
    "the DataLoader's workers live on from one epoch to the next, and what their copies of the dataset draw is "
    "not kept: a resumed training may see other samples. Leave out persistent_workers=True"
)


def of_torch(loader: Any, epoch_iterator: Any, say: Callable[[str], None]) -> IterablePosition:
    position = IterablePosition(loader, epoch_iterator, say, LoaderState(loader, say))

    class Passes:
        def __iter__(self) -> Iterator[Any]:
            return position.open()

    position.stand_in(epoch_iterator.data_adapter, "_dataloader", Passes())
    return position


class LoaderState:
    """The generators that a ``DataLoader`` and its samplers were given, but ``others``, and what its dataset changes in
    itself. ``say`` receives what cannot be kept.

    Workers that end with a pass leave their copies of the dataset behind, and the next ones begin with the same.
    """

    def __init__(self, loader: Any, say: Callable[[str], None], others: Sequence[Any] = ()) -> None:
        self._generators = [one for one in generators_of(loader) if all(one is not other for other in others)]
        self._dataset = state_in(getattr(loader, "dataset", None), say)
        for sampler in _samplers(loader):
            if type(sampler).__module__.split(".")[0] != "torch":
                say(_SAMPLER.format(type(sampler).__name__))  # it may keep what nobody knows of
        if getattr(loader, "num_workers", 0) and getattr(loader, "persistent_workers", False):
            say(_LIVE_ON)

    def read(self) -> dict[str, Any]:
        return {"generators": _states_of(self._generators), "dataset": self._dataset.read()}

    def check(self, saved: Mapping[str, Any]) -> None:
        """Raises InvalidPair."""
        if not isinstance(dataset := saved.get("dataset", {}), dict):
            raise InvalidPair("the .pkl's state of the data is malformed")
        before = _states_of(self._generators)
        try:
            _set_generators(self._generators, saved.get("generators", ()))
        finally:
            _set_generators(self._generators, before)
        self._dataset.check(dataset)

    def put(self, saved: Mapping[str, Any]) -> None:
        """Raises InvalidPair."""
        _set_generators(self._generators, saved.get("generators", ()))
        self._dataset.put(saved.get("dataset", {}))


def generators_of(loader: Any) -> list[Any]:
    """What a ``DataLoader`` was given as ``generator``, and its samplers, each once."""
    found = [getattr(part, "generator", None) for part in (loader, *_samplers(loader))]
    return list({id(generator): generator for generator in found if generator is not None}.values())


def _samplers(loader: Any) -> list[Any]:
    """Its own, and where it was given one of batches, that one and what it draws from."""
    of_batches = getattr(loader, "batch_sampler", None)
    found = [getattr(loader, "sampler", None), of_batches, getattr(of_batches, "sampler", None)]
    return list({id(sampler): sampler for sampler in found if sampler is not None}.values())


def _states_of(generators: Sequence[Any]) -> list[bytes]:
    return [random_state.state_of(generator) for generator in generators]


def _set_generators(generators: Sequence[Any], states: Sequence[bytes]) -> None:
    """Raises InvalidPair."""
    try:
        for generator, state in zip(generators, states, strict=False):
            random_state.set_state_of(generator, state)
    except (AttributeError, TypeError, ValueError) as error:
        raise InvalidPair(f"the .pkl's state of the data is malformed: {error}") from None
