"""``tf.data`` on JAX and PyTorch, where Keras goes through it batch by batch. Only for such data: it loads TensorFlow.

What is done is drawn once more; of a ``holdfast.dataset`` it comes as zeros. The state of an iterator is not kept here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ...data.dataset_passes import pass_counter_of
from ...data.pipeline_variables import DataState
from ...data.position import ignore_earlier
from ...data.python.drawn_by_keras import DrawnByKeras
from ...data.tf.own_passes import TfDataPosition
from ...data.tf.pipeline import SAME_ORDER, all_parts, kind_of, parts_of
from ...data.tf_random import draws_in_data as draws_in_data


class IteratedTfData(TfDataPosition):
    @property
    def unkept(self) -> str | None:
        if super().unkept is None and self.read_only:
            return (
                "functions of the data read a variable of TensorFlow's, which is not kept here: make it a constant, "
                "or set KERAS_BACKEND=tensorflow"
            )
        return super().unkept


def unkept_in_validation(data: Any) -> Iterator[str]:
    """One line where a resumed training may validate with other batches, or in another order."""
    state = DataState(all_parts(data))
    same = all(kind_of(part) in SAME_ORDER for part in parts_of(data) if pass_counter_of(part) is None)
    if not same or state.written or state.read_only or draws_in_data(data):
        yield (
            "validation_data is a tf.data.Dataset that may come otherwise each time (it is shuffled, or its functions "
            "hold a state), and that is not kept here: give arrays, or set KERAS_BACKEND=tensorflow"
        )


class TfDataDrawnByKeras(DrawnByKeras, IteratedTfData):
    """On PyTorch. Batches that are done are drawn by Keras; those of earlier epochs, as it opens the pass."""

    _of_older_version = True

    def __init__(self, x: Any, epoch_iterator: Any) -> None:
        IteratedTfData.__init__(self, x, epoch_iterator)
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
