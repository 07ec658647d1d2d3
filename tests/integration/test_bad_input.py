"""Bad settings: one clear line that names the setting and the remedy, exit 78, nothing touched."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from subprocess import CompletedProcess
from typing import Protocol

import pytest

from holdfast.core.errors import Exit

from .forks import Forks

GOOD = ["--store", "{tmp}/store", "--run", "count", "--work-dir", "{tmp}/work", "--store-wait", "0.5"]
COMMAND = ["--", sys.executable, "-c", "print('it ran')"]


class Run(Protocol):
    def __call__(
        self, arguments: list[str], command: list[str] = COMMAND, **environment: str
    ) -> CompletedProcess[str]: ...


@pytest.fixture
def run(forked: Forks, tmp_path: Path) -> Run:
    """Calls ``holdfast run``; ``{tmp}`` in an argument is the test's folder."""

    def call(arguments: list[str], command: list[str] = COMMAND, **environment: str) -> CompletedProcess[str]:
        words = [word.replace("{tmp}", str(tmp_path)) for word in ["run", *arguments, *command]]
        return forked.call(words, {**os.environ, **environment})

    return call


def refused(done: CompletedProcess[str], *parts: str) -> None:
    text = done.stdout + done.stderr
    complaints = [line for line in text.splitlines() if line.startswith("holdfast: error: ")]
    assert done.returncode == Exit.USAGE, text
    assert "it ran" not in text
    assert "Traceback" not in text
    assert len(complaints) == 1, text
    assert all(part in complaints[0] for part in parts), text


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ([*GOOD, "--every", "10x"], ["--every '10x'", "90s", "auto"]),
        ([*GOOD, "--stall-timeout", "0.5"], ["--stall-timeout 0.5", "1 s or more", "0 to never"]),
        (["--run", "count"], ["--store"]),
        (["--store", "{tmp}/store"], ["--run"]),
        ([*GOOD, "--store", "ftp://host/x"], ["--store", "s3://"]),
        ([*GOOD, "--store", "s3://"], ["--store", "bucket"]),
        ([*GOOD, "--store", "s3://UPPER_CASE/x"], ["--store", "bucket"]),
        ([*GOOD, "--store", "s3:/bucket/prefix"], ["--store", "s3://"]),
        ([*GOOD, "--drain-time", "nan"], ["--drain-time"]),
        ([*GOOD, "--store", "file://relative"], ["--store", "path"]),
        ([*GOOD, "--run", "../up"], ["--run", "letter"]),
        ([*GOOD, "--run", "00007-count"], ["--run", "no such run"]),
        ([*GOOD, "--rebalance", "panic"], ["--rebalance", "save"]),
        ([*GOOD, "--drain-time", "soon"], ["--drain-time"]),
        ([*GOOD, "--lease-expiry", "1", "--lease-heartbeat", "1"], ["--lease-expiry", "--lease-heartbeat"]),
        ([*GOOD, "--no-such-flag"], ["--no-such-flag"]),
        ([*GOOD, "--work-dir", "/proc/nothing"], ["--work-dir"]),
        ([*GOOD, "--work-dir", "{tmp}/x/../store"], ["--work-dir", "folder of --store"]),
        ([*GOOD, "--work-dir", "/dev/null/x"], ["--work-dir", "not a folder"]),
        ([*GOOD, "--endpoint-url", "nonsense", "--store", "s3://bucket/x"], ["--endpoint-url"]),
        ([*GOOD, "--store", "/proc/no-store"], ["/proc/no-store"]),
    ],
)
def test_a_wrong_setting_is_named(run: Run, tmp_path: Path, arguments: list[str], parts: list[str]) -> None:
    refused(run(arguments), *parts)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_command_is_named(run: Run, tmp_path: Path) -> None:
    refused(run(GOOD, ["--"]), "no command", "--")
    refused(run(GOOD, []), "no command", "--")


