from __future__ import annotations

from fakes.stored import name_of

from .commands import Cli
from .conftest import on_both


def test_a_run_that_is_whole_ends_with_0(cli: Cli) -> None:
    cli.run().pairs(1, 2)
    lines = cli.good("verify", "digits").splitlines()
    assert lines[0] == f"00001-digits/{name_of(2)}: whole, 85 bytes"
    assert lines[-1] == "00001-digits: 2 checkpoints, 170 bytes: 2 whole, 0 damaged"


@on_both("cli")
def test_damage_ends_with_65_and_every_finding_has_a_line(cli: Cli) -> None:
    run = cli.run()
    run.pairs(1, 2, 3, 4)
    run.flip(name_of(1))
    run.damage(name_of(2), "json")
    run.damage(name_of(3), "pkl", None)
    run.orphan(name_of(5))
    done = cli.call("verify", "digits")
    assert done.returncode == 65
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        f"00001-digits/{name_of(4)}: whole, 85 bytes",
        f"00001-digits/{name_of(3)}: damaged: its .pkl is not in the store",
        f"00001-digits/{name_of(2)}: damaged: unreadable manifest: the manifest is not JSON: "
        "Expecting value: line 1 column 1 (char 0)",
        f"00001-digits/{name_of(1)}: damaged: its .h5 differs from its checksum",
        f"00001-digits/{name_of(5)}: data without a manifest, 85 bytes: no checkpoint",
        "00001-digits: 4 checkpoints, 297 bytes: 1 whole, 3 damaged; 1 without a manifest",
    ]


def test_all_runs_are_checked_where_none_is_named(cli: Cli) -> None:
    cli.run("digits", 1).pairs(1)
    other = cli.run("other", 2)
    other.pairs(1)
    other.flip(name_of(1))
    found = cli.json("verify", code=65)
    assert found["damaged"] == 1
    assert [(run["run"], run["whole"], run["damaged"]) for run in found["runs"]] == [
        ("00001-digits", 1, 0),
        ("00002-other", 0, 1),
    ]
    [checkpoint] = found["runs"][1]["checkpoints"]
    assert checkpoint["status"] == "damaged"
    assert checkpoint["problems"] == ["its .h5 differs from its checksum"]


def test_the_newest_alone_or_one_step_alone_can_be_checked(local_cli: Cli) -> None:
    run = local_cli.run()
    run.pairs(1, 2)
    run.flip(name_of(1))
    assert [pair["save"] for pair in local_cli.json("verify", "--newest")["runs"][0]["checkpoints"]] == [2]
    found = local_cli.json("verify", "digits", "--step", "10", code=65)
    assert [pair["save"] for pair in found["runs"][0]["checkpoints"]] == [1]
    assert "--step 11: 00001-digits has no such checkpoint; its steps are 20, 10" in local_cli.refused(
        "verify", "digits", "--step", "11"
    )
    assert "give one of them" in local_cli.refused("verify", "--step", "10", "--newest")
    local_cli.run("other", 2).pairs(1)
    assert "--step 11: there is no checkpoint of that step" in local_cli.refused("verify", "--step", "11")


def test_a_diverged_pair_is_no_damage(local_cli: Cli) -> None:
    local_cli.run().pair(name_of(1, loss=float("nan")))
    assert "1 whole, 0 damaged" in local_cli.good("verify")


def test_the_run_of_the_environment_is_the_one_that_is_checked(local_cli: Cli) -> None:
    local_cli.run("digits", 1).pairs(1)
    local_cli.run("other", 2).pairs(1)
    assert "00002-other" not in local_cli.good("verify", HOLDFAST_RUN="digits")


def test_a_terminal_sees_progress_and_a_pipe_does_not(local_cli: Cli) -> None:
    local_cli.run().pairs(1)
    assert "\x1b" in local_cli.on_terminal("verify", columns=80)
    done = local_cli.call("verify")
    assert "\x1b" not in done.stdout + done.stderr
