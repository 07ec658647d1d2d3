"""Where the arrays of an ``.h5`` stand, by the HDF5 library: as a ``.pkl`` notes it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import h5py

from holdfast.training.pair.arrays import Piece


def noted(path: Path, names: Iterable[str]) -> dict[str, Piece]:
    """Those that are not in one piece are left out."""
    found = {}
    with h5py.File(path, "r", locking=False) as file:
        for name in names:
            dataset = file[name]
            offset = dataset.id.get_offset()
            if offset is not None and dataset.id.get_storage_size() == dataset.nbytes:
                found[name] = Piece(offset, dataset.dtype, dataset.shape)
    return found
