"""A process that commits, and that may be killed at any moment: what the crash tests drive.

It reads cases from standard input, one JSON object a line, forks for each, and stops the child before its first effect,
so that a test can attach to it. ``{"store", "endpoint", "work_dir", "report", "die_at"}``: ``die_at`` kills the child
itself at that effect on files (0 is never), as Python's audit hooks see them. ``"frozen"`` bytes of each pair are the
same in all of them, and there are ``"pairs"`` of them. Effects are counted once ``"die_from"`` of them are stored.
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
from holdfast.core.manifest import Manifest
from holdfast.store import StoreSettings, open_store
from holdfast.store.catalog import list_pairs, remove_pair
from holdfast.supervisor.report.journal import Journal
from holdfast.supervisor.restore.prepare import Preparer
from holdfast.supervisor.settings import RunSettings
from holdfast.supervisor.upload.store_pair import EarlierPair, store_pair
from holdfast.training.pair import pair_files
from holdfast.training.pair.h5_writer import Layout
from holdfast.training.pair.pair_files import Draft, Position, Written
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


def draft(step: int, frozen: int = 0) -> Draft:
    def write_h5(path: Path, most_dirty: int | None, over: Path | None = None) -> Written:
        values = {"frozen": np.frombuffer(np.random.default_rng(0).bytes(frozen), np.uint8), "arrays/0": content(step)}
        with Layout(path) as layout:
            for name, array in values.items():
                layout.plan(layout.file, name, name, array)
        return Written("arrays", {}, layout.write(values, most_dirty, over))

    return Draft(Position(step, 0, step), "epoch", {"loss": 1.0 / step}, {}, {"step": step}, write_h5)


def work(case: dict[str, Any]) -> None:
    """Restores, commits all steps, and removes all pairs but the newest, as a daemon and its child would."""
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
    last: list[Manifest] = [] if resume is None else [resume]

    def pay(name: CheckpointName) -> None:
        copied: list[int] = []
        earlier = EarlierPair(last[-1], copied.append, lambda why: say("cannot", why)) if last else None
        last.append(store_pair(store, spool, name, earlier=earlier))
        say("stored", name)
        say("copied", sum(copied))

    for name in prepared.owed:
        pay(name)
    session = Session(spool, prepared.incarnation, prepared.found.next_save, None, store.durable_spool)
    while step < case.get("pairs", PAIRS):
        step += 1
        name = pair_files.write(session, draft(step, case.get("frozen", 0))).name
        say("written", name)
        pay(name)
        if case.get("frozen"):
            for old in spool.pairs()[1:]:
                spool.retire(old)
        if step == case.get("die_from"):
            die_at(case["die_at"])
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
            if case.get("die_at") and not case.get("die_from"):
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
