"""A checkpoint of another backend of Keras is continued where that is asked for, and nowhere else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from holdfast.core.checkpoint_name import CheckpointName
from holdfast.core.errors import InvalidPair, Mismatch
from holdfast.training.keras.fit import other_backend


def test_one_of_another_backend_is_refused_with_what_to_set() -> None:
    said: list[str] = []
    saved: Any = SimpleNamespace(facts={"backend": "jax"})
    with pytest.raises(
        Mismatch, match=r"set KERAS_BACKEND=jax before keras is imported\. To go on with tensorflow all"
    ):
        other_backend.converted(saved, said.append, asked=False)
    assert said == []


@pytest.mark.parametrize(
    ("reason", "expected"), [("from first@12", True), ("epoch", False), (None, False)], ids=["fork", "own", "gone"]
)
def test_a_fork_asks_for_the_checkpoint_that_it_brings(reason: str | None, expected: bool) -> None:
    def manifest(name: CheckpointName) -> Any:
        if reason is None:
            raise InvalidPair("it is gone")
        return SimpleNamespace(reason=reason)

    session: Any = SimpleNamespace(spool=SimpleNamespace(manifest=manifest))
    name: Any = None
    assert other_backend.is_from(session, name) is expected
