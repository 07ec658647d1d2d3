"""While another machine has the run, the command's interpreter imports what its script will, and waits."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from holdfast.core.errors import Exit

from .daemons import SCRIPTS, Daemon, Machines, machines, wait_for

# What a script can see of the process that it runs in, and then a training.
LOOKS = f"""
import os, sys, threading
if "OMP_NUM_THREADS" in os.environ:
    sys.exit("the variable that the script sets is set before it")
before = [name for name in ("numpy", "holdfast") if name in sys.modules]
os.environ[os.environ.get("NAME", "OMP_NUM_THREADS")] = os.environ.get("VALUE", "1")
given = [name for name in os.environ if name.startswith("HOLDFAST_")]
print("sees", __name__, __file__, sys.argv, sys.path[0], os.getcwd(), threading.active_count(), given, flush=True)
print("had", before, flush=True)
exec(compile(open({str(SCRIPTS / "count.py")!r}).read(), "count.py", "exec"))
"""
HOLD = {"STEPS": "40", "HOLD_AT": "25", "EVERY": "5"}
ON = {"STEPS": "40"}
STANDS_BY = ("--stand-by", "waiting")
LATER = ("other words", "a shell", "switched off", "another variable")


@pytest.fixture
def park(tmp_path: Path) -> Iterator[Machines]:
    with machines(str(tmp_path / "store"), tmp_path / "machines", {}) as found:
        yield found


@pytest.fixture
def command(scratch: Path) -> list[str]:
    (scratch / "train.py").write_text(LOOKS)
    return [sys.executable, "-u", str(scratch / "train.py"), "--epochs", "3"]


def until_it_stands_by(park: Machines, daemon: Daemon) -> psutil.Process:
    wait_for(lambda: "standing-by" in park.kinds("two"), f"stand by:\n{daemon.text}", alive=daemon.process)
    (event,) = (one for one in park.events("two") if one["event"] == "standing-by")
    return psutil.Process(event["pid"])


def left_by(park: Machines, command: list[str], **environment: str) -> None:
    """Machine ``one`` has the run, its packages are known (if no variable of its own is set), and it falls silent."""
    one = park.start("one", command=command, **HOLD, **environment)
    wait_for(lambda: "step 25 (" in one.text, "the pair of step 25", alive=one.process)
    known = '"preload": null' if "NAME" in environment else '"numpy"'
    wait_for(lambda: known in (Path(park.store) / "00001-count" / "lease.json").read_text(), known)
    one.process.kill()
    one.wait()


def lines(daemon: Daemon, word: str) -> list[str]:
    return [line for line in daemon.lines if line.startswith(word)]


def test_the_script_begins_where_another_machine_left_it_with_its_packages_imported(
    park: Machines, command: list[str]
) -> None:
    left_by(park, command)
    two = park.start("two", *STANDS_BY, "--lease-expiry", "3", command=command, **ON)
    process = until_it_stands_by(park, two)
    assert process.cmdline() == command, "for people and programs it is the command"
    assert two.wait() == Exit.COMPLETE, two.text
    kinds = park.kinds("two")
    assert kinds.index("standing-by") < kinds.index("lease") < kinds.index("started")
    assert [event["pid"] for event in park.events("two") if event["event"] == "started"] == [process.pid]
    assert lines(two, "had") == ["had ['numpy']"]
    assert "from step 25" in two.text
    plain = park.start("three", "--extend", command=command, **ON)
    assert plain.wait() == Exit.COMPLETE, plain.text
    assert lines(plain, "had") == ["had []"]
    assert lines(plain, "sees") == lines(two, "sees")


@pytest.mark.whole
def test_a_script_that_sets_a_variable_otherwise_than_before_is_told(park: Machines, command: list[str]) -> None:
    left_by(park, command)
    two = park.start("two", *STANDS_BY, "--lease-expiry", "3", command=command, VALUE="2", **ON)
    until_it_stands_by(park, two)
    assert two.wait() == Exit.COMPLETE, two.text
    assert "sets OMP_NUM_THREADS otherwise than when it was last started" in two.text


@pytest.mark.parametrize("how", ["edited", *(pytest.param(how, marks=pytest.mark.whole) for how in LATER)])
def test_nothing_is_started_ahead_for_what_may_be_another_command(
    park: Machines, command: list[str], scratch: Path, how: str
) -> None:
    before = ["sh", "-c", 'exec "$@"', "sh", *command] if how == "a shell" else command
    left_by(park, before, **({"NAME": "OF_ITS_OWN"} if how == "another variable" else {}))
    if how == "edited":
        (scratch / "train.py").write_text(f"{LOOKS}\n# edited\n")
    now = [*before, "--more"] if how == "other words" else before
    two = park.start("two", *([] if how == "switched off" else STANDS_BY), command=now, **ON)
    assert two.wait() == Exit.COMPLETE, two.text
    assert "standing-by" not in park.kinds("two")
    assert "from step 25" in two.text


def test_a_stop_while_it_stands_by_leaves_no_process(park: Machines, command: list[str]) -> None:
    left_by(park, command)
    two = park.start("two", *STANDS_BY, "--lease-expiry", "30", command=command, **ON)
    process = until_it_stands_by(park, two)
    assert two.terminate() == Exit.STOPPED, two.text
    wait_for(lambda: not process.is_running(), "the end of what stood by")
    assert not lines(two, "sees"), "its script has not begun"


def test_a_restart_takes_the_interpreter_that_stands_by_for_it(
    park: Machines, command: list[str], scratch: Path
) -> None:
    crashed = str(scratch / "crashed")
    one = park.start("one", "--stand-by", "always", command=command, CRASH_AT="30", CRASHED=crashed, PACE="0.05", **ON)
    assert one.wait() == Exit.COMPLETE, one.text
    (stood_by, *_) = (event["pid"] for event in park.events("one") if event["event"] == "standing-by")
    first, second = (event["pid"] for event in park.events("one") if event["event"] == "started")
    assert first != second == stood_by
    assert "about to fail" in one.text
    assert "done " in one.text


@pytest.mark.whole
def test_an_interpreter_that_dies_while_it_stands_by_is_started_anew(park: Machines, command: list[str]) -> None:
    left_by(park, command)
    two = park.start("two", *STANDS_BY, "--lease-expiry", "3", command=command, **ON)
    process = until_it_stands_by(park, two)
    process.kill()
    assert two.wait() == Exit.COMPLETE, two.text
    assert "from step 25" in two.text


# A package that knows whether it is imported ahead, before there is a script.
AHEAD = """
import os, sys
if not hasattr(sys.modules["__main__"], "__file__"):
    {}
