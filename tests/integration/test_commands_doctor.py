from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from fakes.aws import Call, Door
from fakes.http import Answer, AnsweringServer
from fakes.stored import name_of
from holdfast.drill.fake_imds import MetadataService

from .commands import Cli
from .conftest import answered_by, on_both
from .forks import Forks


@pytest.fixture
def work(tmp_path: Path) -> list[str]:
    return ["--work-dir", str(tmp_path / "work"), "--probe-size", "1"]


def levels(document: Any) -> dict[str, str]:
    return {finding["check"]: finding["level"] for finding in document["findings"]}


@on_both("cli")
def test_a_good_store_passes_and_stays_as_it_was(cli: Cli, work: list[str]) -> None:
    cli.run().pair(name_of(1), h5=bytes(100_000))
    before = cli.store.list("")
    found = cli.json("doctor", "--run", "digits", *work)
    assert found["problems"] == 0
    assert {check: levels(found)[check] for check in ("store", "conditional writes", "drain", "work dir", "disk")} == {
        "store": "ok",
        "conditional writes": "ok",
        "drain": "ok",
        "work dir": "ok",
        "disk": "ok",
    }
    assert found["measured"]["pair_bytes"] > 100_000
    assert found["measured"]["store_seconds"] > 0
    assert cli.store.list("") == before


def test_a_folder_that_was_not_there_is_warned_of_and_not_left_behind(local_cli: Cli, work: list[str]) -> None:
    above = Path(local_cli.uri)
    local_cli.uri = f"{above}/deep/er"
    found = local_cli.json("doctor", *work)
    assert levels(found)["store's folder"] == "warning"
    assert not above.exists()
    above.mkdir()
    local_cli.good("doctor", *work)
    assert list(above.iterdir()) == []
    Path(local_cli.uri).mkdir(parents=True)
    assert "store's folder" not in levels(local_cli.json("doctor", *work))
    assert Path(local_cli.uri).is_dir()


def test_s3_is_tried_with_parts_and_its_clock_is_compared(
    bucket: str, s3_server: str, work: list[str], forked: Forks
) -> None:
    cli = Cli(f"s3://{bucket}/runs", Path(), forked, {"HOLDFAST_ENDPOINT_URL": s3_server})
    found = cli.json("doctor", *work, "--probe-size", "16")
    assert "list, put, get, parts, delete work" in found["findings"][0]["text"]
    assert abs(found["measured"]["clock_skew_seconds"]) < 5
    assert levels(found)["clock"] == "ok"


def test_a_store_that_takes_no_writes_is_a_problem_and_exit_78(local_cli: Cli, work: list[str]) -> None:
    local_cli.uri = "/proc/no-store"
    done = local_cli.call("doctor", *work)
    assert done.returncode == 78
    assert [line for line in done.stdout.splitlines() if line.startswith("problem  store ")] != []


def test_an_s3_that_denies_everything_is_one_problem(local_cli: Cli, work: list[str]) -> None:
    denied = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
    with AnsweringServer(lambda request: Answer(403, denied)) as server:
        local_cli.uri, local_cli.environment["HOLDFAST_ENDPOINT_URL"] = "s3://some-bucket/runs", server.endpoint
        done = local_cli.call("doctor", *work)
    assert done.returncode == 78
    [line] = [line for line in done.stdout.splitlines() if line.startswith("problem")]
    assert "AccessDenied" in line
    assert "Nothing works: correct --store or the credentials" in line


def test_a_metadata_service_that_drops_the_request_for_a_token_is_found(local_cli: Cli, work: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        done = local_cli.call(
            "doctor",
            *work,
            AWS_EC2_METADATA_DISABLED="false",
            AWS_EC2_METADATA_SERVICE_ENDPOINT=f"http://127.0.0.1:{server.getsockname()[1]}",
        )
    [line] = [line for line in done.stdout.splitlines() if " metadata service " in line]
    assert not line.startswith("ok")
    assert "hop limit of 2" in line


def test_a_metadata_service_that_answers_is_found(local_cli: Cli, work: list[str], metadata: MetadataService) -> None:
    done = local_cli.call("doctor", *work, **answered_by(metadata))
    assert "answers with a token" in done.stdout


def test_the_stop_timeout_of_a_container_is_hinted_at(local_cli: Cli, work: list[str]) -> None:
    shown = local_cli.good("doctor", *work, "--drain-time", "200", container="podman")
    assert "docker run --stop-timeout 210" in shown


def test_a_bad_setting_is_refused(local_cli: Cli) -> None:
    assert "AWS_EC2_METADATA_SERVICE_ENDPOINT" in Cli(
        local_cli.uri,
        local_cli.scratch,
        local_cli.forks,
        {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "ftp://x", "AWS_EC2_METADATA_DISABLED": "false"},
    ).refused("doctor")
    assert "--probe-size" in local_cli.refused("doctor", "--probe-size", "-1")


@pytest.mark.parametrize("columns", [80, 120])
def test_a_terminal_gets_a_table_that_fits_it(local_cli: Cli, work: list[str], columns: int) -> None:
    shown = local_cli.on_terminal("doctor", *work, columns=columns)
    assert "conditional writes" in shown
    assert "…" not in shown


def test_a_store_that_refuses_checksums_is_a_problem_whose_setting_is_named(
    bucket: str, s3_server: str, work: list[str], forked: Forks
) -> None:
    """``run`` names it too, and works with it."""

    def refuse(call: Call, headers: dict[str, str]) -> tuple[int, str, str] | None:
        sums = [name for name in headers if "checksum" in name or name == "x-amz-trailer"]
        return (400, "InvalidArgument", f"Unsupported header '{sums[0]}' received") if sums else None

    with Door(s3_server, refuse=refuse) as door:
        cli = Cli(f"s3://{bucket}/runs", Path(), forked, {"HOLDFAST_ENDPOINT_URL": door.endpoint})
        [problem, *_] = cli.json("doctor", *work, code=78)["findings"]
        assert (problem["check"], problem["level"]) == ("store", "problem")
        assert "--request-checksum when_required" in problem["remedy"]
        assert "IAM" not in problem["remedy"]
        run = ["run", "--run", "x", "--work-dir", work[1]]
        assert "set --request-checksum when_required" in cli.refused(*run, "--", "true")
        cli.good(*run, "--request-checksum", "when_required", "--", "true")
        assert cli.json("doctor", "--request-checksum", "when_required", *work)["problems"] == 0


def test_a_command_that_fails_early_is_shown_with_its_last_lines(local_cli: Cli) -> None:
    done = local_cli.call("doctor", "--", "sh", "-c", "echo first; echo 'second\033[2J'; exit 3", HOLDFAST_STORE="")
    assert done.returncode == 78
    assert "holdfast: warning: the command's last lines:\n  first\n  second\\x1b[2J\n" in done.stderr
    assert "holdfast: 1 check: 1 problem, 0 warnings\n" in done.stderr
