"""Which training is which: an identity is what is known of a training as it begins, as plain values.

Identities are compared field by field. What is the same in every field is the same training. What differs only in what
an edit or an extension may change can be: it is taken for the same only if no other can be meant and this start of the
command has not met it yet. One training never receives what is another's: where that is in doubt, it trains anew.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from .call_site import digest

Identity = dict[str, Any]

# What differs in one of these is another training, whatever was edited.
_FIXED = {
    "kind": "kind of training",
    "model": "model",
    "optimizer": "optimizer",
    "loops": "iteration of the enclosing loop",
}
_PLACE = {
    "script": "script",
    "arguments": "arguments",
    "site": "calling function",
    "text": "calling line",
    "lines": "line number",
}
_SETTINGS = {
    "layers": "layers' settings",
    "rate": "learning rate",
    "compile": "compile settings",
    "loss": "settings of loss, metrics and class weights",
    "seed": "random seed",
    "data": "data",
    "weights": "initial weights",
}
NAMES = {**_FIXED, **_PLACE, "epochs": "epochs", **_SETTINGS}
_SAMPLES = ("data", "weights")
LOSS_AT_END = "loss_at_end"  # of a training, whose callbacks may change an object that later ones use too
_TOLERANCE = 1e-3


class Known(Protocol):
    """A training that the run has."""

    identity: Identity | None
    done: bool
    claimed: bool


T = TypeVar("T", bound=Known)


def of_process(command: Any) -> Identity:
    """What holds for all trainings of this process. ``command`` is what its supervisor was told to run, if it has one.

    ``command`` and ``source`` are no part of what a training is: they tell whether a person changed something.
    """
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    in_notebook = "ipykernel" in sys.modules  # whose arguments are the kernel's own
    arguments = [] if in_notebook else sys.argv[1:]
    return {
        "script": "notebook" if in_notebook else _script(sys.argv[0] if sys.argv else ""),
        "arguments": digest(arguments),
        "command": digest(arguments if command is None else command),
        "source": None if main is None else _source(Path(main)),
    }


def _script(path: str) -> str:
    """As seen from the working directory, so that it is the same on another machine."""
    if not os.path.isabs(path):
        return path
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative


def _source(path: Path) -> str | None:
    try:
        return digest(path.read_bytes())
    except OSError:
        return None


def is_edited(before: Identity | None, now: Identity) -> bool:
    """Did a person change the command or the script since? The file of another script says nothing about that."""
    if before is None:
        return False
    same_script = before.get("script") == now.get("script")
    return _is_of_another_command(before, now) or (same_script and before.get("source") != now.get("source"))


def _is_of_another_command(before: Identity, now: Identity) -> bool:
    return bool(before.get("command") != now.get("command"))


def choose(known: Sequence[T], now: Identity, extended: bool, diverged: bool) -> tuple[T | None, list[str]]:
    """The training among ``known`` that begins again, or None for a new one; and the names of the fields that differ.

    ``extended``: the run is to do more than before. ``diverged``: only what certainly began with the same weights as
    now is what this script would make.
    """
    differences = [(one, difference(one.identity, now)) for one in known if _is_possible(one, now, diverged)]
    for one, found in differences:
        if one.claimed and not one.done:  # it raised, and is tried again: with whatever weights
            found = [key for key in found if key != "weights"]
        if not found and not (one.claimed and one.done):
            return one, []
    for one, found in differences:
        if found == ["loss"] and one.done and not one.claimed and _had_loss_of_skipped(one, now, known):
            return one, []
    free = [(one, found) for one, found in differences if not one.claimed]
    likely = [(one, found) for one, found in free if _may_differ(one, found, now, extended)]
    least = min((len(found) for _, found in likely), default=0)
    nearest = [pair for pair in likely if len(pair[1]) == least]
    if len(nearest) == 1:
        return nearest[0]
    misfits = [(one, found) for one, found in free if _is_misfit(one, found, now)]
    return misfits[0] if len(misfits) == 1 else (None, [])


def _had_loss_of_skipped(one: Known, now: Identity, known: Sequence[Known]) -> bool:
    """Did it begin with the loss that an earlier training left, and is the loss now as it was before that one, which
    was skipped in this start?
    """
    before = (one.identity or {}).get("loss")
    skipped = [other.identity or {} for other in known if other.claimed and other.done]
    return any(before == other.get(LOSS_AT_END) and now.get("loss") == other.get("loss") for other in skipped)


def _is_misfit(one: Known, found: list[str], now: Identity) -> bool:
    """Is it what stands at that place, and cannot be resumed? Restoring it says in which way, and is refused."""
    if one.done or {"kind", "loops", "script", "site"} & set(found) or not {"model", "optimizer"} & set(found):
        return False
    return "arguments" not in found or is_edited(one.identity, now)


def _is_possible(one: Known, now: Identity, diverged: bool) -> bool:
    if one.identity is None:
        return False
    return one.claimed or not diverged or _same(one.identity.get("weights"), now.get("weights"))


def _may_differ(one: Known, found: list[str], now: Identity, extended: bool) -> bool:
    """May a person have made that difference, where no other training of the script can have?"""
    if not found or _FIXED.keys() & set(found):
        return False
    before = one.identity or {}
    if "script" in found and not (extended or _is_of_another_command(before, now)):
        return False  # two scripts of one command: the other one's turn was skipped, say
    if not one.done:
        return True
    more = before.get("epochs", 0) < now.get("epochs", 0)
    return (extended or is_edited(before, now)) and (more or not _SETTINGS.keys() & set(found))


def difference(before: Identity | None, now: Identity) -> list[str]:
    """The fields that differ, as far as both are known."""
    if before is None:
        return []
    found = [key for key in NAMES if not _agree(key, before.get(key), now.get(key))]
    if "weights" in found and (before.get("seed") is None or "seed" in found):
        found.remove("weights")  # without a seed they are others each time
    return found


def _agree(key: str, before: Any, now: Any) -> bool:
    if before is None or now is None:
        return before is now or key not in ("seed", "script")
    if key == "loops" and [name for name, _ in before] != [name for name, _ in now]:
        return True  # other loops are another place in the script
    return _same(before, now) if key in _SAMPLES else bool(before == now)


def _same(before: Any, now: Any) -> bool:
    """Equal, numbers to within what another machine may round otherwise. What is not known is not the same."""
    if isinstance(before, float) and isinstance(now, float):
        both_nan = math.isnan(before) and math.isnan(now)
        return both_nan or math.isclose(before, now, rel_tol=_TOLERANCE, abs_tol=1e-6)
    if isinstance(before, list | tuple) and isinstance(now, list | tuple):
        return len(before) == len(now) and all(map(_same, before, now))
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        return before.keys() == now.keys() and all(_same(before[key], now[key]) for key in before)
    return before is not None and bool(before == now)