"""


def with_package(scratch: Path, ahead: str) -> dict[str, str]:
    """The script imports a package that does something else ``ahead``. Returns the environment for that."""
    package = scratch / "packages" / "pandas"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(AHEAD.format(ahead))
    (scratch / "train.py").write_text(LOOKS.replace("exec(", "import pandas\nexec("))
    return {"PYTHONPATH": str(package.parent)}


def test_what_is_printed_ahead_is_in_the_log_of_the_start_that_it_was_printed_for(
    park: Machines, command: list[str], scratch: Path
) -> None:
    own = with_package(scratch, "print('printed ahead')")
    left_by(park, command, **own)
    two = park.start("two", *STANDS_BY, "--lease-expiry", "3", command=command, **own, **ON)
    assert two.wait() == Exit.COMPLETE, two.text
    assert "standing-by" in park.kinds("two")
    stored = (Path(park.store) / "00001-count" / "log-i2.txt").read_text()
    assert stored.startswith("printed ahead\nsees "), stored


def test_an_interpreter_that_dies_when_its_turn_has_come_is_no_failure_of_the_command(
    park: Machines, command: list[str], scratch: Path
) -> None:
    """It still imports as the start has the lease: then the command is started without it."""
    os.mkfifo(pipe := scratch / "pipe")
    own = with_package(scratch, f"open({str(pipe)!r}).close(); os._exit(3)")
    left_by(park, command, **own)
    two = park.start("two", *STANDS_BY, "--lease-expiry", "3", "--max-restarts", "0", command=command, **own, **ON)
    until_it_stands_by(park, two)
    wait_for(lambda: "started" in park.kinds("two"), "the command's turn", alive=two.process)
    pipe.open("w").close()
    assert two.wait() == Exit.COMPLETE, two.text
    assert "from step 25" in two.text
    assert park.kinds("two").count("started") == 2
    assert "crashed" not in park.kinds("two")
