"""rclone as an S3 server over a folder: it takes conditional headers and ignores them."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from real.servers import S3Server, free_port, listens, running, wait_until


@contextlib.contextmanager
def rclone() -> Iterator[S3Server]:
    with tempfile.TemporaryDirectory(prefix="rclone-") as name:
        folder, port = Path(name), free_port()
        server = S3Server(f"http://127.0.0.1:{port}")
        (folder / "buckets").mkdir()
        installed = str(Path(sys.executable).with_name("rclone"))
        command = [
            installed, "serve", "s3", "--config", "/dev/null", "--addr", f"127.0.0.1:{port}", "--vfs-cache-mode", "off",
            "--auth-key", f"{server.access_key},{server.secret_key}", str(folder / "buckets"),
        ]  # fmt: skip
        with running(command, folder / "log") as process:
            wait_until(lambda: listens(port), process, folder / "log")
            yield server
