"""What each fault of the proxy is to the S3 store: a typed error, and no half object."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import boto3
import pytest

from fakes.proxy import PLACES, Asked, FaultProxy
from holdfast.core.errors import Corrupted, Transient
from holdfast.store import Store, StoreSettings, open_store

HARMLESS = ("delay",)
DONE_ALL_THE_SAME = ("cut:after", "cut:answer", "reset:after", "stall:after", "delay")
OLD, NEW = b"the old content", b"the new content"


class Once:
    """Plans one fault for the next request that can have it, of one method."""

    def __init__(self, method: str) -> None:
        self.method = method
        self.fault: str | None = None

    def __call__(self, asked: Asked) -> str | None:
        if self.fault is None or asked.method != self.method or not asked.can_have(self.fault):
            return None
        fault, self.fault = self.fault, None
        return fault


def through(proxy: FaultProxy, bucket: str) -> Store:
    return open_store(f"s3://{bucket}/runs", StoreSettings(endpoint_url=proxy.endpoint))


def there(server: str, bucket: str, key: str) -> bytes | None:
    client = boto3.client("s3", endpoint_url=server)
    try:
        return client.get_object(Bucket=bucket, Key=f"runs/{key}")["Body"].read()
    except client.exceptions.NoSuchKey:
        return None


Operation = Callable[[Store, Path], object]
WRITES: dict[str, Operation] = {
    "put": lambda store, path: store.put("key", path),
    "create": lambda store, path: store.create("new", NEW),
    "replace": lambda store, path: store.replace("key", NEW, store.get("key")[1]),
}


@pytest.mark.parametrize(
    ("fault", "operation"),
    [
        (place, operation)
        for place in PLACES
        for operation in WRITES
        if place not in ("cut:answer", "flip:answer") and (place, operation) != ("answer:409", "put")
    ],
)
def test_a_write_through_a_fault_is_refused_or_done_and_never_half(
    s3_server: str, bucket: str, scratch: Path, fault: str, operation: str
) -> None:
    path, plan = scratch / "file", Once("PUT")
    with FaultProxy(s3_server, plan, log=scratch / "log", patience=0.2, delay=0.01) as proxy:
        store = through(proxy, bucket)
        path.write_bytes(OLD)
        store.put("key", path)
        path.write_bytes(NEW)
        plan.fault = fault
        if fault in HARMLESS:
            WRITES[operation](store, path)
        else:
            with pytest.raises(Transient):
                WRITES[operation](store, path)
        key, before = ("new", None) if operation == "create" else ("key", OLD)
        assert there(s3_server, bucket, key) == (NEW if fault in DONE_ALL_THE_SAME else before)
    assert plan.fault is None, "the fault hit"
    (line,) = (scratch / "log").read_text().splitlines()
    assert json.loads(line)["fault"] == fault
    assert json.loads(line)["key"] == f"{bucket}/runs/{key}"


@pytest.mark.parametrize("operation", ["get", "fetch"])
@pytest.mark.parametrize("fault", [place for place in PLACES if Asked(1, "GET", "/b/k", {}).can_have(place)])
def test_a_read_through_a_fault_is_refused_or_left_to_the_manifests_checksum(
    s3_server: str, bucket: str, scratch: Path, fault: str, operation: str
) -> None:
    path, back, plan = scratch / "file", scratch / "back", Once("GET")
    path.write_bytes(OLD)
    with FaultProxy(s3_server, plan, patience=0.2, delay=0.01) as proxy:
        store = through(proxy, bucket)
        store.put("key", path)
        plan.fault = fault
        read: Callable[[], object] = (
            (lambda: store.get("key")) if operation == "get" else lambda: store.fetch("key", back)
        )
        if fault in HARMLESS:
            read()
        elif (fault, operation) == ("flip:answer", "fetch"):  # who fetches compares with a manifest's SHA-256
            read()
            assert back.read_bytes() != OLD
        else:
            with pytest.raises(Corrupted if fault == "flip:answer" else Transient):
                read()
            assert not back.exists()
    assert plan.fault is None, "the fault hit"


@pytest.mark.parametrize(
    ("method", "target", "part"),
    [
        ("PUT", "/bucket/runs/00001-x/model-0001-00000010-0.5000-i1-q1.h5", "data"),
        ("PUT", "/bucket/runs/00001-x/model-0001-00000010-0.5000-i1-q1.h5?uploadId=1&partNumber=2", "multipart"),
        ("POST", "/bucket/runs/00001-x/model-0001-00000010-0.5000-i1-q1.h5?uploads", "multipart"),
        ("PUT", "/bucket/runs/00001-x/model-0001-00000010-0.5000-i1-q1.json", "manifest"),
        ("PUT", "/bucket/runs/00001-x/lease.json", "lease"),
        ("PUT", "/bucket/runs/00001-x/complete.json", "run"),
        ("GET", "/bucket?list-type=2&prefix=runs%2F00001-x%2Fmodel-", "listing"),
        ("PUT", "/bucket/runs/00001-x/events-i1.jsonl", "other"),
    ],
)
def test_a_request_says_which_part_of_the_commit_protocol_it_is(method: str, target: str, part: str) -> None:
    assert Asked(1, method, target, {}).part == part
