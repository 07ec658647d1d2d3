"""What Grain feeds, for the conformance suite."""

from __future__ import annotations

from typing import Any

import grain

from ..conformance import INPUTS, NUMBERS, SAMPLES, SIZE, Kind


class Source:
    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> Any:
        return INPUTS[index], NUMBERS[index]

    def __repr__(self) -> str:
        """Grain compares it: a state is of one source."""
        return "Source()"


class Nameless(Source):
    """Grain refuses the state of an earlier process's."""

    def __repr__(self) -> str:
        return object.__repr__(self)


def mapped(passes: int | None = 1) -> Any:
    return grain.MapDataset.source(Source()).seed(3).shuffle().repeat(passes).batch(SIZE)


def loader(source: Any = Source, passes: int | None = 1) -> Any:
    sampler = grain.samplers.IndexSampler(num_records=SAMPLES, shuffle=True, seed=3, num_epochs=passes)
    return grain.DataLoader(data_source=source(), sampler=sampler, operations=[grain.transforms.Batch(SIZE)])


def interleaved(passes: int | None = 1) -> Any:
    """A repeated one, whose state Grain does not keep whole."""
    parts = [grain.MapDataset.source(Source())[first::3].to_iter_dataset() for first in range(3)]
    together = grain.experimental.InterleaveIterDataset(parts, cycle_length=2)
    return grain.experimental.RepeatIterDataset(together, num_epochs=passes).batch(SIZE)


KINDS = {
    "MapDataset": Kind(lambda: {"x": mapped()}, lambda: {"x": mapped(None)}),
    "IterDataset": Kind(lambda: {"x": mapped().to_iter_dataset()}, lambda: {"x": mapped(None).to_iter_dataset()}),
    "DataLoader": Kind(lambda: {"x": loader()}, lambda: {"x": loader(passes=None)}),
    "DataLoader of a nameless source": Kind(lambda: {"x": loader(Nameless)}, lambda: {"x": loader(Nameless, None)}),
    "IterDataset, an interleave that repeats": Kind(lambda: {"x": interleaved()}, lambda: {"x": interleaved(None)}),
}
