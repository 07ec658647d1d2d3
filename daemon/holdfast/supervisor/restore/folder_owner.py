"""Checks which store the run's folder on this machine belongs to.

Two stores number their runs alike, and may share a work dir. The folder notes the identity of its run. So the
checkpoints of one store's run are never taken for another's, and their "stored" marks never count for another store.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from ...core.errors import SettingsError, one_line
from ...core.runs import RunId
from ...spool import Spool, write_whole
from ...store import Store
from ...store.catalog import identity_of

NOTE_FILE = "store.json"


def check_home(store: Store, run: RunId, folder: Path) -> None:
    """Asked before the store is given a new run of that id: the folder must not be another one's.

    Raises SettingsError, or StoreError.
    """
    noted, uri = _noted(folder)
    if noted and noted != identity_of(store, run):
        raise _foreign(store, run, folder, uri)


def claim(store: Store, run: RunId, spool: Spool) -> bool:
    """Makes the folder the run's, under the folder's lock.

    True if pairs are here of which it isn't known that they are the run's: of a script that ran alone, or of an early
    version. They are used, but the marks that they are stored are removed. Raises SettingsError, with nothing touched,
    if the folder is known to be another run's; StoreError.
    """
    identity = identity_of(store, run)
    if identity is None:
        return False
    noted, uri = _noted(spool.path)
    if noted and noted != identity:
        raise _foreign(store, run, spool.path, uri)
    unknown = not noted and bool(spool.pairs())
    if unknown:
        spool.unmark_stored(spool.stored())  # before the note, so that a crash in between changes nothing
    if (noted, uri) != (identity, store.uri):
        document = {"format": 1, "run": str(run), "id": identity, "uri": store.uri}
        with contextlib.suppress(OSError):  # a full disk must not stop the training
            write_whole(spool.file(NOTE_FILE), json.dumps(document).encode(), durable=True)
    return unknown


def of_another_store(store: Store, run: RunId, work_dir: Path) -> tuple[RunId, str] | None:
    """The newest run of that name in the work dir, and its store, if that is another than ``store``."""
    found: dict[RunId, str] = {}
    with contextlib.suppress(OSError):
        for folder in work_dir.iterdir():
            other = RunId.parse(folder.name)
            if other is not None and other != run and other.name == run.name:
                found[other] = _noted(folder)[1]
    newest = max(found, default=None)
    if newest is None or found[newest] in ("", store.uri):
        return None
    return newest, found[newest]


def _noted(folder: Path) -> tuple[str, str]:
    """The identity and the store that the folder notes, or empty."""
    try:
        document = json.loads((folder / NOTE_FILE).read_bytes())
        identity, uri = document["id"], document["uri"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return "", ""
    return (identity, uri) if isinstance(identity, str) and isinstance(uri, str) else ("", "")


def _foreign(store: Store, run: RunId, folder: Path, uri: str) -> SettingsError:
    one = f"of an earlier {run} in {store.uri}, which is there no more"
    if uri != store.uri:
        one = f"of {run} in {one_line(uri)}, and not of the one in {store.uri}"
    return SettingsError(
        f"--work-dir: {folder} is {one}: nothing is started. Correct --store, give another --work-dir, or move the "
        "folder away (its checkpoints may be the only ones)"
    )
