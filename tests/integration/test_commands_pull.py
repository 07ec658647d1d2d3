from __future__ import annotations

import json
from pathlib import Path

import pytest

from fakes.pairs import content_of
from fakes.stored import name_of

from .commands import Cli
from .conftest import on_both


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "to"


@on_both("cli")
def test_the_newest_valid_pair_comes_with_logs_options_and_artifacts(cli: Cli, to: Path) -> None:
    run = cli.run()
    run.pairs(1, 2)
    run.pairs(3, incarnation=2)
    run.flip(name_of(3, incarnation=2))
    for incarnation in (2, 1):
        run.file(f"log-i{incarnation}.txt", f"incarnation {incarnation}\n".encode())
        run.file(f"events-i{incarnation}.jsonl", b"{}\n")
    run.file("training_options.json", b"{}\n")
    run.file("artifacts/tb/events", b"scalars")

    done = cli.call("pull", "digits", "--to", str(to))

    folder = to / "00001-digits"
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(folder), f"  {name_of(2)}  85 bytes"]
    assert f"warning: {name_of(3, incarnation=2)}: passed over" in done.stderr
    assert f"keras.models.load_model('{folder / name_of(2).file('h5')}', compile=False)" in done.stderr
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    assert sorted(files) == [
        "artifacts/tb/events",
        "events.jsonl",
        "log.txt",
        *(name_of(2).file(part) for part in ("h5", "json", "pkl")),
        "training_options.json",
    ]
    assert files["log.txt"].read_text() == "incarnation 1\nincarnation 2\n"
    assert files["artifacts/tb/events"].read_bytes() == b"scalars"
    assert {path.stat().st_mode & 0o777 for path in files.values()} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in (folder, folder / "artifacts/tb")} == {0o700}


def test_all_or_one_step_can_be_asked_for(cli: Cli, to: Path) -> None:
    run = cli.run()
    run.pairs(1, 2, 3)
    run.flip(name_of(2))
    found = cli.json("pull", "digits", "--to", str(to), "--step", "10")
    assert [pair["save"] for pair in found["checkpoints"]] == [1]
    assert (found["fetched"], found["present"]) == (2, 0)
    found = cli.json("pull", "digits", "--to", str(to), "--all", code=65)
    assert [pair["save"] for pair in found["checkpoints"]] == [3, 1]
    assert found["damaged"] == [str(name_of(2))]
    assert (found["fetched"], found["present"]) == (2, 2)
    assert Path(found["checkpoints"][0]["h5"]).read_bytes() == content_of(name_of(3), "h5")


def test_without_a_run_the_one_that_was_begun_last_comes_into_this_folder(local_cli: Cli) -> None:
    local_cli.run("digits", 1).pairs(1)
    local_cli.run("other", 2).pairs(1)
    found = local_cli.json("pull", "--to", str(local_cli.scratch))
    assert found["run"] == "00002-other"
    assert found["folder"] == str(local_cli.scratch / "00002-other")


@pytest.mark.parametrize(
    ("kind", "opening"), [("model", "keras.models.load_model("), ("weights", "model.load_weights("), ("arrays", "h5py")]
)
def test_the_line_that_opens_it_is_that_of_the_kind_of_file(local_cli: Cli, to: Path, kind: str, opening: str) -> None:
    local_cli.run().pair(name_of(1), kind=kind)
    [pair] = local_cli.json("pull", "--to", str(to))["checkpoints"]
    assert (pair["kind"], pair["open"].startswith(opening)) == (kind, True)


def test_a_diverged_pair_comes_only_if_it_is_asked_for(local_cli: Cli, to: Path) -> None:
    run = local_cli.run()
    run.pairs(1)
    run.pair(name_of(2, loss=float("nan")))
    done = local_cli.call("pull", "--to", str(to), "--json")
    assert "its loss is not finite" in done.stderr
    assert [pair["save"] for pair in json.loads(done.stdout)["checkpoints"]] == [1]
    assert [pair["save"] for pair in local_cli.json("pull", "--to", str(to), "--step", "20")["checkpoints"]] == [2]


def test_where_nothing_is_valid_the_logs_come_and_the_exit_is_65(local_cli: Cli, to: Path) -> None:
    run = local_cli.run()
    run.pairs(1)
    run.flip(name_of(1))
    run.file("log-i1.txt", b"hello\n")
    assert "of 1 matching checkpoint, none is valid" in local_cli.refused("pull", "--to", str(to), code=65)
    assert [path.name for path in (to / "00001-digits").iterdir()] == ["log.txt"]


def test_what_cannot_be_asked_for_is_one_line_and_exit_78(local_cli: Cli, to: Path) -> None:
    assert "there are no runs" in local_cli.refused("pull", "--to", str(to))
    local_cli.run().pairs(1, 2)
    assert "its steps are 20, 10" in local_cli.refused("pull", "--step", "15", "--to", str(to))
    assert "give one of them" in local_cli.refused("pull", "--step", "10", "--all", "--to", str(to))
    assert "no run 'nope'" in local_cli.refused("pull", "nope", "--to", str(to))
    assert not to.exists()
    assert "--to /proc/x: " in local_cli.refused("pull", "--to", "/proc/x")


def test_of_a_run_without_a_checkpoint_the_logs_come_and_the_exit_is_65(local_cli: Cli, to: Path) -> None:
    local_cli.run().file("log-i1.txt", b"hello\n")
    said = local_cli.refused("pull", "--to", str(to), code=65)
    assert "00001-digits has no checkpoint that could be restored yet" in said
    assert [path.name for path in (to / "00001-digits").iterdir()] == ["log.txt"]
