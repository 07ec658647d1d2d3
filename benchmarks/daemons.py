"""Real ``holdfast run`` processes and servers for the benchmarks, with an environment that reaches loopback only."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
RUN = "bench"
PATIENCE = 300.0


def start(
    store: str, work_dir: Path, command: Sequence[str], options: Sequence[str] = (), **environment: str
) -> subprocess.Popen[bytes]:
    """A daemon whose console goes to a file beside its work dir."""
    words = ["run", "--store", store, "--run", RUN, "--work-dir", str(work_dir), *options, "--", *command]
    work_dir.parent.mkdir(parents=True, exist_ok=True)
    clean = {key: value for key, value in os.environ.items() if not key.startswith("HOLDFAST_")}
    with work_dir.with_suffix(".console").open("ab") as console:
        return subprocess.Popen(
            [sys.executable, "-m", "holdfast", *words],
            env={**clean, **ENVIRONMENT, **environment},
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
        )


def console(work_dir: Path) -> str:
    path = work_dir.with_suffix(".console")
    return path.read_text(errors="replace") if path.exists() else ""


def events(work_dir: Path) -> list[dict[str, Any]]:
    path = work_dir / f"00001-{RUN}" / "events.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def until(condition: Callable[[], bool], what: str, process: subprocess.Popen[bytes], work_dir: Path) -> None:
    """Polls a condition of another process."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if (process.poll() is not None and not condition()) or time.monotonic() > end:
            raise SystemExit(f"no {what}; the console:\n{console(work_dir)}")
        time.sleep(0.002)


@contextlib.contextmanager
def serving(program: str, *options: str) -> Iterator[str]:
    """A server of this folder in a process of its own; gives its address."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name(program)), *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.wait(30)
        process.stdout.close()
