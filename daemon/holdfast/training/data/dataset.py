"""``holdfast.dataset``: data whose order depends on nothing but the seed and the samples drawn so far.

Which pass comes next is asked for when a pass begins (dataset_passes.py), so it can be set when a training resumes.
Where it is sure that the batches done already are dropped (tf/tf_data_position.py), they come as zeros of the right
shape: nothing is read or computed for them.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ...core.errors import SettingsError
from ..session.open import open_session
from .arrays import as_tensors, samples_of
from .dataset_passes import PassCounter
from .pipeline_variables import writes_variables


def dataset(
    x: Any,
    y: Any = None,
    *,
    seed: int,
    batch_size: int | None = None,
    sample_weight: Any = None,
    shuffle: bool = True,
    drop_remainder: bool = False,
    map: Callable[..., Any] | None = None,  # noqa: A002
    shard: str | tuple[int, int] | None = None,
) -> Any:
    """A ``tf.data.Dataset`` for ``fit`` that a resumed training continues exactly.

    Two forms: ``dataset(x, y, batch_size=, seed=)`` for arrays, and ``dataset(make_epoch, seed=)`` for a function that
    takes a seed (an int, another one for each pass) and returns a batched ``tf.data.Dataset``, whose order must
    depend on that seed alone.

    Args:
        x: an array (or DataFrame) of shape ``(samples, ...)``, a list, tuple or dict of such arrays, or the function.
        y: the same for the targets.
        seed: any integer; with the samples drawn so far it decides the order.
        batch_size: samples in a batch, 32 if not given.
        sample_weight: an array of shape ``(samples,)``, or a structure like ``y``.
        shuffle: a new order for each pass; without it, the arrays' own.
        drop_remainder: leave out a last batch that is not full.
        map: a function of a batch (``map(x, y)``, as in ``Dataset.map``), to augment it, say. It is not called for
            batches that a resumed training has done. If it takes a keyword ``seed``, it gets an int64 tensor of shape
            ``(2,)`` that depends on seed, pass and batch alone, for the ``tf.random.stateless_*`` functions. One that
            draws from a seed generator (of a Keras layer, say) makes one batch after the other, and each once more
            when a training resumes.
        shard: where several machines train together, this one's share of the samples: ``"auto"``, or its rank and how
            many they are. The ranks' batches of one step are together one batch of the order that all share, so
            ``batch_size`` counts the samples of one machine. Samples that cannot be shared out evenly are left out,
            fewer than there are machines, others in each pass.

    Raises SettingsError if the arrays do not fit together, or are ragged or sparse.
    """
    if callable(x):
        if any(given is not None for given in (y, sample_weight, batch_size, map, shard)):
            raise SettingsError(
                "holdfast.dataset(make_epoch, seed=): the function makes whole batches; give nothing else"
            )
        return _from_function(x, int(seed))
    parts = (x,) if y is None else (x, y) if sample_weight is None else (x, y, sample_weight)
    arrays = as_tensors(parts)
    rank, ranks = _share(shard)
    whole, size = samples_of(arrays), 32 if batch_size is None else int(batch_size)
    samples = whole // ranks
    batches = 0 if size < 1 else samples // size if drop_remainder else -(-samples // size)
    if batches < 1:
        raise SettingsError(f"holdfast.dataset: {samples} samples do not fill one batch of {size}")
    counter = PassCounter(int(seed), batches, alike=not shuffle and map is None)

    def begin_pass() -> tuple[np.ndarray, np.int64, np.int64]:
        number, skip = counter.begin_pass()
        order = _order(counter.seed, number, whole) if shuffle else np.arange(whole)
        return order[: samples * ranks][rank::ranks], np.int64(skip), np.int64(_seed_of(counter.seed, number))

    def one_pass(_: Any) -> Any:
        order, skip, key = tf.numpy_function(begin_pass, [], (tf.int64, tf.int64, tf.int64))
        for tensor, shape in ((order, [None]), (skip, []), (key, [])):
            tensor.set_shape(shape)

        def indices(b: Any) -> Any:
            chosen = order[b * size : (b + 1) * size]
            return tf.ensure_shape(chosen, [size]) if drop_remainder else chosen

        def real(b: Any) -> Any:
            return _real_batch(arrays, map, indices(b), tf.stack([key, b]))

        def empty(b: Any) -> Any:
            return _empty_batch(real, indices(b))

        if counter.each_batch_counts:
            return tf.data.Dataset.range(batches).map(real)
        done = tf.data.Dataset.range(skip).map(empty)
        left = tf.data.Dataset.range(skip, batches).map(real, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return done.concatenate(left)

    made = tf.data.Dataset.from_tensors(0).flat_map(one_pass)
    if map is not None and writes_variables(made):  # one batch after the other, and none left out
        counter.each_batch_counts = True
        made = tf.data.Dataset.from_tensors(0).flat_map(one_pass)
    made = made.apply(tf.data.experimental.assert_cardinality(batches)).prefetch(tf.data.AUTOTUNE)
    if map is not None:
        made.holdfast_one_batch = lambda: tf.data.Dataset.range(1).map(
            lambda b: _real_batch(arrays, map, tf.range(min(size, samples)), tf.stack([b, b]))
        )
    return _with_counter(made, counter, tf.nest.flatten(arrays))


def _share(shard: str | tuple[int, int] | None) -> tuple[int, int]:
    """A rank and how many there are."""
    if shard is None:
        return 0, 1
    if shard == "auto":
        session = open_session()
        return session.rank, session.ranks
    if isinstance(shard, tuple) and len(shard) == 2 and all(type(one) is int for one in shard):
        rank, ranks = shard
        if 0 <= rank < ranks:
            return rank, ranks
    raise SettingsError(
        f"holdfast.dataset: shard is 'auto', or a rank and how many there are, as (0, 2); not {shard!r}"
    )


def _real_batch(arrays: Any, function: Callable[..., Any] | None, indices: Any, key: Any) -> Any:
    parts = tf.nest.map_structure(lambda array: tf.gather(array, indices), arrays)
    if function is not None:
        seeded = "seed" in inspect.signature(function).parameters
        made = function(*parts, seed=key) if seeded else function(*parts)
        parts = made if isinstance(made, tuple) else (made,)
    return parts[0] if len(parts) == 1 else parts


def _empty_batch(real: Callable[[Any], Any], indices: Any) -> Any:
    """Zeros of the shape that ``real`` would give: traced for its shape, never run."""
    spec = tf.data.Dataset.range(1).map(real).element_spec
    return tf.nest.map_structure(lambda one: _zeros(one, tf.shape(indices)[:1]), spec)


def _from_function(make_epoch: Callable[[int], Any], seed: int) -> Any:
    """Batches that are done are made once more and dropped: only the function knows how to skip them."""
    first = make_epoch(_seed_of(seed, 0))
    if not isinstance(first, tf.data.Dataset):
        raise SettingsError("holdfast.dataset(make_epoch, seed=): the function must return a tf.data.Dataset")
    known = max(0, int(first.cardinality().numpy()))
    counter = PassCounter(seed, known)
    alive: deque[Any] = deque(maxlen=4)  # what a pass reads must live as long as the pass

    def begin_pass() -> Any:
        made = make_epoch(_seed_of(seed, counter.begin_pass()[0]))
        alive.append(made)
        return tf.data.experimental.to_variant(made)

    def one_pass(_: Any) -> Any:
        variant = tf.py_function(begin_pass, [], tf.variant)
        variant.set_shape([])
        return tf.data.experimental.from_variant(variant, first.element_spec)

    made = tf.data.Dataset.from_tensors(0).flat_map(one_pass)
    made = made.apply(tf.data.experimental.assert_cardinality(known)) if known else made
    made.holdfast_pass = first
    return _with_counter(made, counter)


def _with_counter(made: Any, counter: PassCounter, arrays: Sequence[Any] = ()) -> Any:
    made.holdfast_passes = counter
    made.holdfast_arrays = arrays
    return made


def _order(seed: int, number: int, samples: int) -> np.ndarray:
    """A permutation that depends on seed and pass alone. PCG64's stream is fixed by NumPy's compatibility policy."""
    key = np.random.SeedSequence([seed & (2**64 - 1), number])
    return np.random.Generator(np.random.PCG64(key)).permutation(samples).astype(np.int64)


def _seed_of(seed: int, number: int) -> int:
    """One non-negative int32 for each pass."""
    return int(np.random.SeedSequence([seed & (2**64 - 1), number]).generate_state(1)[0]) & 0x7FFFFFFF


def _zeros(spec: Any, count: Any) -> Any:
    return tf.zeros(tf.concat([count, [n or 1 for n in spec.shape.as_list()[1:]]], 0), spec.dtype)
