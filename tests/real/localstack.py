"""LocalStack's S3: the one that verifies checksums. It listens at all addresses, so it gets a network of its own.

``install`` puts it into an environment beside that of the tests.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from real.servers import S3Server, free_port, running, wait_until

PYTHON = Path(sys.prefix) / "localstack" / "bin" / "python"
_SETTINGS = {
    "SERVICES": "s3",
    "EAGER_SERVICE_LOADING": "1",
    "DISABLE_EVENTS": "1",
    "DNS_ADDRESS": "0",
    "SKIP_SSL_CERT_DOWNLOAD": "1",
    "GATEWAY_LISTEN": "127.0.0.1:4566",
}
_STORAGE = Path("/tmp/localstack-s3-storage")  # a path that cannot be set; each server gets a folder of its own there
# A socket file leads into the network namespace; only this machine's loopback leads to the socket file.
_INSIDE = """
mount --bind "$1/files" "$3"
ip link set lo up
socat UNIX-LISTEN:"$1/socket",fork TCP:127.0.0.1:4566 &
exec "$2" -m localstack.runtime.main
"""


@contextlib.contextmanager
def localstack() -> Iterator[S3Server]:
    assert PYTHON.exists(), f"{PYTHON} is missing: run tests/real/install"
    with tempfile.TemporaryDirectory(prefix="localstack-") as name, contextlib.ExitStack() as stack:
        folder, port = Path(name), free_port()
        (folder / "files").mkdir()
        _STORAGE.mkdir(exist_ok=True)
        stack.callback(_remove_if_empty, _STORAGE)
        settings = {**_SETTINGS, "FILESYSTEM_ROOT": str(folder / "root"), "TMPDIR": name}
        inside = ["env", "-i", f"PATH={os.environ['PATH']}", *(f"{key}={value}" for key, value in settings.items())]
        inside += ["sh", "-c", _INSIDE, "sh", name, str(PYTHON), str(_STORAGE)]
        log = folder / "log"
        process = stack.enter_context(
            running(["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", *inside], log)
        )
        way_in = ["socat", f"TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr", f"UNIX-CONNECT:{folder / 'socket'}"]
        stack.enter_context(running(way_in, folder / "socat.log"))
        server = S3Server(f"http://127.0.0.1:{port}")
        wait_until(lambda: _is_ready(server), process, log)
        yield server


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def _is_ready(server: S3Server) -> bool:
    try:
        with urllib.request.urlopen(f"{server.endpoint}/_localstack/health", timeout=2) as answer:
            return b'"s3": "running"' in answer.read()
    except (urllib.error.URLError, OSError):
        return False
