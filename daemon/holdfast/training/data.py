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
_start: _Start | None = None
_training: _Training | None = None


@dataclass(frozen=True)
class _Start:
    """How the training's next pass begins: with which number (None: the one that is due), and ``skip`` empty batches."""

    number: int | None
    skip: int


@dataclass(frozen=True)
class _Training:
    """The training's dataset, and the pass that was the first of the present iterator."""

    source: _Source
    number: int


class _Source:
    """Counts the passes of one dataset."""

    def __init__(self, seed: int, batches: int) -> None:
        self.seed = seed
        self.batches = batches
        self.next_pass = 0
        self._skip = 0

    def begin_pass(self) -> tuple[int, int]:
        """Called by the dataset as a pass begins: the pass's number, and how many of its batches to leave empty.

        The first pass that begins after ``begin_iterator`` is the training's.
        """
        global _start, _training
        with _lock:
            if _start is not None:
                start, _start = _start, None
                self._skip = start.skip
                self.next_pass = self.next_pass if start.number is None else start.number
                _training = _Training(self, self.next_pass)
            number = self.next_pass
            self.next_pass += 1
            skip = min(self._skip, self.batches)
            self._skip -= skip
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


def begin_fit() -> None:
    """Nothing is known of the data of the ``fit`` that begins."""
    global _start, _training
    with _lock:
        _start = _training = None


def begin_iterator(drawn: int, skip: int, saved: Any) -> int:
    """The pass that begins next is the training's.

    Args:
        drawn: batches that an earlier process drew from the same iterator before this epoch (0 where Keras makes a new
            iterator for each epoch).
        skip: batches of this epoch that are done already: they come empty.
        saved: what ``position`` gave then; None to begin anew.

    Returns how many batches to drop besides ``skip``, as a pass can only begin at its beginning.
    """
    global _start
    number, offset = None, 0
    if isinstance(saved, dict):
        batches = max(1, int(saved["batches"]))
        number, offset = int(saved["pass"]) + drawn // batches, drawn % batches
    with _lock:
        _start = _Start(number, skip + offset)
    return offset


def position(next_epoch: bool) -> dict[str, int] | None:
    """Where the training's iterator began, or where the next epoch's will; None if the data is not ours."""
    with _lock:
        if _training is None:
            return None
        source = _training.source
        return {"pass": source.next_pass if next_epoch else _training.number, "batches": source.batches}


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

