"""Which run to continue, which pair is the newest valid one, and bringing that pair to this machine."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from ...core.checkpoint_name import CheckpointName
from ...core.errors import HoldfastError, InvalidPair, NoValidPair, SettingsError
from ...core.manifest import Manifest
from ...core.wording import count
from ...spool import Spool
from ...store import Store
from ...store.catalog import list_pairs
from ...store.download import bring, look_up

_MAX_NUMBER = 10**8
Warn = Callable[[str], None]


@dataclass(frozen=True)
class Candidates:
    """The pairs of a run, here and in the store."""

    stored: tuple[CheckpointName, ...]
    local: tuple[CheckpointName, ...]

    @property
    def newest_first(self) -> list[CheckpointName]:
        return sorted({*self.stored, *self.local}, key=lambda name: name.order, reverse=True)

    @property
    def incarnation(self) -> int:
        return max((name.incarnation for name in self.newest_first), default=0)

    @property
    def next_save(self) -> int:
        return max((name.save for name in self.newest_first), default=0) + 1


def candidates(store: Store, spool: Spool) -> Candidates:
    """Raises HoldfastError if a name's numbers leave no room: what is saved after it could be given no name."""
    found = Candidates(tuple(list_pairs(store, spool.run)), tuple(spool.pairs()))
    for name in found.newest_first:
        if max(name.incarnation, name.save) >= _MAX_NUMBER:
            raise HoldfastError(
                f"run {spool.run}: {name} was not written by holdfast, and its numbers are so large that no later "
                "checkpoint could be named: remove it from the store, and see who else can write there"
            )
    return found


def owed(spool: Spool, found: Candidates) -> list[CheckpointName]:
    """Whole pairs here that the store should have, newest first.

    Those are newer than all of its own that a training could resume from, or epochs on the way to them that it never
    got. A pair that is marked as stored and is not in the store was removed by retention since; that is never the
    newest one.
    """
    usable = (name for name in found.stored if name.finite)
    newest = max(usable, key=lambda name: name.order, default=None)
    stored, marked = set(found.stored), set(spool.stored())
    steps = {(name.epoch, name.step) for name in found.stored}

    def wanted(name: CheckpointName) -> bool:
        if newest is None or name.order > newest.order:
            return name.finite or name not in marked
        if name in marked:
            return False
        return name.step < newest.step and (name.epoch, name.step) not in steps and spool.manifest(name).lasting

    return [name for name in found.local if name not in stored and is_whole(spool, name) and wanted(name)]


def bring_newest(
    store: Store, spool: Spool, found: Candidates, warn: Warn, avoid: Collection[str] = ()
) -> Manifest | None:
    """Makes the newest valid pair present and whole in the spool; None if the run has no pairs at all.

    The pairs to ``avoid`` are passed over silently.

    A pair that is damaged, or whose loss is not finite, is reported and passed over. Raises NoValidPair if no other is
    left, for a training must not silently start over; StoreError if the store fails.
    """
    for name in found.newest_first:
        if str(name) in avoid:
            continue
        if not name.finite:
            warn(f"{name}: passed over, its loss is not finite")
            continue
        try:
            return _here(spool, name) if name in found.local else _bring(store, spool, name)
        except InvalidPair as error:
            warn(f"{name}: passed over: {error}")
        if name in found.local and name in found.stored:
            try:
                return _bring(store, spool, name)
            except InvalidPair as error:
                warn(f"{name}: passed over: {error}")
    if found.newest_first:
        raise NoValidPair(
            f"run {spool.run} has {count(len(found.newest_first), 'checkpoint')} and none is valid: not trained. "
            "Look at them with the store's own tools, or begin anew under another --run name"
        )
    return None


def bring_pair(store: Store, spool: Spool, name: CheckpointName) -> None:
    """Makes that pair of the run present and whole in the spool. Raises InvalidPair if there is none; StoreError."""
    if not is_whole(spool, name):
        _bring(store, spool, name)


def newest_here(
    spool: Spool, resume: Manifest | None, next_save: int, avoid: Collection[str] = ()
) -> tuple[Manifest | None, int]:
    """The newest valid pair in the spool, and the next save number, since ``resume`` was brought."""
    names = spool.pairs()
    next_save = max([next_save, *(name.save + 1 for name in names)])
    for name in names:
        if resume is not None and name.order <= resume.name.order:
            break
        with contextlib.suppress(InvalidPair):
            if name.finite and str(name) not in avoid:
                return _here(spool, name), next_save
    return resume, next_save


def mark_stored(spool: Spool, names: Iterable[CheckpointName]) -> None:
    """Notes which of the pairs here the store has, so that without it one knows whether the newest is only here."""
    with contextlib.suppress(OSError):  # a full disk
        for name in names:
            spool.mark_stored(name)


def is_whole(spool: Spool, name: CheckpointName) -> bool:
    """Is the pair in the spool, and undamaged?"""
    try:
        _here(spool, name)
    except InvalidPair:
        return False
    return True


def _here(spool: Spool, name: CheckpointName) -> Manifest:
    try:
        manifest = spool.manifest(name)
    except OSError as error:
        raise InvalidPair(f"the manifest in the work dir cannot be read: {error.strerror}") from None
    except InvalidPair as error:
        raise error.of(name) from None
    spool.verify(manifest)
    return manifest


def _bring(store: Store, spool: Spool, name: CheckpointName) -> Manifest:
    try:
        manifest = bring(store, spool.run, look_up(store, spool.run, name), spool).manifest
    except SettingsError as error:
        raise SettingsError(f"--work-dir: {error}") from None
    mark_stored(spool, [name])
    return manifest
