"""Killed at every effect of the commit protocol: after a restart the state is either the old or the new one."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fakes.proxy import Asked, FaultProxy
from holdfast.spool import PART

from .crashes import Driver, Place, driver, kill_everywhere, strace

CALLS = ("openat", "write", "pwrite64", "fsync", "ftruncate", "close")
CALLS += ("rename", "unlink", "mkdir")  # in the spool
CALLS += ("renameat", "linkat", "unlinkat", "mkdirat")  # in the store
# There are many calls of these, and each kill takes a start, a restart and a strace: one of so many is tried.
OFTEN = dict.fromkeys(("openat", "write", "pwrite64", "close"), 4)
EVERYWHERE = (
    pytest.param("cut:before", marks=pytest.mark.whole),  # as after the request that went before
    "cut:body",
    pytest.param("cut:after", marks=pytest.mark.whole),
)


@pytest.fixture
def killable() -> Iterator[Driver]:
    with driver() as found:
        yield found


def test_a_kill_at_any_effect_on_files_leaves_the_old_state_or_the_new_one(killable: Driver, tmp_path: Path) -> None:
    def places(number: int) -> Place:
        return Place(tmp_path / str(number), str(tmp_path / str(number) / "store"))

    kills = kill_everywhere(
        killable, places, lambda place, number: killable.run({**place.case, "die_at": number}), least=40
    )
    print(f"{kills} kills")


class KillAt:
    """Kills a process when a request of that number comes to a place; counts only requests that have the place."""

    def __init__(self, fault: str, number: int, counts: Callable[[Asked], bool] = lambda asked: True) -> None:
        self.fault = fault
        self.number = number
        self._counts = counts
        self.pid = 0

    def __call__(self, asked: Asked) -> str | None:
        if not asked.can_have(self.fault) or not self._counts(asked):
            return None
        self.number -= 1
        return self.fault if self.number == 0 else None

    def kill(self, asked: Asked, fault: str) -> None:
        os.kill(self.pid, signal.SIGKILL)


@pytest.mark.parametrize("fault", EVERYWHERE)
def test_a_kill_at_any_request_leaves_the_old_state_or_the_new_one(
    killable: Driver, s3_server: str, bucket: str, tmp_path: Path, fault: str
) -> None:
    def places(number: int) -> Place:
        return Place(tmp_path / str(number), f"s3://{bucket}/{number}", endpoint=s3_server)

    def kill(place: Place, number: int) -> int:
        plan = KillAt(fault, number)
        with FaultProxy(s3_server, plan, moment=plan.kill) as proxy:
            return killable.run({**place.case, "endpoint": proxy.endpoint}, lambda pid: setattr(plan, "pid", pid))

    kills = kill_everywhere(killable, places, kill, least=6 if fault == "cut:body" else 15)
    print(f"{kills} kills at {fault}")


@pytest.mark.whole
@pytest.mark.parametrize("fault", ["cut:before", "cut:body", "cut:after"])
def test_a_kill_at_any_request_of_an_upload_that_copies_leaves_the_old_state_or_the_new_one(
    killable: Driver, s3_server: str, bucket: str, tmp_path: Path, fault: str
) -> None:
    """Of the second pair, whose first parts the first one has."""
    frozen, copied = 2 * PART, []

    def places(number: int) -> Place:
        return Place(tmp_path / str(number), f"s3://{bucket}/{number}", endpoint=s3_server, frozen=frozen)

    def kill(place: Place, number: int) -> int:
        plan = KillAt(fault, number, lambda asked: "-q2." in asked.key)
        with FaultProxy(s3_server, plan, moment=plan.kill) as proxy:
            code = killable.run({**place.case, "endpoint": proxy.endpoint}, lambda pid: setattr(plan, "pid", pid))
        copied.extend(map(int, place.said("copied")))
        return code

    kills = kill_everywhere(killable, places, kill, least=2 if fault == "cut:body" else 6)
    assert copied[-1] >= 2 * PART, "undisturbed, the second pair's frozen parts are copied"
    print(f"{kills} kills at {fault}")


def written_over(folder: Path) -> Place:
    """Of three pairs, the third is written over the first."""
    return Place(folder, str(folder / "store"), frozen=2 * PART, pairs=3)


@pytest.mark.whole
def test_a_kill_while_a_pair_is_written_over_an_earlier_one_leaves_the_old_state_or_the_new_one(
    killable: Driver, tmp_path: Path
) -> None:
    def kill(place: Place, number: int) -> int:
        return killable.run({**place.case, "die_at": number, "die_from": 2})

    kills = kill_everywhere(killable, lambda number: written_over(tmp_path / str(number)), kill, least=30)
    print(f"{kills} kills")


@pytest.mark.real
@pytest.mark.parametrize("call", ["rename", "unlink", "fallocate", "lseek"])
def test_a_kill_at_any_system_call_of_one_that_is_written_over_leaves_the_old_state_or_the_new_one(
    killable: Driver, tmp_path: Path, call: str
) -> None:
    def kill(place: Place, number: int) -> int:
        return killable.run(place.case, lambda pid: strace(pid, call, number, place.folder / "strace"))

    kills = kill_everywhere(killable, lambda number: written_over(tmp_path / str(number)), kill, least=1)
    print(f"{kills} kills at {call}")


@pytest.mark.real
@pytest.mark.parametrize("call", CALLS)
def test_a_kill_at_any_system_call_leaves_the_old_state_or_the_new_one(
    killable: Driver, tmp_path: Path, call: str
) -> None:
    """At each one of those calls that are few, and at every fourth of those that are many, from a random one on."""

    def places(number: int) -> Place:
        return Place(tmp_path / str(number), str(tmp_path / str(number) / "store"))

    def kill(place: Place, number: int) -> int:
        return killable.run(place.case, lambda pid: strace(pid, call, number, place.folder / "strace"))

    kills = kill_everywhere(killable, places, kill, least=1, every=OFTEN.get(call, 1))
    print(f"{kills} kills at {call}")
