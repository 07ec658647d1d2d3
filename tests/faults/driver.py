"""A process that commits, and that may be killed at any moment: what the crash tests drive.

It reads cases from standard input, one JSON object a line, forks for each, and stops the child before its first effect,
so that a test can attach to it. ``{"store", "endpoint", "work_dir", "report", "die_at"}``: ``die_at`` kills the child
itself at that effect on files (0 is never), as Python's audit hooks see them.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import boto3
import h5py
import numpy as np

import holdfast.store.s3  # noqa: F401  (loaded before the fork)
from fakes.sdk import share_descriptions
from holdfast.core.checkpoint_name import CheckpointName
from holdfast.spool import record_of
from holdfast.store import StoreSettings, open_store
from holdfast.store.catalog import list_pairs, remove_pair
from holdfast.supervisor.report.journal import Journal
from holdfast.supervisor.restore.prepare import Preparer
from holdfast.supervisor.settings import RunSettings
from holdfast.supervisor.upload.store_pair import store_pair
from holdfast.training.pair import pair
from holdfast.training.pair.pair import Draft, Position, Written
from holdfast.training.session.base import Session

PAIRS = 2
_EFFECTS = {"os.rename", "os.remove", "os.link", "os.mkdir", "os.truncate", "os.chmod", "os.rmdir"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


def holds(path: Path, step: int) -> bool:
    """Is this the model file of that step, whole?"""
    with h5py.File(path, "r") as file:
        return bool(np.array_equal(file["arrays/0"][()], content(step)))


def content(step: int) -> np.ndarray:
    return np.full(10_000, float(step))


def draft(step: int) -> Draft:
    def write_h5(path: Path, most_dirty: int | None) -> Written:
        with h5py.File(path, "w") as file:
            file.create_dataset("arrays/0", data=content(step))
        return Written("arrays", {}, record_of(path))

    return Draft(Position(step, 0, step), "epoch", {"loss": 1.0 / step}, {}, {"step": step}, write_h5)


def work(case: dict[str, Any]) -> None:
    """Restores, commits up to PAIRS steps, and removes all pairs but the newest, as a daemon and its child would."""
    report = os.open(case["report"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def say(*words: object) -> None:
        os.write(report, (" ".join(map(str, words)) + "\n").encode())

    store = open_store(case["store"], StoreSettings(endpoint_url=case.get("endpoint")))
    settings = RunSettings(name="crash", work_dir=Path(case["work_dir"]), command=("true",))
    preparer = Preparer(
        settings, store, Journal(None).event, lambda path: None, store_pair, lambda who: None, lambda: None
    )
    prepared = preparer.prepare()
    if prepared is None:
        say("complete")
        return
    spool, run = prepared.spool, str(prepared.run)
    resume = preparer.bring(prepared, ())
    step = resume.name.step if resume else 0
    if resume is not None and not holds(spool.file(resume.name.file("h5")), step):
        say("damaged", resume.name)
    say("resumed", step)

    def pay(name: CheckpointName) -> None:
        store_pair(store, spool, name)
        say("stored", name)

    for name in prepared.owed:
        pay(name)
    session = Session(spool, prepared.incarnation, prepared.found.next_save, None, store.durable_spool)
    while step < PAIRS:
        step += 1
        name = pair.write(session, draft(step)).name
        say("written", name)
        pay(name)
    for old in list_pairs(store, run)[1:]:
        say("removing", old)
        remove_pair(store, run, old)
    for old in spool.pairs()[1:]:
        spool.remove(old)
    preparer.finish(complete=True)
    say("done")


def die_at(number: int) -> None:
    """Kills this process when it is about to have its effect of that number."""
    seen = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event in _EFFECTS or (event == "open" and (arguments[2] or 0) & _WRITING):
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def main() -> None:
    share_descriptions()
    boto3.client("s3", region_name="us-east-1")  # each fork has the descriptions then
    for line in sys.stdin:
        case = json.loads(line)
        pid = os.fork()
        if pid == 0:
            os.kill(os.getpid(), signal.SIGSTOP)
            if case.get("die_at"):
                die_at(case["die_at"])
            code = 1
            try:
                work(case)
                code = 0
            except BaseException as error:
                print(repr(error), file=sys.stderr, flush=True)
            finally:
                os._exit(code)
        os.waitpid(pid, os.WUNTRACED)
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
