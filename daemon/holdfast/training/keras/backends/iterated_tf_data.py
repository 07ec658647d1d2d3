"""``tf.data`` on JAX and PyTorch, where Keras goes through it batch by batch. Only for such data: it loads TensorFlow.

What is done is drawn once more; of a ``holdfast.dataset`` it comes as zeros. The state of an iterator is not kept here:
on PyTorch, and on JAX's devices, Keras has drawn ahead of the training by the time that a checkpoint is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ....core.errors import InvalidPair
from ...data.batch_digests import OTHER_EPOCHS
from ...data.dataset_passes import pass_counter_of
from ...data.pipeline_variables import DataState
from ...data.position import ignore_earlier
from ...data.python.drawn_by_keras import DrawnByKeras
from ...data.tf.iterator_position import order_that_is_lost
from ...data.tf.iterators import note_opened, opened, reach
from ...data.tf.pipeline import (
    SAME_ORDER,
    Pipeline,
    advances_as_it_is_drawn,
    all_parts,
    is_ours,
    kind_of,
    parts_of,
    shuffles_later,
)
from ...data.tf.tf_data_position import TfDataPosition
from ...data.tf_random import draws_in_data as draws_in_data
from .protocol import Say

_ITERATORS, _VALIDATIONS = "iterators", "validation_opened"


class IteratedTfData(TfDataPosition):
    """Iterators over a pipeline of the script's own are counted: each one that is opened advances the seeds of its
    shuffles, so a later process opens as many. What it draws again is compared with what came before.
    """

    def __init__(self, x: Any, epoch_iterator: Any, say: Say) -> None:
        super().__init__(x, epoch_iterator)
        self._say = say
        self._adapter = adapter = epoch_iterator.data_adapter
        self._dataset = dataset = adapter._dataset
        self._pipeline = pipeline = Pipeline(dataset)
        self._is_theirs = not is_ours(x)
        self.may_draw_again = self._is_theirs
        self._shuffles_later = shuffles_later(dataset)
        self._is_plain = self._exact = pipeline.is_ordered and not pipeline.stateful
        # Then opening as many iterators does not advance the seeds as drawing from them did.
        self._is_reordered = advances_as_it_is_drawn(dataset)
        self._before = opened(x)  # iterators, before the one in use
        if self._is_theirs:
            adapter._dataset = _Counted(x, dataset)

    @property
    def exact(self) -> bool:
        return self._exact if self._is_theirs else super().exact

    @property
    def unkept(self) -> str | None:
        lost = order_that_is_lost(self._pipeline, self._shuffles_later) if self._is_theirs else None
        if (text := lost or super().unkept) is None and self.read_only:
            return (
                "functions of the data read a variable of TensorFlow's, which is not kept here: make it a constant, "
                "or set KERAS_BACKEND=tensorflow"
            )
        return text

    def facts(self, within_epoch: bool, done: int) -> dict[str, Any]:
        """An iterator is opened as its first batch is drawn, which may be ahead of the training."""
        within = within_epoch or self._drawn > 0
        return {**super().facts(within_epoch, done), _ITERATORS: self._before if within else opened(self._x)}

    def check(self, facts: Mapping[str, Any]) -> None:
        super().check(facts)
        _check_number(facts, _ITERATORS)

    def restore(self, facts: Mapping[str, Any]) -> None:
        super().restore(facts)
        if self._is_theirs:
            within = facts["begun"] or self._drawn > 0
            leads_there = _ITERATORS in facts and (within or not self._is_reordered)  # not in older pairs
            self._exact = leads_there and self._is_plain and not (within and self._pipeline.unseeded)
            if not within and not leads_there and self._pipeline.seeds:
                self._say(OTHER_EPOCHS)
            reach(self._x, facts.get(_ITERATORS, 0), self._dataset)

    def _begin_iterator(self, done: int) -> None:
        super()._begin_iterator(done)
        self._before = opened(self._x)

    def release(self) -> None:
        super().release()
        self._adapter._dataset = self._dataset


class _Counted:
    """Stands where Keras' adapter has its dataset; an iterator over it counts as ``given``'s."""

    def __init__(self, given: Any, dataset: Any) -> None:
        self._given = given
        self._dataset = dataset

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dataset, name)

    def __iter__(self) -> Iterator[Any]:
        note_opened(self._given)
        return iter(self._dataset)


class IteratedValidation:
    """The validation data as ``given``, which may be the training's ``x``. Its iterators are counted, too."""

    def __init__(self, given: Any, x: Any) -> None:
        self._given = given
        self._counts = not is_ours(given)
        self._is_trainings = given is x  # then the training's position keeps the count

    def unkept(self) -> Iterator[str]:
        """One line where a resumed training may validate with other batches, or in another order."""
        data = self._given
        state, pipeline = DataState(all_parts(data)), Pipeline(data)
        lost = advances_as_it_is_drawn(data) or order_that_is_lost(pipeline, shuffles_later(data)) is not None
        kinds = {kind_of(part) for part in parts_of(data) if pass_counter_of(part) is None}
        reordered = not self._counts and not kinds <= SAME_ORDER
        if lost or reordered or pipeline.stateful or state.written or state.read_only or draws_in_data(data):
            yield (
                "validation_data is a tf.data.Dataset that may come otherwise each time (it is shuffled in a way that "
                "no later process repeats, or its functions hold a state), and that is not kept here: give arrays, or "
                "set KERAS_BACKEND=tensorflow"
            )

    def facts(self) -> dict[str, Any]:
        return {_VALIDATIONS: opened(self._given)} if self._counts and not self._is_trainings else {}

    def check(self, facts: Mapping[str, Any]) -> None:
        _check_number(facts, _VALIDATIONS)

    def restore_seeds(self, facts: Mapping[str, Any]) -> None:
        if self._counts and not self._is_trainings:
            reach(self._given, facts.get(_VALIDATIONS, 0))

    def begin(self, epoch_iterator: Any) -> None:
        """Keras' iterator for validation serves all of a ``fit``."""
        adapter = getattr(epoch_iterator, "data_adapter", None)
        if adapter is not None and self._counts and not isinstance(adapter._dataset, _Counted):
            adapter._dataset = _Counted(self._given, adapter._dataset)


def _check_number(facts: Mapping[str, Any], key: str) -> None:
    if not isinstance(facts.get(key, 0), int):
        raise InvalidPair("the .pkl's number of iterators over the data is malformed")


class TfDataDrawnByKeras(DrawnByKeras, IteratedTfData):
    """On PyTorch. Batches that are done are drawn by Keras; those of earlier epochs, as it opens the pass."""

    _of_older_version = True

    def __init__(self, x: Any, epoch_iterator: Any, say: Say) -> None:
        IteratedTfData.__init__(self, x, epoch_iterator, say)
        self._take_over(epoch_iterator)

    def catch_up(self, iterator: Any, look: Callable[[int, Any], None] = ignore_earlier) -> None:
        self.behind = False
        self._keras._steps_seen += self._drawn % self._size()

    def _open_pass(self) -> Iterator[Any]:
        batches = super()._open_pass()
        if self.behind:
            for _ in range(self._to_draw % self._size()):
                next(batches, None)
        return batches

    def _size(self) -> int:
        """More than that are not drawn from one iterator."""
        return int(self._keras._num_batches or self._drawn + 1)
