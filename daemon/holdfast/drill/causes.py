"""Why did it not come out the same? A likely cause and its remedy, from what a drill saw."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from ..core.artifacts import shown
from ..core.wording import count
from .compare_runs import DataCompared, Difference

_EARLIER_FITS = "weights at their ends"
_MOST_NAMED = 3
_DRAWS = "draws from tf.random"
_OF_DATA = ("no two runs see the same", "other batches than it gave before")
_SEED = "call keras.utils.set_random_seed(…) first of all"
_OF_ORDER = ". Put "  # then what comes behind what in the pipeline
_SEED_DATA = "seed what shuffles the data: shuffle(…, seed=), or keras.utils.set_random_seed(…) first of all"
_OWN_ORDER = f"{_SEED_DATA}; a cache() comes before the shuffle(), and one shuffle() is enough"
_ARTIFACTS = "write it under holdfast.run_dir() / 'artifacts', which is stored and restored"


class Cause(NamedTuple):
    cause: str
    remedy: str


def of_an_unequal_reference(found: Iterable[Difference], data: DataCompared, said: Sequence[str]) -> Cause:
    """The undisturbed training differs from itself. ``said`` are holdfast's warnings from inside the script."""
    if any("seed_generator" in difference.path for difference in found):
        return Cause(
            "an unseeded layer: its random numbers differ from start to start",
            f"{_SEED}, or give each random layer a seed",
        )
    if data.other:
        return Cause(
            f"the data: {data.other} is another one in each start",
            f"{_SEED}, which seeds the data's shuffles, too; draw in its functions by tf.random.stateless_…",
        )
    if named := _named_data(said):
        return named[0]
    if draws := [text for text in said if _DRAWS in text]:
        return Cause(draws[0].partition(";")[0].partition(",")[0], _SEED)
    cause = "unseeded initial weights, or nondeterministic kernels"
    if not data.exact and not data.compared:
        cause += ", or the order of the data (its batches could not be compared)"
    return Cause(cause, f"{_SEED}, and on a GPU tf.config.experimental.enable_op_determinism()")


STARTED_OVER = Cause(
    "the script does not use what was restored",
    "give fit a holdfast.Resume(), or put holdfast.session's resume_from to use",
)


OF_ARTIFACTS = Cause(
    "the training is identical; the script writes those files under artifacts/ otherwise after an interruption",
    "let it add to what is there (append=True, one file for each epoch), and make what it needs for them a callback's "
    "state",
)


def cautions(undisturbed: Collection[str], interrupted: Iterable[str]) -> list[str]:
    """Notes on a training that ended identically: the warnings that only its interruptions led to. What they name may
    end otherwise another time.
    """
    new = [text for text in dict.fromkeys(interrupted) if text not in undisturbed]
    return [f"identical here, but a start after an interruption warned: {text}" for text in new[:_MOST_NAMED]]


def of_a_failure(missing: Collection[str], output: Sequence[str]) -> Cause:
    """A machine failed where the undisturbed training did not; ``missing`` are files that only earlier machines had."""
    text = "\n".join(output)
    named = [name for name in missing if os.path.basename(name) in text]
    if named:
        return Cause(
            f"the script needs {shown(named)}, which it wrote to its working folder on an earlier machine: the next "
            "machine does not have it",
            _ARTIFACTS,
        )
    if missing:
        return Cause(
            f"not known. The script wrote {shown(missing)} to its working folder on an earlier machine, and the next "
            "machine does not have that; the end of its output says more",
            f"if it is read back: {_ARTIFACTS}",
        )
    return Cause("not known: the end of its output says more", "make the script start well where a checkpoint exists")


def of_a_difference(said: Sequence[str], data: DataCompared, missing: Collection[str]) -> Cause:
    """The interrupted training ended differently. ``said`` are holdfast's warnings from inside the script.

    What is proved comes first, and all of it; a guess is called one.
    """
    proved = [*(_named_data(said) or _of_data(said, data)), *_of_draws(said)]
    if proved:
        return Cause(". And ".join(one.cause for one in proved), ". And ".join(one.remedy for one in proved))
    kept = [text for text in dict.fromkeys(said) if "not kept" in text and _EARLIER_FITS not in text]
    if kept:
        return Cause(
            "state that holdfast named as not kept: " + "; ".join(kept[:_MOST_NAMED]),
            "make it a keras.Variable, or give the callback get_state() and set_state(state)",
        )
    if missing:
        return Cause(
            f"perhaps files: the script wrote {shown(missing)} to its working folder, and the next machine did not "
            "have that",
            f"if it is read back: {_ARTIFACTS}",
        )
    if not data.exact and not data.compared:
        return Cause(
            "not known: the order of the data, which could not be compared, or state that the script keeps outside of "
            "what holdfast stores",
            f"{_SEED_DATA}. Then leave the shuffle out: if it still differs, it is not the data",
        )
    same = f"; the data is not the cause: {count(data.compared, 'batch', 'batches')} compared are the same"
    return Cause(
        "state that the script keeps outside of what holdfast stores (globals, files, generators of its own)"
        + (same if data.compared else ""),
        "move it into a layer, a callback with get_state() and set_state(), or holdfast.session's values",
    )


def _named_data(said: Sequence[str]) -> list[Cause]:
    """What the data itself has named, with the least remedy."""
    texts = [text for text in dict.fromkeys(said) if "validation" not in text]
    if ordered := [text.partition(_OF_ORDER) for text in texts if _OF_ORDER in text]:
        cause, _, remedy = ordered[0]
        return [Cause(f"the data: {cause}", f"put {remedy}")]
    found = [text.rpartition(": ") for text in dict.fromkeys(said) if any(part in text for part in _OF_DATA)]
    return [Cause(f"the data: {cause.partition('batch, but ')[2] or cause}", remedy) for cause, _, remedy in found[:1]]


def _of_data(said: Sequence[str], data: DataCompared) -> list[Cause]:
    if not data.other:
        return []
    cause = f"the data: {data.other} is not the one that it is in the undisturbed training"
    if draws := next((text for text in said if "It draws from tf.random" in text), ""):
        why = draws.partition("It ")[2].partition(":")[0]
        return [Cause(f"{cause} ({why})", "draw by tf.random.stateless_…, which gives the same numbers again")]
    if any("Python code that it calls" in text for text in said):
        return [Cause(f"{cause}, and Python code that it calls may draw random numbers", "give that code a seed")]
    return [Cause(cause, _OWN_ORDER)]


def _of_draws(said: Sequence[str]) -> list[Cause]:
    found = [text.partition("; ") for text in dict.fromkeys(said) if _DRAWS in text and "and that state" in text]
    return [Cause(cause, remedy) for cause, _, remedy in found[:1]]
