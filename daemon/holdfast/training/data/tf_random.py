"""Random operations of TensorFlow's that keep their state in their kernels, where nothing can read or set it.

They are found in graphs. ``keras.random`` with a seed generator and ``tf.random.stateless_…`` leave other operations.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import tensorflow as tf

from ..session import random_state

_STATEFUL = {
    "AllCandidateSampler",
    "FixedUnigramCandidateSampler",
    "LearnedUnigramCandidateSampler",
    "LogUniformCandidateSampler",
    "Multinomial",
    "ParameterizedTruncatedNormal",
    "RandomCrop",
    "RandomGamma",
    "RandomPoisson",
    "RandomPoissonV2",
    "RandomShuffle",
    "RandomStandardNormal",
    "RandomUniform",
    "RandomUniformInt",
    "SampleDistortedBoundingBox",
    "SampleDistortedBoundingBoxV2",
    "ThreadUnsafeUnigramCandidateSampler",
    "TruncatedNormal",
    "UniformCandidateSampler",
}


_PYTHON = {"EagerPyFunc", "PyFunc", "PyFuncStateless"}


class Draw(NamedTuple):
    """``name`` is the operation's in its graph: the scopes that it is in, and its own."""

    operation: str
    name: str


def draws_in(graph: Any) -> list[Draw]:
    """The stateful random operations of a graph, and of the functions in it."""
    definition = graph.as_graph_def()
    bodies = [definition.node, *(function.node_def for function in definition.library.function)]
    return [Draw(node.op, node.name) for body in bodies for node in body if node.op in _STATEFUL]


def draws_in_data(data: Any) -> list[str]:
    """Which operations the functions of a tf.data pipeline draw with (in ``map``, say)."""
    found = {draw.operation for function in _functions(data, set()) for draw in draws_in(function.function.graph)}
    return sorted(found)


def calls_python(function: Any) -> bool:
    """Does a function of a pipeline call Python code, which may draw from whatever it likes?"""
    definition = function.function.graph.as_graph_def()
    bodies = [definition.node, *(inner.node_def for inner in definition.library.function)]
    return any(node.op in _PYTHON for body in bodies for node in body)


def differs_from_itself(data: Any) -> bool:
    """Does Python code in the functions of ``data`` make another first element each time, of random numbers, say?

    Where there is such code it is made twice. The global random states are left as they were.
    """
    if not any(map(calls_python, data._functions())):
        return False
    before = random_state.get_state()
    try:
        one, other = (tf.nest.flatten(next(iter(data)), expand_composites=True) for _ in range(2))
    except tf.errors.OpError:  # the training will end of it
        return False
    finally:
        random_state.set_state(before)
    return any(
        bytes(tf.io.serialize_tensor(a).numpy()) != tf.io.serialize_tensor(b).numpy()
        for a, b in zip(one, other, strict=True)
    )


def _functions(data: Any, seen: set[int]) -> Iterator[Any]:
    if isinstance(data, tf.data.Dataset) and id(data) not in seen:
        seen.add(id(data))
        yield from data._functions()
        for one in data._inputs():
            yield from _functions(one, seen)
