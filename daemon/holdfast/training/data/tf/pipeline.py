"""What kind of data a ``tf.data`` pipeline is. It is looked at as the graph of transformations that it is
(``Dataset._inputs``); nothing is drawn from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import tensorflow as tf
from tensorflow.python.framework import op_def_registry

from ..dataset_passes import pass_counter_of
from ..pipeline_variables import chain_of

# Each batch of ours comes out as it went in, and passes follow upon each other whole.
SAME_BATCHES = {"RepeatDataset", "PrefetchDataset", "OptionsDataset", "AssertCardinalityDataset"}
# The same passes give the same batches. A shuffle's order, or what is in a cache, is beyond us.
SAME_ORDER = SAME_BATCHES | {
    "BatchDataset",
    "ConcatenateDataset",
    "FilterDataset",
    "MapDataset",
    "PaddedBatchDataset",
    "ParallelBatchDataset",
    "ParallelMapDataset",
    "RangeDataset",
    "RebatchDataset",
    "RestructuredDataset",
    "ShardDataset",
    "SkipDataset",
    "TakeDataset",
    "TensorDataset",
    "TensorSliceDataset",
    "UnbatchDataset",
    "VariantDataset",
    "WindowDataset",
    "ZipDataset",
}
_JOINED = {"ConcatenateDataset", "ZipDataset"}

# Operations that say they have a state, and give the same again all the same.
_HARMLESS = {
    "Assert",
    "Case",
    "HashTableV2",
    "If",
    "LookupTableFindV2",
    "LookupTableSizeV2",
    "PartitionedCall",
    "PrintV2",
    "ReadFile",
    "ReadVariableOp",
    "ResourceGather",
    "ResourceGatherNd",
    "StatefulPartitionedCall",
    "VarHandleOp",
    "VariableShape",
    "While",
}
# Of these, those whose state is a variable's.
ON_VARIABLES = {
    "AssignAddVariableOp",
    "AssignSubVariableOp",
    "AssignVariableOp",
    "RngReadAndSkip",
    "RngSkip",
    "StatefulStandardNormalV2",
    "StatefulTruncatedNormal",
    "StatefulUniform",
    "StatefulUniformFullInt",
    "StatefulUniformInt",
}
_IGNORE = tf.data.experimental.ExternalStatePolicy.IGNORE
_MOST_IN_GRAPH = 1 << 20
_TEXT = 64  # bytes that a text is taken to have
_SEEDED = {"RandomDataset", "ShuffleDataset", "ShuffleAndRepeatDataset"}
_SNAPSHOTS = {"SnapshotDataset", "LegacySnapshotDataset"}


class Pipeline:
    """Of a dataset that Keras iterates over, and that none of ours is in."""

    def __init__(self, dataset: Any) -> None:
        self.parts = list(parts_of(dataset))
        self.kinds = {kind_of(part) for part in self.parts}
        self.stateful = sorted({one for part in self.parts for one in _stateful_operations(part)})
        self.seeds = sum(kind_of(part) in _SEEDED for part in self.parts)
        self.unseeded = any(map(_is_unseeded, self.parts))
        self.reads_variables = any(node.op == "ReadVariableOp" for part in self.parts for node in _nodes(part))

    @property
    def has_state(self) -> bool:
        """May the state of an iterator over it be taken, and does it say all?

        Not where it writes files of its own: those of another machine are not here, and a snapshot whose state is taken
        during its first pass is unreadable afterwards. Nor where elements are sampled from several datasets that end:
        set to a state in which one of them is at its end, TensorFlow looks for more for ever.
        """
        return not (
            self.kinds & _SNAPSHOTS or any(map(_file_of, self.parts)) or any(map(_samples_to_the_end, self.parts))
        )

    @property
    def is_ordered(self) -> bool:
        """Do no two runs differ for the speed of threads?"""
        return not any(map(_is_unordered, self.parts))

    @property
    def caches_an_order(self) -> bool:
        """Does the first pass of a process decide the order of all, as a cache comes after a shuffle?"""
        caches = [part for part in self.parts if kind_of(part) == "CacheDataset"]
        return any(_reshuffles(part) for cache in caches for part in parts_of(cache))

    @property
    def layout(self) -> list[str]:
        """What a state of its iterator fits."""
        return [kind_of(part) for part in self.parts]


def kind_of(part: Any) -> str:
    return type(part).__name__.lstrip("_")


def all_parts(x: Any) -> Iterator[Any]:
    """Those that ours are made of too; of a function of passes, the first one."""
    for part in parts_of(x):
        counted = pass_counter_of(part) is not None
        within = getattr(part, "holdfast_pass", part)
        yield from chain_of(within) if counted and isinstance(within, tf.data.Dataset) else (part,)


def is_ours(x: Any) -> bool:
    """Is one of ours in it?"""
    return any(pass_counter_of(part) is not None for part in parts_of(x))


def parts_of(x: Any, seen: set[int] | None = None) -> Iterator[Any]:
    """The datasets that ``x`` is made of, each once; what ours are made of is not looked at."""
    seen = set() if seen is None else seen
    x = getattr(x, "_original_dataset", x)  # of a distributed one
    if id(x) in seen:
        return
    seen.add(id(x))
    yield x
    if isinstance(x, tf.data.Dataset) and pass_counter_of(x) is None:
        for one in x._inputs():
            yield from parts_of(one, seen)


def round_of(parts: list[Any]) -> int:
    """The batches of one round, if the data is a chain that repeats in a fixed order and begins ours once a round; else
    0.
    """
    chain = [part for part in parts if pass_counter_of(part) is None]
    kinds = [kind_of(part) for part in chain]
    if kinds.count("RepeatDataset") != 1 or not set(kinds) <= SAME_ORDER - _JOINED:
        return 0
    outer = kinds.index("RepeatDataset")
    if not set(kinds[:outer]) <= SAME_BATCHES:
        return 0
    return max(0, int(chain[outer]._inputs()[0].cardinality()))


def _nodes(part: Any) -> Iterator[Any]:
    """Of all functions of a part, and of those that they call."""
    for function in part._functions() if isinstance(part, tf.data.Dataset) else ():
        definition = function.function.graph.as_graph_def()
        yield from definition.node
        for inner in definition.library.function:
            yield from inner.node_def


def _stateful_operations(part: Any) -> Iterator[str]:
    for name in {node.op for node in _nodes(part)}:
        known = op_def_registry.get(name)
        if name not in _HARMLESS and "Dataset" not in name and (known is None or known.is_stateful):
            yield name


def _is_unseeded(part: Any) -> bool:
    """A shuffle, or random numbers, without a seed of its own and without a global one."""
    seeds = [seed for name in ("_seed", "_seed2") if isinstance(seed := getattr(part, name, None), tf.Tensor)]
    if seeds:
        return not any(map(int, seeds))
    shuffles = (node for node in _nodes(part) if node.op == "RandomShuffle")
    return any(not node.attr["seed"].i and not node.attr["seed2"].i for node in shuffles)


def is_reordered_in_repeat(x: Any) -> bool:
    """Does an order that is another in each pass lie below a ``repeat()``, one of ours or a seeded one? It advances as
    a pass begins, for all iterators over the data at once.
    """
    repeats = [part for part in parts_of(x) if kind_of(part) == "RepeatDataset"]
    return any(_is_reordered(one) for repeat in repeats for one in parts_of(repeat))


def advances_as_it_is_drawn(x: Any) -> bool:
    """Is there such an order that opening an iterator does not advance? A shuffle opens what it shuffles with the first
    draw.
    """
    shuffles = [part for part in parts_of(x) if kind_of(part) in {"ShuffleDataset", "ShuffleAndRepeatDataset"}]
    below = (one for part in shuffles for data in part._inputs() for one in parts_of(data))
    return is_reordered_in_repeat(x) or any(map(_is_reordered, below))


def _is_reordered(part: Any) -> bool:
    again = kind_of(part) == "RandomDataset" and getattr(part, "_rerandomize", None) is True
    return pass_counter_of(part) is not None or ((again or _reshuffles(part)) and not _is_unseeded(part))


def _reshuffles(part: Any) -> bool:
    told = getattr(part, "_reshuffle_each_iteration", None)
    return kind_of(part) in {"ShuffleDataset", "ShuffleAndRepeatDataset"} and told is not False


def shuffles_later(x: Any) -> bool:
    return any(map(_shuffles_later, parts_of(x)))


def _shuffles_later(part: Any) -> bool:
    """Has what is concatenated behind other data a seeded order? It advances only in a pass that gets there, and not
    as an iterator is opened.
    """
    later = part._inputs()[1:] if kind_of(part) == "ConcatenateDataset" else ()
    return any(_reshuffles(one) and not _is_unseeded(one) for data in later for one in parts_of(data))


def _is_unordered(part: Any) -> bool:
    told = getattr(part, "_deterministic", None)  # of a map, or a batch
    if kind_of(part) == "ParallelInterleaveDataset":
        told = _told_of_interleave(part)
    by_option = isinstance(part, tf.data.Dataset) and part.options().deterministic is False
    return told == "false" or (told in (None, "default") and by_option)


def _told_of_interleave(part: Any) -> str | None:
    """It stands in its operation alone, and in a graph that holds all arrays: not for large ones."""
    held = [tensor for one in parts_of(part) for tensor in getattr(one, "_tensors", ())]
    sizes = (
        tensor.shape.num_elements() * (tensor.dtype.size or _TEXT) for tensor in held if isinstance(tensor, tf.Tensor)
    )
    if sum(sizes) > _MOST_IN_GRAPH:
        return None
    definition = tf.compat.v1.GraphDef.FromString(part._as_serialized_graph(external_state_policy=_IGNORE).numpy())
    nodes = [node for node in definition.node if node.op.startswith("ParallelInterleaveDataset")]
    return nodes[-1].attr["deterministic"].s.decode() if nodes else None


def _samples_to_the_end(part: Any) -> bool:
    """Its inputs are what selects, and the datasets that are sampled."""
    sampled = part._inputs()[1:] if kind_of(part) == "DirectedInterleaveDataset" else ()
    return any(one.cardinality() != tf.data.INFINITE_CARDINALITY for one in sampled)


def _file_of(part: Any) -> bytes:
    """Of a cache that is not in memory."""
    name = getattr(part, "_filename", None) if kind_of(part) == "CacheDataset" else None
    return bytes(name.numpy()) if isinstance(name, tf.Tensor) else b""
