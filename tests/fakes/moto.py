"""A real S3 server on loopback: moto, in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}


class MotoServer:
    """Starts it, and does not wait until it listens: ``endpoint`` does."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
            env={**os.environ, **CREDENTIALS},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stderr is not None
        self._output = self._process.stderr
        self._endpoint: Future[str] = Future()
        self._reader = threading.Thread(target=self._listen)
        self._reader.start()

    def endpoint(self) -> str:
        return self._endpoint.result(timeout=60)

    def when_it_listens(self, do: Callable[[str], object]) -> None:
        self._endpoint.add_done_callback(lambda done: do(done.result()))

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=30)
        self._reader.join(timeout=30)
        self._output.close()

    def _listen(self) -> None:
        """Finds the address where the server says that it listens; goes on reading, so that the pipe never fills."""
        for line in self._output:
            if match := re.search(r"Running on (http://127\.0\.0\.1:\d+)", line):
                self._endpoint.set_result(match[1])
        if not self._endpoint.done():
            self._endpoint.set_exception(AssertionError("moto ended before it listened; is moto[server] installed?"))


@contextmanager
def moto_server() -> Iterator[str]:
    """The endpoint of a server that runs until the block ends."""
    server = MotoServer()
    try:
        yield server.endpoint()
    finally:
        server.close()