def test_a_command_that_does_not_exist_is_named(run: Run, tmp_path: Path) -> None:
    refused(run(GOOD, ["--", "no-such-program"]), "no-such-program")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("store = ", ["not TOML"]),
        ("stoer = '/x'", ["unknown setting", "stoer"]),
        ("store = ['a']", ["store"]),
        ("keep-best = 'reward'", ["--keep-best reward: say reward:min or reward:max"]),
        ("[run]\nkeep-last = 3", ["[run]: there are no sections; settings stand at the top"]),
        ("[stuff]\nkeep-last = 3", ["[stuff]: there are no sections"]),
        ("drain-time = 'long'", ["drain-time"]),
        ("drain-time = true", ["drain-time", "a value"]),
        ("extend = 3", ["extend", "true or false"]),
        ("store = 3", ["store takes a text in quotes, not 3"]),
        ("run = 1.5", ["run takes a text in quotes, not 1.5"]),
        ("work-dir = 2026-01-01", ["work-dir takes a text in quotes, not 2026-01-01"]),
        ("log-format = 1", ["log-format takes a text in quotes"]),
        ("drain-time = 2026-01-01", ["drain-time takes a number, not 2026-01-01"]),
    ],
)
def test_a_wrong_settings_file_is_named(run: Run, tmp_path: Path, text: str, parts: list[str]) -> None:
    path = tmp_path / "holdfast.toml"
    path.write_text(text)
    words = ["--config", str(path), "--run", "count", "--work-dir", "{tmp}/work", "--store", "{tmp}/store"]
    refused(run(words), *parts)
    assert list(tmp_path.iterdir()) == [path]


def test_a_settings_file_that_is_not_there_is_named(run: Run, tmp_path: Path) -> None:
    refused(run(["--config", "{tmp}/none.toml", *GOOD]), "none.toml", "No such file")


@pytest.mark.parametrize(
    ("variable", "parts"),
    [
        ({"HOLDFAST_EXTEND": "maybe"}, ["HOLDFAST_EXTEND", "'maybe'", "Recognized values: 0, 1"]),
        ({"HOLDFAST_MAX_RESTARTS": "1.5"}, ["HOLDFAST_MAX_RESTARTS", "'1.5' is not a whole number"]),
    ],
)
def test_a_wrong_variable_is_named(run: Run, tmp_path: Path, variable: dict[str, str], parts: list[str]) -> None:
    refused(run(GOOD, **variable), *parts)
    assert list(tmp_path.iterdir()) == []


def test_settings_come_from_flags_then_the_environment_then_the_file(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "holdfast.toml"
    path.write_text(f"store = '{tmp_path}/from-file'\nrun = 'from-file'\nwork-dir = '{tmp_path}/work'\n")
    done = run(["--run", "from-flag"], HOLDFAST_CONFIG=str(path), HOLDFAST_STORE=f"{tmp_path}/from-env")
    assert done.returncode == Exit.COMPLETE, done.stderr
    assert (tmp_path / "from-env" / "00001-from-flag" / "complete.json").exists()
    assert not (tmp_path / "from-file").exists()


def test_an_unwritable_work_dir_is_named(run: Run, tmp_path: Path) -> None:
    refused(run([*GOOD, "--work-dir", "/sys/holdfast"]), "--work-dir")


def test_an_unknown_bucket_is_named(run: Run, tmp_path: Path, s3_server: str) -> None:
    words = [*GOOD, "--store", "s3://no-such-bucket/x", "--endpoint-url", s3_server]
    refused(run(words), "no-such-bucket", "does not exist")
    assert list(tmp_path.iterdir()) == []


def test_an_unreachable_store_is_named(run: Run, tmp_path: Path) -> None:
    words = [*GOOD, "--store", "s3://some-bucket/x", "--endpoint-url", "http://127.0.0.1:9"]
    refused(run(words), "some-bucket", "127.0.0.1:9")


def test_missing_credentials_are_named(run: Run, tmp_path: Path, s3_server: str) -> None:
    missing = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    missing["AWS_CONFIG_FILE"] = os.devnull
    words = [*GOOD, "--store", "s3://some-bucket/x", "--endpoint-url", s3_server]
    refused(run(words, **missing), "credentials", "AWS_PROFILE")
