"""``holdfast.dataset``: data whose order depends on nothing but the seed and the samples drawn so far.

A pass is one way through the data. Which pass comes next is kept here, in Python, and asked for by the dataset when a
pass begins; so it can be set when a training resumes. Batches that are done already come as zeros of the right shape:
they are dropped anyway, and nothing is read or computed for them.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from ..core.errors import SettingsError

_lock = threading.Lock()
_sources: list[_Source] = []
_start: _Start | None = None
_training: int | None = None


@dataclass(frozen=True)
class _Start:
    """Where the training's data has to go on: ``skip`` batches of the epoch come empty.

    ``drawn`` is None where Keras makes a new iterator for each epoch. With ``steps_per_epoch`` one iterator serves all
    of them, and ``drawn`` counts the batches that were drawn in this ``fit`` before the epoch.
    """

    drawn: int | None
    skip: int


class _Source:
    """Counts the passes of one dataset. Kept for the life of the process: it is known by its place in line."""

    def __init__(self, seed: int, batches: int | None) -> None:
        self.seed = seed
        self.batches = batches
        self.next_pass = 0
        self.first_pass = 0
        self.skip = 0
        with _lock:
            self.index = len(_sources)
            _sources.append(self)

    def begin_pass(self) -> tuple[int, int]:
        """Called by the dataset as a pass begins: the pass's number, and how many of its batches to leave empty.

        The first pass that begins after ``begin_epoch`` is the training's.
        """
        global _start, _training
        with _lock:
            if _start is not None:
                start, _start, _training = _start, None, self.index
                self.skip = start.skip
                if start.drawn is not None and self.batches:
                    self.next_pass = self.first_pass + start.drawn // self.batches
                    self.skip += start.drawn % self.batches
            number = self.next_pass
            self.next_pass += 1
            skip = self.skip if self.batches is None else min(self.skip, self.batches)
            self.skip -= skip
        return number, skip


def dataset(
    x: Any,
    y: Any = None,
    *,
    batch_size: int | None = None,
    seed: int,
    sample_weight: Any = None,
    shuffle: bool = True,
    drop_remainder: bool = False,
) -> Any:
    """A ``tf.data.Dataset`` for ``fit`` that a resumed training continues exactly.

    Args:
        x: an array, or a tuple or dict of arrays, of shape ``(samples, ...)``.
        y: the same for the targets.
        batch_size: samples in a batch, 32 if not given.
        seed: any integer; with the samples drawn so far it decides the order.
        sample_weight: an array of shape ``(samples,)``, or a structure like ``y``.
        shuffle: a new order for each pass; without it, the arrays' own.
        drop_remainder: leave out a last batch that is not full.

    Raises SettingsError if the arrays do not fit together.
    """
    parts = (x,) if y is None else (x, y) if sample_weight is None else (x, y, sample_weight)
    size = batch_size or 32
    arrays = tf.nest.map_structure(tf.convert_to_tensor, parts)
    samples = _samples(arrays)
    batches = samples // size if drop_remainder else -(-samples // size)
    if size < 1 or batches < 1:
        raise SettingsError(f"holdfast.dataset: {samples} samples do not fill one batch of {size}")
    source = _Source(int(seed), batches)

    def begin_pass() -> tuple[np.ndarray, np.int64]:
        number, skip = source.begin_pass()
        order = _order(source.seed, number, samples) if shuffle else np.arange(samples)
        return order[: batches * size], np.int64(skip)

    def one_pass(_: Any) -> Any:
        order, skip = tf.numpy_function(begin_pass, [], (tf.int64, tf.int64))
        order.set_shape([None])
        return tf.data.Dataset.range(batches).map(lambda b: (order[b * size : (b + 1) * size], b < skip))

    def batch(indices: Any, empty: Any) -> Any:
        if drop_remainder:
            indices = tf.ensure_shape(indices, [size])
        return _packed(tf.cond(empty, lambda: _zeros(arrays, indices), lambda: _gather(arrays, indices)))

    indices = tf.data.Dataset.from_tensors(0).flat_map(one_pass)
    batched = indices.map(batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return batched.apply(tf.data.experimental.assert_cardinality(batches)).prefetch(tf.data.AUTOTUNE)


def get_state() -> dict[str, Any]:
    """Which pass comes next, for each dataset in the order of their making, and which of them is the training's."""
    with _lock:
        return {"passes": [source.next_pass for source in _sources], "training": _training}


def set_state(state: Any) -> None:
    """Sets what ``get_state`` gave. A script that makes other datasets than before is left alone."""
    global _training
    passes = state.get("passes") if isinstance(state, dict) else None
    with _lock:
        if isinstance(passes, list) and len(passes) == len(_sources):
            _training = state.get("training")
            for source, number in zip(_sources, passes, strict=True):
                source.next_pass = int(number)


def begin_fit() -> None:
    """Passes that the script made before this ``fit`` do not count as its own."""
    global _training
    with _lock:
        _training = None
        for source in _sources:
            source.first_pass = source.next_pass


def begin_epoch(drawn: int | None, skip: int) -> int:
    """The pass that begins next is the training's. Returns how many batches to drop besides ``skip``."""
    global _start
    with _lock:
        _start = _Start(drawn, skip)
        source = _sources[_training] if isinstance(_training, int) and _training < len(_sources) else None
    return drawn % source.batches if drawn and source is not None and source.batches else 0


def _samples(arrays: Any) -> int:
    lengths = {int(array.shape[0]) if array.shape.rank else -1 for array in tf.nest.flatten(arrays)}
    if len(lengths) != 1 or min(lengths) < 1:
        raise SettingsError(
            f"holdfast.dataset: all arrays need the same number of samples, 1 or more; they have {sorted(lengths)}"
        )
    return lengths.pop()


def _order(seed: int, number: int, samples: int) -> np.ndarray:
    """A permutation that depends on seed and pass alone. PCG64's stream is fixed by NumPy's compatibility policy."""
    key = np.random.SeedSequence([seed & (2**64 - 1), number])
    return np.random.Generator(np.random.PCG64(key)).permutation(samples).astype(np.int64)


def _gather(arrays: Any, indices: Any) -> Any:
    return tf.nest.map_structure(lambda array: tf.gather(array, indices), arrays)


def _zeros(arrays: Any, indices: Any) -> Any:
    count = tf.shape(indices)[:1]
    return tf.nest.map_structure(lambda a: tf.zeros(tf.concat([count, a.shape[1:]], 0), a.dtype), arrays)


def _packed(parts: Any) -> Any:
    return parts[0] if len(parts) == 1 else parts

