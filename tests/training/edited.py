"""Pairs whose ``.pkl`` is written anew with other facts, with checksums that fit: an older version's, or malformed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from holdfast.core import restricted_pickle
from holdfast.core.checkpoint_name import CheckpointName
from holdfast.spool import Spool, record_of


def edit_newest(directory: Path, change: Callable[[dict[str, Any]], object]) -> CheckpointName:
    """``change`` receives the facts of the newest pair of the only run in ``directory``."""
    spool = Spool(next(directory.glob("0000*")))
    name = spool.pairs()[0]
    manifest, pkl = spool.manifest(name), spool.file(name.file("pkl"))
    facts = restricted_pickle.loads(pkl.read_bytes())
    change(facts)
    pkl.write_bytes(restricted_pickle.dumps(facts))
    files = {**manifest.files, "pkl": record_of(pkl)}
    spool.file(name.file("json")).write_bytes(replace(manifest, files=files).to_json())
    return name
