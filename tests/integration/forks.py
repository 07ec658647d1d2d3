"""``holdfast`` commands as processes of their own that need no start of the interpreter: each is a fork of one server.

That start, with all imports, takes longer than most commands do. The server has the commands and the SDK loaded, and
nothing more; ``main`` begins in the fork as it does in a new process.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess
from typing import NoReturn

TESTS = Path(__file__).parents[1]
PATIENCE = 60.0


class Forks:
    """The test's side. Calls may be made from several threads."""

    def __init__(self, address: str) -> None:
        self._address = address

    def call(self, words: Sequence[str], environment: Mapping[str, str]) -> CompletedProcess[str]:
        """Runs ``holdfast`` with these words, in the caller's folder and with no input."""
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(PATIENCE)
            link.connect(self._address)
            link.sendall(json.dumps([list(words), dict(environment), str(Path.cwd())]).encode() + b"\n")
            with link.makefile() as answer:
                code, output, error = json.loads(answer.readline())
        return CompletedProcess(["holdfast", *words], code, output, error)


@contextmanager
def forks() -> Iterator[Forks]:
    """A server, for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="hf-") as folder:
        address = f"{folder}/socket"
        server = subprocess.Popen(
            [sys.executable, __file__, address], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd=TESTS
        )
        assert server.stdout is not None
        try:
            assert server.stdout.readline() == b"ready\n"
            yield Forks(address)
        finally:
            server.terminate()
            server.wait(PATIENCE)
            server.stdout.close()


def serve(address: str) -> NoReturn:
    import boto3
    import click

    from fakes.sdk import share_descriptions
    from holdfast.cli.main import cli

    for name in cli.list_commands(click.Context(cli)):  # loads their modules
        cli.get_command(click.Context(cli), name)
    share_descriptions()
    boto3.client("s3", region_name="us-east-1")
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(address)
        door.listen(16)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that answer
        print("ready", flush=True)
        while True:
            link, _ = door.accept()
            with link:
                if os.fork() == 0:
                    door.close()
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    answer(link)
                    os._exit(0)


def answer(link: socket.socket) -> None:
    with link.makefile() as lines:
        words, environment, folder = json.loads(lines.readline())
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as error:
        pid = os.fork()
        if pid == 0:
            link.close()
            become(words, environment, folder, output.fileno(), error.fileno())
        _, status = os.waitpid(pid, 0)
        said = []
        for stream in (output, error):
            stream.seek(0)
            said.append(stream.read().decode())
    link.sendall(json.dumps([os.waitstatus_to_exitcode(status), *said]).encode() + b"\n")


def become(words: list[str], environment: dict[str, str], folder: str, output: int, error: int) -> NoReturn:
    from holdfast.cli.main import main

    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    os.dup2(output, 1)
    os.dup2(error, 2)
    sys.argv = ["holdfast", *words]
    main()


if __name__ == "__main__":
    sys.path[0] = str(TESTS)
    serve(sys.argv[1])
