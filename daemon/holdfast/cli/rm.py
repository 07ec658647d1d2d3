"""``holdfast rm``: removes a whole run from a store."""

from __future__ import annotations

import contextlib
import secrets
import sys
import threading
from collections.abc import Iterator
from typing import Any

import click

from ..core.errors import Cancelled, Exit, Fenced, HoldfastError, NotFound, SettingsError, StoreError, TooLarge
from ..core.policy import LeaseTimes
from ..core.runs import LEASE_FILE, RunId
from ..core.wording import bytes_text, count
from ..inspect.remove import remove_last, remove_run
from ..store import HasFolder, Store
from ..store.catalog import existing_run, is_held, read_contents
from ..store.conditional_write_fallback import Conditional
from ..store.contents import Contents
from ..store.retrying import PatientStore
from ..supervisor.restore.lease import Lease
from .common import show
from .common.shared import as_json_option, to_be_there
from .options import config_option, seconds, store_options, the_store

_LONGEST_WAIT = 7200.0  # longer than any holder's expiry


@click.command()
@config_option
@store_options
@as_json_option
@seconds("--lease-expiry", 30.0, "When a silent holder is taken for dead.", 0.2)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.argument("run", metavar="RUN")
def rm(run: str, yes: bool, lease_expiry: float, as_json: bool, **settings: Any) -> int:
    """Remove RUN (a name or a run id) from the store: its checkpoints, logs, artifacts, all of it.

    A run that a machine holds is refused. A removal that was interrupted is finished by the same command.
    """
    bare = to_be_there(the_store(settings))
    store = Conditional(PatientStore(bare), show.warn)
    contents = read_contents(store, existing_run(store, run))
    if not yes and not _agreed(store, contents):
        show.say("nothing was removed")
        return int(Exit.STOPPED)
    objects, size = 0, 0

    def done(one: int) -> None:
        nonlocal objects, size
        objects, size = objects + 1, size + one

    with _held(store, contents, lease_expiry) as lost:
        _sweep(store, contents.run)
        remove_run(store, contents.run, lost.check, done)
    for one in remove_last(store, contents):
        done(one)
    if isinstance(bare, HasFolder):
        bare.remove_empty(f"{contents.run}/")
    _check_gone(store, contents.run)
    if as_json:
        show.as_json({"store": store.uri, "run": str(contents.run), "removed": objects, "size": size})
    else:
        show.say(
            f"{contents.run}: removed, {count(objects, 'object')}, {bytes_text(size)}. "
            f"Its folders in machines' work dirs ({contents.run}) stay: remove them before a new run begins there"
        )
    return 0


def _agreed(store: Store, contents: Contents) -> bool:
    what = (
        f"{contents.run} in {store.uri} is {'complete' if contents.complete else 'not complete'}, with "
        f"{count(len(contents.pairs), 'checkpoint')} and {bytes_text(contents.size)} in all"
    )
    if not sys.stdin.isatty():
        raise SettingsError(f"{what}: give --yes to remove it")
    return click.confirm(f"{show.clean(what)}.\nRemove it for good?", err=True)


class _Lost:
    """Set when another holder has taken the lease over."""

    def __init__(self, run: RunId) -> None:
        self._run = run
        self._who: str | None = None

    def to(self, who: str) -> None:
        self._who = who

    def check(self) -> None:
        if self._who is not None:
            raise Fenced(f"the lease of {self._run} was taken over by {self._who}: the removal is not finished")


@contextlib.contextmanager
def _held(store: Store, contents: Contents, expiry: float) -> Iterator[_Lost]:
    """Holds the run's lease, so that no machine trains in what is being removed. Raises SettingsError for a run that
    another holds and renews, StoreError.
    """
    run = contents.run
    lost = _Lost(run)
    times = LeaseTimes(expiry / 3, expiry, _LONGEST_WAIT)
    lease = Lease(store, f"{run}/{LEASE_FILE}", secrets.token_hex(16), times, lost.to)
    _acquire(lease, store, contents)
    lease.keep()
    try:
        yield lost
    except BaseException:
        with contextlib.suppress(StoreError):
            lease.release()  # the next attempt need not wait for the expiry
        raise
    lease.stop()


def _acquire(lease: Lease, store: Store, contents: Contents) -> None:
    renewed, tags, holders = threading.Event(), set[str](), []

    def waiting(who: str) -> None:
        if not tags:
            show.say(f"{contents.run} is held by {who}: looking whether that one still renews its lease")
        holders.append(who)
        if is_held(store, contents.run):
            tags.add(_tag(store, contents.run))
        if len(tags) > 1:
            renewed.set()

    try:
        lease.acquire(contents.incarnation, renewed, waiting)
    except (Cancelled, Fenced):
        raise SettingsError(
            f"{contents.run} is held by {holders[-1]}, which is at work on it: stop that one first; nothing was removed"
        ) from None


def _tag(store: Store, run: RunId) -> str:
    try:
        return store.get(f"{run}/{LEASE_FILE}")[1]
    except NotFound:
        return ""
    except TooLarge as error:
        return error.tag


def _sweep(store: Store, run: RunId) -> None:
    """Unfinished uploads cost money, and are in no listing."""
    try:
        store.sweep(f"{run}/")
    except StoreError as error:
        show.warn(f"unfinished uploads could not be cleared: {error}")


def _check_gone(store: Store, run: RunId) -> None:
    left = store.list(f"{run}/")
    if left:
        some = ", ".join(show.clean(entry.key) for entry in left[:3])
        raise HoldfastError(
            f"{count(len(left), 'object')} of {run} could not be removed ({some}{' …' if len(left) > 3 else ''}): "
            "repeat the command, or remove what it leaves with the store's own tools"
        )
