"""What a ``.pkl`` of ``holdfast.Resume`` must say besides its variables, checked before any of it is used."""

from __future__ import annotations

from typing import Any

from ...core.errors import InvalidPair
from ..pair.pair_files import Saved

_MOST = 1 << 62
_MOST_AHEAD = 1 << 16  # batches that TensorFlow has drawn and that were not trained on
_MOST_OPENED = 100_000  # iterators that a start opens again
_OF_PYTHON = ("generator", "iterable", "py_dataset", "validation")


def checked(saved: Saved) -> Saved:
    """Raises InvalidPair unless all facts are there, each of its kind."""
    facts = saved.facts
    if "fit" not in facts:
        raise InvalidPair("it was not written by holdfast.Resume")
    whole = (
        _is_count(facts["fit"])
        and _is_count(facts.get("drawn"))
        and isinstance(facts.get("ended"), bool)
        and isinstance(facts.get("begun", False), bool)
        and isinstance(facts.get("at_end", False), bool)
        and isinstance(facts.get("backend", ""), str)  # older pairs do not say it: TensorFlow
        and isinstance(facts.get("random"), dict)
        and isinstance(facts.get("logs", 0), dict | None)
        and _are(facts.get("callbacks"), _is_entry)
        and (_are_trainings(facts) or _is_of_early_version(facts))
        and _is_place(facts.get("data"))
        and _are(facts.get("passes", []), _is_count)  # neither stands in older pairs
        and _are(facts.get("began", []), _is_count)
        and _are(facts.get("places", []), _is_count)
        and isinstance(facts.get("layers", {}), dict)
        and isinstance(facts.get("own", {}), dict)
        and _are(facts.get("not_kept", []), lambda one: isinstance(one, str))  # older pairs do not say it
        and isinstance(facts.get("settings", {}), dict)
        and isinstance(facts.get("data_state", {}), dict)
        and _are(facts.get("digests", []), _is_digest)
        and all(isinstance(facts.get(key, {}), dict) for key in _OF_PYTHON)
        and _is_iterator(facts)
        and _is_opened(facts.get("validation_opened", 0))
        and _can_be_drawn_again(facts.get("generator", {}), saved.position.step)
    )
    if not whole:
        raise InvalidPair("its .pkl is malformed: a fact about the training is missing, or is of another kind")
    return saved


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < _MOST


def _are(value: Any, kind: Any) -> bool:
    return isinstance(value, list) and all(kind(item) for item in value)


def _is_entry(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("class"), str) and "state" in value


def _is_training(value: Any) -> bool:
    return isinstance(value, dict) and "identity" in value


def _are_trainings(facts: Any) -> bool:
    """The ledger's entries, one of them this training's."""
    return _are(facts.get("fits"), _is_training) and facts["fit"] < len(facts["fits"])


def _is_of_early_version(facts: Any) -> bool:
    """Those counted the fits that were over, and kept their histories."""
    return _are(facts.get("fits"), _is_history) and len(facts["fits"]) == facts["fit"]


def _is_history(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("epoch"), list)
        and isinstance(value.get("history"), dict)
        and _are(value.get("passes", []), _is_count)
    )


def _is_digest(value: Any) -> bool:
    """Of one batch: its epoch, its number, its digest."""
    return isinstance(value, list) and len(value) == 3 and all(map(_is_count, value[:2])) and isinstance(value[2], str)


def _can_be_drawn_again(generator: Any, step: int) -> bool:
    """Before a pass no more was drawn than was trained on and what TensorFlow may read ahead."""
    began = generator.get("began", 0)
    return _is_count(began) and began <= step + _MOST_AHEAD


def _is_iterator(facts: Any) -> bool:
    """The place of a ``tf.data`` iterator, with its state if there is one; neither stands in older pairs."""
    place, state = facts.get("iterator"), facts.get("iterator_state")
    if place is None:
        return state is None
    return (
        isinstance(place, dict)
        and _is_opened(place.get("before"))
        and all(isinstance(place.get(key), bool) for key in ("continues", "over"))
        and _are(place.get("layout"), lambda one: isinstance(one, str))
        and isinstance(state, bytes | None)
    )


def _is_opened(value: Any) -> bool:
    return _is_count(value) and value <= _MOST_OPENED


def _is_place(value: Any) -> bool:
    return value is None or (isinstance(value, dict) and all(_is_count(value.get(key)) for key in ("pass", "batches")))
