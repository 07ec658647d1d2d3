"""The checkpoints of a run as a report shows them: size, age, reason, and what each is good for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...core.checkpoint_name import CheckpointName
from ...core.manifest import Manifest
from ...core.policy import Retention
from .read import Records

MOST = 100


def checkpoints(records: Records, now: float) -> dict[str, Any]:
    """The newest ones, and how many there are. None of their bytes were read: ``state`` goes by names and sizes.

    ``verified`` is the last start that resumed from one: that reads every byte. ``why`` goes by the retention of the
    last start, if its settings say it.
    """
    pairs = records.contents.pairs
    by_name = {manifest.name: manifest for manifest in records.manifests}
    policy = Retention.from_plain(records.options.get("keep"))
    kept = _kept(policy, [listed.name for listed in pairs], by_name)
    verified = _verified(records)
    rows = []
    for listed in pairs[:MOST]:
        name, manifest = listed.name, by_name.get(listed.name)
        stored = records.contents.stored(listed)
        rows.append(
            {
                "name": str(name),
                "fit": None if manifest is None else manifest.fit,
                "epoch": name.epoch,
                "batch": None if manifest is None else manifest.batch,
                "step": name.step,
                "loss": None if name.loss == "none" or not name.finite else float(name.loss),
                "incarnation": name.incarnation,
                "size": listed.size,
                "stored": None if stored is None else stored.timestamp(),
                "age": None if stored is None else max(0.0, now - stored.timestamp()),
                "reason": "" if manifest is None else manifest.reason,
                "state": _state(records, str(name), listed.missing, dict(listed.sizes), manifest, name.finite),
                "verified": verified.get(str(name)),
                "why": kept.get(name, []),
            }
        )
    return {
        "count": len(pairs),
        "size": sum(listed.size for listed in pairs),
        "keep": None if policy is None else policy.to_plain(),
        "newest": rows,
    }


def _verified(records: Records) -> dict[str, dict[str, Any]]:
    """By the names of checkpoints: the last start that resumed from it, and when."""
    return {
        event.text("checkpoint"): {"start": number, "at": event.at}
        for number, start in enumerate(records.starts, 1)
        for event in start.events
        if event.kind == "restored"
    }


def _kept(
    policy: Retention | None, names: list[CheckpointName], by_name: Mapping[CheckpointName, Manifest]
) -> dict[CheckpointName, list[str]]:
    """Why each is kept. Without known settings only the newest is known to be."""

    def metric(name: CheckpointName) -> float | None:
        best = None if policy is None or policy.best is None else policy.best.metric
        manifest = by_name.get(name)
        if manifest is not None and best is not None and best in manifest.metrics:
            return manifest.metrics[best]
        return float(name.loss) if best == "loss" and name.loss != "none" else None

    found = (policy or Retention(last=1)).reasons(names, metric)
    needing: dict[CheckpointName, list[int]] = {}
    for name in list(found):
        for needed in by_name[name].needs if name in by_name else ():
            needing.setdefault(needed, []).append(name.step)
    for needed, steps in needing.items():
        text = f"step {steps[0]} needs it" if len(steps) == 1 else f"needed by {len(steps)} others"
        found.setdefault(needed, []).append(text)
    return found


def _state(
    records: Records,
    name: str,
    missing: tuple[str, ...],
    sizes: dict[str, int],
    manifest: Manifest | None,
    finite: bool,
) -> str:
    if missing:
        return f"incomplete: no .{' and no .'.join(missing)}"
    if manifest is None:
        return f"damaged: {records.damaged[name]}" if name in records.damaged else "not looked at"
    if any(sizes.get(part) != record.size for part, record in manifest.files.items()):
        return "damaged: its size is not the manifest's"
    return "sizes are right" if finite else "not finite: never restored"
