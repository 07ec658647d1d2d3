"""Why did it not come out the same? A likely cause and its remedy, from what a drill saw."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from ..core.artifacts import shown
from .compare import Difference

_ARTIFACTS = "write it under holdfast.run_dir() / 'artifacts', which is stored and restored"


class Cause(NamedTuple):
    cause: str
    remedy: str


def of_an_unequal_reference(found: Iterable[Difference], own_data: bool) -> Cause:
    """The undisturbed training differs from itself."""
    if any("seed_generator" in difference.path for difference in found):
        return Cause(
            "an unseeded layer: its random numbers differ from start to start",
            "call keras.utils.set_random_seed(…) first of all, or give each random layer a seed",
        )
    if not own_data:
        return Cause(
            "the order of the data: it is shuffled without a seed",
            "call keras.utils.set_random_seed(…) first of all, and feed fit from holdfast.dataset(…, seed=)",
        )
    return Cause(
        "unseeded initial weights, or nondeterministic kernels",
        "call keras.utils.set_random_seed(…) first of all, and on a GPU tf.config.experimental.enable_op_determinism()",
    )


STARTED_OVER = Cause(
    "the script does not use what was restored",
    "give fit a holdfast.Resume(), or put holdfast.session's resume_from to use",
)


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


def of_a_difference(said: Sequence[str], own_data: bool, missing: Collection[str]) -> Cause:
    """The interrupted training ended differently. ``said`` are holdfast's warnings from inside the script."""
    if not own_data or any("another order" in text for text in said):
        return Cause(
            "the order of the data: it is not the same when an epoch is resumed in its middle",
            "feed fit from holdfast.dataset(x, y, batch_size=, seed=), or holdfast.dataset(make_epoch, seed=)",
        )
    kept = next((text for text in said if "not kept" in text), "")
    if kept:
        return Cause(kept, "give that callback get_state() and set_state(state)")
    if missing:
        return Cause(
            f"perhaps files: the script wrote {shown(missing)} to its working folder, and the next machine did not "
            "have that",
            f"if it is read back: {_ARTIFACTS}",
        )
    return Cause(
        "state that the script keeps outside of what holdfast stores (globals, files, generators of its own)",
        "move it into a layer, a callback with get_state() and set_state(), or holdfast.session's values",
    )
