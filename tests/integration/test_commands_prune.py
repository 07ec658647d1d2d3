from __future__ import annotations

import os

from fakes.stored import name_of

from .commands import Cli
from .conftest import on_both


@on_both("cli")
def test_a_dry_run_shows_exactly_what_the_real_one_removes(cli: Cli) -> None:
    run = cli.run()
    run.orphan(name_of(1))
    run.pairs(2, 3, 4)
    run.pairs(5, incarnation=2)
    before = run.contents().size

    dry = cli.json("prune", "digits", "--keep-last", "2", "--dry-run")
    assert run.contents().size == before
    real = cli.json("prune", "digits", "--keep-last", "2")

    assert real == {**dry, "dry_run": False}
    assert [pair["save"] for pair in real["removed"]] == [2, 3]
    assert [orphan["save"] for orphan in real["orphans"]] == [1]
    assert before - run.contents().size == real["size"]
    assert run.names() == [name_of(5, incarnation=2), name_of(4)]
    assert cli.json("prune", "digits", "--keep-last", "2")["removed"] == []


def test_the_sizes_and_their_sum_are_shown(local_cli: Cli) -> None:
    run = local_cli.run()
    run.pairs(1, 2, 3)
    whole = run.contents().pairs[-1].whole_size
    done = local_cli.call("prune", "digits", "--keep-last", "2", "--dry-run")
    assert done.stdout.splitlines()[1].split()[:2] == [str(name_of(1)), str(whole)]
    assert f"1 of 3 checkpoints would be removed, {whole} bytes" in done.stderr


def test_epochs_and_the_best_by_a_metric_stay(cli: Cli) -> None:
    run = cli.run()
    for save in range(1, 10):
        run.pair(name_of(save), {"val_accuracy": 0.9 if save == 2 else save / 100})
    cli.good("prune", "digits", "--keep-last", "2", "--keep-every", "4", "--keep-best", "val_accuracy")
    assert [name.save for name in run.names()] == [9, 8, 4, 2]


def test_the_policy_may_come_from_the_environment(local_cli: Cli) -> None:
    local_cli.run().pairs(1, 2)
    done = local_cli.call("prune", "digits", HOLDFAST_KEEP_LAST="1")
    assert (done.returncode, "1 of 2 checkpoints removed" in done.stderr) == (0, True)


def test_the_newest_valid_pair_stays_behind_a_damaged_one(cli: Cli) -> None:
    run = cli.run()
    run.pairs(1, 2, 3)
    run.flip(name_of(3))
    done = cli.call("prune", "digits", "--keep-last", "1")
    assert f"warning: {name_of(3)}: " in done.stderr
    assert run.names() == [name_of(3), name_of(2)]


def test_data_stays_while_a_machine_holds_the_run(local_cli: Cli) -> None:
    run = local_cli.run()
    run.orphan(name_of(1))
    run.pairs(2, incarnation=2)
    run.lease("held")
    done = local_cli.call("prune", "digits", "--keep-last", "1")
    assert "a machine holds the run's lease" in done.stderr
    assert len(run.contents().orphans) == 1


def test_what_stays_has_to_be_said(local_cli: Cli) -> None:
    run = local_cli.run()
    run.pairs(1, 2)
    assert "--keep-last N, --keep-every K or --keep-best METRIC" in local_cli.refused("prune", "digits")
    assert "--keep-last" in local_cli.refused("prune", "digits", "--keep-last", "0")
    assert "':min' or ':max'" in local_cli.refused("prune", "digits", "--keep-best", "loss:most")
    assert "--keep-best reward: say reward:min or reward:max" in local_cli.refused(
        "prune", "digits", "--keep-best", "reward"
    )
    assert "no checkpoint has that metric" in local_cli.refused("prune", "digits", "--keep-best", "acuracy:max")
    assert "RUN" in local_cli.refused("prune", "--keep-last", "1")
    assert len(run.names()) == 2


def test_a_run_of_the_environment_is_not_pruned_by_accident(local_cli: Cli) -> None:
    local_cli.run().pairs(1, 2)
    done = local_cli.call("prune", "--keep-last", "1", HOLDFAST_RUN="digits", PATH=os.environ["PATH"])
    assert done.returncode == 78
