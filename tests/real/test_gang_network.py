"""Machines that train together, in network namespaces with addresses of their own, as machines have them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from holdfast.core.errors import Exit
from integration.daemons import QUICK, SCRIPTS, Daemon, wait_for

from .podman import inside

pytestmark = pytest.mark.real
RUN = "00001-net"


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@contextmanager
def cable(count: int) -> Iterator[list[str]]:
    """Namespaces on one bridge, which is in a namespace of its own; 10.77.0.1 and so on."""
    tag = f"{os.getpid() % 10000}"
    with ExitStack() as undo:
        switch = f"hf-sw-{tag}"
        ip("netns", "add", switch)
        undo.callback(ip, "netns", "delete", switch)
        ip("-n", switch, "link", "add", "br0", "type", "bridge")
        ip("-n", switch, "link", "set", "br0", "up")
        names = []
        for number in range(count):
            name = f"hf-m{number}-{tag}"
            ip("netns", "add", name)
            undo.callback(ip, "netns", "delete", name)
            ip("-n", switch, "link", "add", f"p{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("-n", switch, "link", "set", f"p{number}", "master", "br0", "up")
            ip("-n", name, "addr", "add", f"10.77.0.{number + 1}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                ip("-n", name, "link", "set", device, "up")
            names.append(name)
        yield names


def plugged(name: str, number: int, in_or_out: str) -> None:
    switch = f"hf-sw-{name.rpartition('-')[2]}"
    ip("-n", switch, "link", "set", f"p{number}", "up" if in_or_out == "in" else "down")


def machine(folder: Path, rank: int, ranks: int, network: str, **environment: str) -> Daemon:
    """``holdfast run`` as that rank, in that namespace. All share the store, whatever the network does."""
    place = ["--store", str(folder / "store"), "--run", "net", "--work-dir", str(folder / f"w{rank}")]
    gang = ["--rank", str(rank), "--ranks", str(ranks), "--rendezvous", "store", "--drain-time", "20"]
    script = ["--", sys.executable, str(SCRIPTS / "ranks.py")]
    return inside(network, lambda: Daemon(["run", *place, *QUICK, *gang, *script], environment))


def result(machines: list[Daemon]) -> set[str]:
    return {line.partition(" done ")[2] for one in machines for line in one.lines if " done " in line}


@pytest.fixture
def networks() -> Iterator[list[str]]:
    with cable(2) as names:
        yield names


@contextmanager
def gang(folder: Path, networks: list[str], **environment: str) -> Iterator[list[Daemon]]:
    machines = [machine(folder, rank, len(networks), name, **environment) for rank, name in enumerate(networks)]
    try:
        yield machines
    finally:
        for one in machines:
            one.close()


@pytest.fixture
def undisturbed(tmp_path: Path, networks: list[str]) -> set[str]:
    with gang(tmp_path / "undisturbed", networks, PACE="0") as machines:
        assert [one.wait() for one in machines] == [Exit.COMPLETE, Exit.COMPLETE]
        return result(machines)


def step(folder: Path) -> int:
    from holdfast.spool import Board

    return Board.read(folder / "w0" / RUN / Board.FILE).step


def test_machines_find_each_other_by_the_store_and_stop_as_one(
    tmp_path: Path, networks: list[str], undisturbed: set[str]
) -> None:
    with gang(tmp_path, networks) as machines:
        wait_for(lambda: step(tmp_path) >= 12, "step 12")
        machines[1].process.send_signal(signal.SIGTERM)
        assert [one.wait() for one in machines] == [Exit.STOPPED, Exit.STOPPED]
    with gang(tmp_path, networks) as machines:
        assert [one.wait() for one in machines] == [Exit.COMPLETE, Exit.COMPLETE]
        assert result(machines) == undisturbed


@pytest.mark.parametrize("cut", [1, 0])
def test_a_machine_that_is_cut_off_from_the_others_but_not_from_the_store_is_waited_for(
    tmp_path: Path, networks: list[str], undisturbed: set[str], cut: int
) -> None:
    """Nobody trains alone meanwhile, and nobody waits without a bound: a silent rank is lost after 10 s."""
    with gang(tmp_path, networks, PACE="0.05") as machines:
        wait_for(lambda: step(tmp_path) >= 12, "step 12")
        plugged(networks[cut], cut, "out")
        for one in machines:
            one.until("is lost")
        cut_at = step(tmp_path)
        threading.Event().wait(0.5)
        assert step(tmp_path) == cut_at, "nobody trains on"
        plugged(networks[cut], cut, "in")
        assert [one.wait() for one in machines] == [Exit.COMPLETE, Exit.COMPLETE]
        assert result(machines) == undisturbed
        assert "crashed" not in machines[0].text
