"""A checkpoint of another backend of Keras: a training continues from it where that is asked for, not bit for bit.

A machine that takes over may lack the first one's keras.json: then it is refused, so that its checkpoints don't replace
those that are exact. ``Resume(other_backend=True)`` asks for it, or ``--from``, for the checkpoint that it names.

Weights, slots, metrics and counts are found by their paths. Random states that both have are set; seed generators and
the order of the data are those of this backend.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from ....core.checkpoint_name import CheckpointName
from ....core.errors import InvalidPair, Mismatch, one_line
from ....core.wording import count
from ...data.keras_in_use import KERAS_2
from ...pair.pair_files import Place, Saved
from ...session.base import Session
from .. import layer_state, random_state, variables
from ..backends.chosen import backend
from ..variables import Part
from ..watched import Watched

_SHARED = ("tensorflow", "jax", "torch")
_NOT_SHARED = ("spec", "digests", "iterator", "iterator_state", "data_state")
Values = Mapping[Place, tuple[str, np.ndarray]]


def name_of(saved: Saved) -> str | None:
    """The other backend's; None for a checkpoint of this one. (Older versions did not say which one it was.)"""
    name = one_line(saved.facts.get("backend", "tensorflow"))[:40]
    return None if name == backend().name else name


def is_from(session: Session, name: CheckpointName) -> bool:
    """Was that checkpoint brought here by ``--from``?"""
    try:
        return session.spool.manifest(name).reason.startswith("from ")
    except (InvalidPair, OSError):
        return False


def converted(saved: Saved, say: Callable[[str], None], asked: bool) -> Saved:
    """Without what is the other backend's own. Raises Mismatch where it was not ``asked`` for, and between Keras 3 and
    Keras 2, whose paths differ.
    """
    then, now = name_of(saved), backend().name
    if then not in _SHARED or now not in _SHARED:
        otherwise = "or start a new run under another name and load the .h5's weights in the script"
        if KERAS_2 in (then, now):
            was, uses = (f"Keras {2 if name == KERAS_2 else 3}" for name in (then, now))
            set_it = "set TF_USE_LEGACY_KERAS=1" if then == KERAS_2 else "unset TF_USE_LEGACY_KERAS"
            raise Mismatch(f"the checkpoint was taken with {was}, and this fit is of {uses}: {set_it}, {otherwise}")
        raise Mismatch(
            f"the checkpoint was taken with Keras on {then}, and Keras runs on {now} here: set KERAS_BACKEND={then} "
            f"before keras is imported, {otherwise}"
        )
    if not asked:
        raise Mismatch(
            f"the checkpoint was taken with Keras on {then}, and Keras runs on {now} here: set KERAS_BACKEND={then} "
            f"before keras is imported. To go on with {now} all the same, not bit for bit, give "
            "holdfast.Resume(other_backend=True), or start a run with --from"
        )
    say(
        f"the checkpoint was taken with Keras on {then}, and Keras runs on {now} here: the training continues at its "
        "batch, with its weights and its optimizer's state, but not bit for bit; seed generators and the order of the "
        "data are others"
    )
    facts = {key: fact for key, fact in saved.facts.items() if key not in _NOT_SHARED}
    return replace(saved, facts={**facts, "random": random_state.shared(facts["random"])})


def restore(watched: Watched, saved: Saved, say: Callable[[str], None]) -> None:
    """Raises Mismatch if a weight is missing in the checkpoint, or has another shape there."""
    if layer_state.restore(watched.found.layers, saved.facts.get("layers", {}), say):
        watched.look_again()
    variables.build_optimizers(watched.model, anyway=True)
    here = watched.parts()
    found = _by_path(here, saved.values)
    weights = {id(variable) for variable in watched.model.weights}
    missing = [part for place, part in here.items() if place not in found and "@" not in place.group]
    if lost := [part for part in missing if id(part.variable) in weights and not _is_seed(part)]:
        raise Mismatch(
            f"the checkpoint has no value for {count(len(lost), 'weight')} of the model ({lost[0].path}, say): restore "
            "the script that wrote it, or start a new run under another name"
        )
    if others := [part.path for part in missing if not _is_seed(part)]:
        say(f"{count(len(others), 'variable')} begin anew, as the checkpoint has none of that path ({others[0]}, say)")
    assign(here, saved)
    layer_state.refresh(watched.found.layers.values())


def assign(here: Mapping[Place, Part], saved: Saved) -> None:
    for place, value in _by_path(here, saved.values).items():
        here[place].assign(value)


def _by_path(here: Mapping[Place, Part], values: Values) -> dict[Place, np.ndarray]:
    """In groups of one name the first variable of a path takes the first value of that path, and so on."""
    waiting = defaultdict(list)
    for place, (path, value) in sorted(values.items(), key=lambda item: item[0].index):
        if "@" not in place.group:
            waiting[place.group, path].append(value)
    found = {}
    for place, part in here.items():
        candidates = waiting[place.group, part.path] if "@" not in place.group else []
        if candidates and candidates[0].shape == part.shape and not _is_seed(part):
            value = candidates.pop(0)
            found[place] = value if str(value.dtype) == part.dtype else value.astype(part.dtype)
    return found


def _is_seed(part: Part) -> bool:
    """Each backend has another type for them."""
    return "seed_generator_state" in part.path
