"""Real pairs, tiny ones, without a framework."""

from __future__ import annotations

from dataclasses import replace

from holdfast.core.checkpoint_name import CheckpointName, spell_loss
from holdfast.core.manifest import PARTS, Manifest
from holdfast.spool import Spool, record_of
from holdfast.store import Store
from holdfast.supervisor.upload.store_pair import store_pair


def name_of(save: int, incarnation: int = 1, loss: float | None = 0.5) -> CheckpointName:
    return CheckpointName(epoch=save, step=10 * save, loss=spell_loss(loss), incarnation=incarnation, save=save)


def content_of(name: CheckpointName, part: str) -> bytes:
    return f"the {part} of {name}".encode()


def save_pair(
    spool: Spool,
    name: CheckpointName,
    run: str | None = None,
    batch: int = 0,
    needs: tuple[CheckpointName, ...] = (),
    size: int = 0,
    ranks: int = 1,
    **metrics: float,
) -> Manifest:
    """Writes the pair as a training does: data first, then the manifest. Its .h5 has at least ``size`` bytes."""
    for part in PARTS:
        content = content_of(name, part)
        spool.file(name.file(part)).write_bytes(content.ljust(size) if part == "h5" else content)
    manifest = Manifest(
        name=name,
        run=run or spool.run,
        batch=batch,
        kind="model",
        reason="interval" if batch else "epoch",
        created="2026-11-22T16:17:06+00:00",
        files={part: record_of(spool.file(name.file(part))) for part in PARTS},
        metrics=metrics,
        needs=needs,
        ranks=ranks,
    )
    spool.commit(manifest, durable=False)
    return manifest


def store_only(store: Store, spool: Spool, name: CheckpointName, needs: tuple[CheckpointName, ...] = ()) -> Manifest:
    """A pair that another machine stored: it is in the store and not here."""
    manifest = save_pair(spool, name, needs=needs)
    store_pair(store, spool, name)
    spool.remove(name)
    return manifest


def stored_objects(run: str, name: CheckpointName, like: Manifest) -> dict[str, bytes]:
    """The objects of a pair with the data of another: cheap to make by the thousand."""
    manifest = replace(like, name=name, run=run)
    objects = {f"{run}/{name.file(part)}": content_of(like.name, part) for part in PARTS}
    return {**objects, f"{run}/{name.file('json')}": manifest.to_json()}
