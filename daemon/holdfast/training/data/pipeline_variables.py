"""Variables that the functions of a ``tf.data`` pipeline use: an augmentation layer's seed generator, say.

A function that writes one (by drawing from a seed generator) gives another batch each time, and runs ahead of the
training. So what counts is the value that a variable had as the iterator began: from there the same batches are made
once more. A variable that is only read is state like any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import tensorflow as tf

from ...core.errors import InvalidPair
from ..pair.plain import from_plain, to_plain

_READS = {"ReadVariableOp", "ResourceGather", "ResourceGatherNd", "VariableShape"}
_CALLS = {"PartitionedCall", "StatefulPartitionedCall"}
_SEVERAL_AT_ONCE = {"ParallelMapDataset", "ParallelInterleaveDataset", "MapAndBatchDataset"}


class DataState:
    """Of the datasets ``parts`` that a pipeline is made of. ``read_only`` and ``written`` are by stable names.

    ``at_once``: a function that writes runs several times at once, so that no two runs of the script are the same.
    """

    def __init__(self, parts: Iterable[Any]) -> None:
        self.read_only: dict[str, Any] = {}
        self.written: dict[str, Any] = {}
        self.at_once = False
        seen: set[int] = set()
        for number, part in enumerate(parts):
            for variable, writes in _uses(part):
                if writes and _kind(part) in _SEVERAL_AT_ONCE:
                    self.at_once = True
                if id(variable) not in seen:
                    seen.add(id(variable))
                    found = self.written if writes else self.read_only
                    found[f"{number}.{len(self.written) + len(self.read_only)}"] = variable

    def values(self) -> dict[str, Any]:
        """Those of ``written``, as plain values."""
        return {name: to_plain(variable.numpy()) for name, variable in self.written.items()}

    def check(self, values: Mapping[str, Any]) -> None:
        """Raises InvalidPair for what does not fit."""
        for name, variable in self.written.items():
            if name in values:
                _fitting(variable, values[name])

    def assign(self, values: Mapping[str, Any]) -> None:
        """Raises InvalidPair for what does not fit."""
        for name, variable in self.written.items():
            if name in values:
                variable.assign(_fitting(variable, values[name]))


def _fitting(variable: Any, plain: Any) -> Any:
    try:
        value = tf.convert_to_tensor(from_plain(plain), variable.dtype)
        if not variable.shape.is_compatible_with(value.shape):
            raise ValueError(f"it is {value.shape}, and the variable {variable.shape}")
    except (TypeError, ValueError) as error:
        raise InvalidPair(f"the .pkl's state of the data is malformed: {error}") from None
    return value


def writes_variables(dataset: Any) -> bool:
    return any(writes for part in chain_of(dataset) for _, writes in _uses(part))


def chain_of(dataset: Any) -> Iterator[Any]:
    """It, and all that it is made of."""
    yield dataset
    for one in dataset._inputs():
        yield from chain_of(one)


def _kind(part: Any) -> str:
    return type(part).__name__.lstrip("_")


def _uses(part: Any) -> Iterator[tuple[Any, bool]]:
    """The variables that a dataset's functions have captured, and whether they write them."""
    functions = part._functions() if isinstance(part, tf.data.Dataset) else ()
    for function in functions:
        graph = function.function.graph
        known = {id(variable.handle): variable for variable in graph.variables}
        for outside, inside in graph.captures:
            if id(outside) in known:
                yield known[id(outside)], _is_written(inside)


def _is_written(handle: Any) -> bool:
    """Unless all that uses it, in functions inside of this one too, only reads it."""
    return any(_writes(user, handle) for user in handle.consumers())


def _writes(user: Any, handle: Any) -> bool:
    if user.type in _READS:
        return False
    inner = _inner_graph(user)
    if inner is None:
        return True
    given = list(user.inputs)
    if user.type not in _CALLS:  # a dataset: what it is made of, then what its function has captured
        given = given[1 : 1 + len(user.get_attr("Targuments"))]
    inside = inner.inputs[len(inner.inputs) - len(given) :]
    return any(_is_written(inside[i]) for i, one in enumerate(given) if one is handle)


def _inner_graph(user: Any) -> Any:
    try:
        name = user.get_attr("f").name
        return user.graph._get_function(name).graph
    except (AttributeError, ValueError, KeyError):
        return None
