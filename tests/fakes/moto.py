"""A real S3 server on loopback: moto, in a process of its own."""

from __future__ import annotations

import os
import queue
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}


@contextmanager
def moto_server() -> Iterator[str]:
    """The endpoint of a server that runs until the block ends."""
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
        env={**os.environ, **CREDENTIALS},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert server.stderr is not None
    found: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    reader = threading.Thread(target=_listen, args=(server.stderr, found))
    reader.start()
    try:
        endpoint = found.get(timeout=60)
        assert endpoint is not None, "moto_server ended before it listened; is moto[server] installed?"
        yield endpoint
    finally:
        server.terminate()
        server.wait(timeout=30)
        reader.join(timeout=30)
        server.stderr.close()


def _listen(output: IO[str], found: queue.SimpleQueue[str | None]) -> None:
    """Finds the address where the server says that it listens; goes on reading, so that the pipe never fills."""
    for line in output:
        if match := re.search(r"Running on (http://127\.0\.0\.1:\d+)", line):
            found.put(match[1])
    found.put(None)
