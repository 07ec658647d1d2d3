from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import re
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import botocore.config
import pytest

from fakes.http import Answer, AnsweringServer, Request, unused_endpoint
from fakes.tls import certificate
from holdfast.core.errors import (
    Conflict,
    Corrupted,
    NotFound,
    Permanent,
    SettingsError,
    StoreError,
    TooLarge,
    Transient,
)
from holdfast.spool import whole_crc32
from holdfast.store import Entry, Store, StoreSettings, open_store
from holdfast.store.directory import DirectoryStore
from holdfast.store.s3 import S3Store
from store.conformance import Make, StoreConformance


class TestS3Store(StoreConformance):
    """moto takes any checksum."""

    @pytest.fixture
    def make(self, s3_server: str, bucket: str) -> Make:
        return lambda prefix: S3Store.connect(bucket, f"team/{prefix}", StoreSettings(endpoint_url=s3_server))


@pytest.mark.parametrize("size", [5, 20 << 20])
def test_content_that_is_not_what_was_recorded_is_not_stored_where_no_checksums_are_sent_either(
    s3_server: str, bucket: str, scratch: Path, size: int
) -> None:
    settings = StoreSettings(endpoint_url=s3_server, request_checksum="when_required")
    store = S3Store.connect(bucket, "old", settings)
    content = os.urandom(size)
    (scratch / "file").write_bytes(content)
    store.put("whole", scratch / "file", crc32=zlib.crc32(content))
    with pytest.raises(Corrupted, match="damaged"):
        store.put("damaged", scratch / "file", crc32=zlib.crc32(content) ^ 1)
    assert store.list("") == [Entry("whole", size)]


@pytest.mark.parametrize("sizes", [[], [0], [3, 0, 1], [1 << 20, 7, 4096]])
def test_the_checksum_of_a_whole_is_made_of_those_of_its_parts(sizes: list[int]) -> None:
    parts = [os.urandom(size) for size in sizes]
    assert whole_crc32((zlib.crc32(part), len(part)) for part in parts) == zlib.crc32(b"".join(parts))


# --- a real server ---


def operations(store: Store, scratch: Path) -> dict[str, Callable[[], object]]:
    source = scratch / "source"
    source.write_bytes(b"data")
    return {
        "put": lambda: store.put("key", source),
        "create": lambda: store.create("key", b"data"),
        "replace": lambda: store.replace("key", b"data", '"tag"'),
        "get": lambda: store.get("key"),
        "fetch": lambda: store.fetch("key", scratch / "back"),
        "list": lambda: store.list(""),
        "delete": lambda: store.delete("key"),
        "sweep": lambda: store.sweep("run/"),
    }


OPERATIONS = ["put", "create", "replace", "get", "fetch", "list", "delete", "sweep"]
WRITING = ["put", "create", "replace"]


def test_a_missing_bucket_is_a_permanent_error_that_names_it(s3_server: str, scratch: Path) -> None:
    store = S3Store.connect("no-such-bucket", "", StoreSettings(endpoint_url=s3_server))
    for operation in OPERATIONS:
        with pytest.raises(Permanent, match=r"'no-such-bucket' does not exist.*--store"):
            operations(store, scratch)[operation]()


def test_every_setting_goes_with_every_operation(s3_server: str, bucket: str, scratch: Path) -> None:
    settings = StoreSettings(
        endpoint_url=s3_server,
        sse_kms_key_id="alias/key",
        expected_bucket_owner="123456789012",
        request_checksum="when_required",
    )
    store = S3Store.connect(bucket, "", settings)
    (scratch / "source").write_bytes(bytes(40 << 20))

    store.put("run/file", scratch / "source")
    store.fetch("run/file", scratch / "back")
    store.replace("run/lease", b"2", store.create("run/lease", b"1"))

    assert (scratch / "back").read_bytes() == bytes(40 << 20)
    assert store.get("run/lease")[0] == b"2"
    store.delete("run/file")
    assert store.list("", shallow=True) == [Entry("run/", 0)]


def test_missing_credentials_are_a_permanent_error_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch, s3_server: str, scratch: Path
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    store = S3Store.connect("bucket", "", StoreSettings(endpoint_url=s3_server))
    for operation in operations(store, scratch).values():
        with pytest.raises(Permanent, match=r"no AWS credentials for s3://bucket.*give the machine a role"):
            operation()


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_a_metadata_service_that_loses_its_first_answers_costs_no_credentials(
    monkeypatch: pytest.MonkeyPatch, server: AnsweringServer, scratch: Path, lost: int
) -> None:
    """The SDK asks once, and a client that was made without credentials has none for good."""
    role = json.dumps(
        {
            "Code": "Success",
            "AccessKeyId": "from-the-role",
            "SecretAccessKey": "secret",
            "Token": "token",
            "Expiration": "2099-01-01T00:00:00Z",
        }
    )

    def service(request: Request) -> Answer | None:
        if len(metadata.requests) <= lost:
            return None
        if request.method == "PUT":
            return Answer(body=b"token")
        if "x-aws-ec2-metadata-token" not in request.headers:
            return Answer(401)
        return Answer(body=b"role" if request.path.endswith("/") else role.encode())

    server.answer = contents
    with AnsweringServer(service) as metadata:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "false")
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.endpoint)
        for operation in operations(connect(server), scratch).values():
            operation()
    assert all("from-the-role" in request.headers["authorization"] for request in server.requests)


def test_an_endpoint_that_nothing_listens_at_is_a_transient_error(scratch: Path) -> None:
    store = S3Store.connect("bucket", "", StoreSettings(endpoint_url=unused_endpoint()))
    for operation in operations(store, scratch).values():
        with pytest.raises(Transient, match="bucket"):
            operation()


class _EnoughError(BaseException):
    """Not even an Exception: the SDK's threads would not survive it."""


def test_an_abandoned_upload_of_many_parts_is_aborted(s3_server: str, bucket: str, scratch: Path) -> None:
    client = boto3.client("s3", endpoint_url=s3_server)
    store = S3Store.connect(bucket, "runs", StoreSettings(endpoint_url=s3_server))
    (scratch / "file").write_bytes(bytes(40 << 20))
    unfinished = []

    def progress(count: int) -> None:
        if count:
            unfinished.extend(client.list_multipart_uploads(Bucket=bucket).get("Uploads", []))
            raise _EnoughError

    with pytest.raises(_EnoughError):
        store.put("key", scratch / "file", progress=progress)
    assert unfinished
    assert client.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []


def test_a_sweep_aborts_the_unfinished_uploads_under_its_prefix(s3_server: str, bucket: str) -> None:
    client = boto3.client("s3", endpoint_url=s3_server)
    store = S3Store.connect(bucket, "team", StoreSettings(endpoint_url=s3_server))
    for key in ("team/run/a", "team/run/a", "team/run/b/c", "team/runs/a", "run/a"):
        client.create_multipart_upload(Bucket=bucket, Key=key)

    for _ in range(2):
        store.sweep("run/")
        left = client.list_multipart_uploads(Bucket=bucket)["Uploads"]
        assert sorted(upload["Key"] for upload in left) == ["run/a", "team/runs/a"]
    store.sweep("")
    assert [upload["Key"] for upload in client.list_multipart_uploads(Bucket=bucket)["Uploads"]] == ["run/a"]


# --- a server that answers as told -----------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[AnsweringServer]:
    with AnsweringServer(lambda request: Answer()) as server:
        yield server


def connect(server: AnsweringServer, **settings: Any) -> S3Store:
    return S3Store.connect("bucket", "runs", StoreSettings(endpoint_url=server.endpoint, **settings))


def refusal(status: int, code: str) -> Answer:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>the reason</Message></Error>"
    return Answer(status, body.encode(), {"Content-Type": "application/xml"})


def contents(request: Request) -> Answer:
    """As much of S3 as makes every operation succeed."""
    if "list-type" in request.path:
        return Answer(body=b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")
    if "uploads" in request.path:
        return Answer(body=b"<ListMultipartUploadsResult><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>")
    body = b"data" if request.method in ("GET", "HEAD") else b""
    return Answer(204 if request.method == "DELETE" else 200, body, {"ETag": '"tag"'})


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (503, "SlowDown", Transient),
        (500, "InternalError", Transient),
        (502, "", Transient),
        (429, "TooManyRequests", Transient),
        (403, "ExpiredToken", Transient),
        (400, "RequestTimeout", Transient),
        (400, "BadDigest", Transient),
        (403, "AccessDenied", Permanent),
        (403, "InvalidAccessKeyId", Permanent),
        (403, "SignatureDoesNotMatch", Permanent),
        (400, "InvalidArgument", Permanent),
    ],
)
def test_a_refusal_has_the_kind_that_tells_whether_to_try_again(
    server: AnsweringServer, scratch: Path, status: int, code: str, kind: type[StoreError]
) -> None:
    server.answer = lambda request: refusal(status, code)
    store = connect(server)
    for operation in OPERATIONS:
        with pytest.raises(kind, match=f"s3://bucket/runs/.*{code}"):
            operations(store, scratch)[operation]()
    assert len(server.requests) == len(OPERATIONS), "who calls retries, not the store"


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(("status", "kind"), [(503, Transient), (500, Transient), (403, Permanent), (404, Permanent)])
def test_a_refusal_without_a_body_is_judged_by_its_status(
    server: AnsweringServer, scratch: Path, status: int, kind: type[StoreError], operation: str
) -> None:
    server.answer = lambda request: Answer(status)
    call = operations(connect(server), scratch)[operation]
    if status == 404 and operation == "delete":
        call()
        return
    with pytest.raises(NotFound if status == 404 and operation in ("get", "fetch") else kind):
        call()
    assert not (scratch / "back").exists()


@pytest.mark.parametrize("status", [409, 412])
def test_a_conflict_without_a_condition_may_be_over_soon(server: AnsweringServer, scratch: Path, status: int) -> None:
    server.answer = lambda request: refusal(status, "Conflict")
    for operation in OPERATIONS:
        if operation not in ("create", "replace"):
            with pytest.raises(Transient):
                operations(connect(server), scratch)[operation]()


def test_an_object_that_changes_while_it_is_fetched_is_a_transient_error(
    server: AnsweringServer, scratch: Path
) -> None:
    size = 40 << 20

    def change(request: Request) -> Answer:
        if "if-match" in request.headers:
            return refusal(412, "PreconditionFailed")
        first = request.headers["range"] == f"bytes=0-{(16 << 20) - 1}"
        assert first
        return Answer(206, bytes(16 << 20), {"ETag": '"tag"', "Content-Range": f"bytes 0-{(16 << 20) - 1}/{size}"})

    server.answer = change
    with pytest.raises(Transient, match="changed during the download"):
        connect(server).fetch("key", scratch / "back")
    assert not (scratch / "back").exists()


def test_an_object_that_became_huge_is_given_up_as_soon_as_more_comes_than_may(
    server: AnsweringServer, scratch: Path
) -> None:
    part, size = 16 << 20, 1 << 40

    def send(request: Request) -> Answer:
        first = int(request.headers["range"].removeprefix("bytes=").partition("-")[0])
        span = f"bytes {first}-{first + part - 1}/{size}"
        return Answer(206, bytes(part), {"ETag": '"tag"', "Content-Range": span})

    server.answer = send
    with pytest.raises(TooLarge, match=f"key has more than {part + 1} bytes"):
        connect(server).fetch("key", scratch / "back", most=part + 1)
    assert len(server.requests) < 20
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(("status", "code"), [(412, "PreconditionFailed"), (409, "Conflict")])
def test_both_answers_to_a_lost_conditional_write_are_conflicts(
    server: AnsweringServer, status: int, code: str
) -> None:
    server.answer = lambda request: refusal(status, code)
    with pytest.raises(Conflict, match="key"):
        connect(server).create("key", b"")
    with pytest.raises(Conflict, match="key"):
        connect(server).replace("key", b"", '"tag"')


def test_two_conditional_writes_that_met_are_to_be_tried_again(server: AnsweringServer) -> None:
    """S3 did not do this one, and it does not say that the other one was done."""
    server.answer = lambda request: refusal(409, "ConditionalRequestConflict")
    with pytest.raises(Transient, match="ConditionalRequestConflict"):
        connect(server).create("key", b"")


def test_a_connection_that_ends_without_an_answer_is_a_transient_error(server: AnsweringServer, scratch: Path) -> None:
    server.answer = lambda request: None
    for operation in operations(connect(server), scratch).values():
        with pytest.raises(Transient):
            operation()


@pytest.mark.parametrize("operation", ["get", "fetch"])
def test_an_object_that_ends_too_early_is_a_transient_error(
    server: AnsweringServer, scratch: Path, operation: str
) -> None:
    server.answer = lambda request: Answer(body=b"da", headers={"ETag": '"tag"'}, length=4)
    with pytest.raises(Transient):
        operations(connect(server), scratch)[operation]()
    assert not (scratch / "back").exists()


def test_an_answer_that_does_not_come_in_time_is_a_transient_error(scratch: Path) -> None:
    release = threading.Event()

    def hang(request: Request) -> None:
        release.wait(timeout=30)

    with AnsweringServer(hang) as server:
        config = botocore.config.Config(read_timeout=0.05, retries={"total_max_attempts": 1})
        client = boto3.client("s3", endpoint_url=server.endpoint, config=config)
        store = S3Store(client, client, client, "bucket", "", StoreSettings())
        try:
            for operation in operations(store, scratch).values():
                with pytest.raises(Transient, match=r"timed out|timeout"):
                    operation()
        finally:
            release.set()


@pytest.mark.parametrize("operation", ["create", "replace", "get"])
def test_a_small_object_is_not_waited_for_as_long_as_a_large_one(operation: str, scratch: Path) -> None:
    """A heartbeat of the lease that hangs must end while there is time for another."""
    release = threading.Event()

    def hang(request: Request) -> None:
        release.wait(timeout=30)

    with AnsweringServer(hang) as server:
        settings = StoreSettings(endpoint_url=server.endpoint)
        store = S3Store.connect("bucket", "runs", settings, small_timeout=0.05)
        try:
            with pytest.raises(Transient, match=r"timed out|timeout"):
                operations(store, scratch)[operation]()
        finally:
            release.set()


def test_an_answer_that_is_no_s3_at_all_is_a_store_error(server: AnsweringServer) -> None:
    server.answer = lambda request: Answer(body=b"<html><body>Welcome to the hotel's wireless network!")
    with pytest.raises(StoreError):
        connect(server).list("")


# --- what reaches the wire -------------------------------------------------------------------------------------------


def test_a_sweep_goes_on_after_an_upload_that_ended_meanwhile(server: AnsweringServer) -> None:
    uploads = "".join(f"<Upload><Key>runs/run/{key}</Key><UploadId>{key}</UploadId></Upload>" for key in "ab")
    listing = f"<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>{uploads}</ListMultipartUploadsResult>"
    server.answer = lambda request: (
        Answer(body=listing.encode()) if request.method == "GET" else refusal(404, "NoSuchUpload")
    )
    connect(server).sweep("run/")
    aborted = [request.path.partition("?")[0] for request in server.requests if request.method == "DELETE"]
    assert aborted == ["/bucket/runs/run/a", "/bucket/runs/run/b"]


def test_a_sweep_does_not_mind_a_server_that_answers_that_there_are_no_uploads(server: AnsweringServer) -> None:
    server.answer = lambda request: refusal(404, "NoSuchUpload")
    connect(server).sweep("run/")


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_is_one_request_and_none_looks_first(
    server: AnsweringServer, scratch: Path, operation: str
) -> None:
    server.answer = contents
    operations(connect(server), scratch)[operation]()
    methods = {"get": "GET", "fetch": "GET", "list": "GET", "sweep": "GET", "delete": "DELETE"}
    assert [request.method for request in server.requests] == [methods.get(operation, "PUT")]


def test_an_upload_of_many_parts_is_one_request_for_each_and_two_around_them(
    server: AnsweringServer, scratch: Path
) -> None:
    def accept(request: Request) -> Answer:
        if request.method == "POST" and request.path.endswith("?uploads"):
            body = b"<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>"
            return Answer(body=body)
        return Answer(headers={"ETag": '"tag"'})

    server.answer = accept
    (scratch / "file").write_bytes(bytes(40 << 20))
    connect(server).put("key", scratch / "file", crc32=zlib.crc32(bytes(40 << 20)))
    assert sorted(request.method for request in server.requests) == ["POST", "POST", "PUT", "PUT", "PUT"]


class Parts:
    """Accepts an upload in parts; ``algorithm`` is what it says that it compares checksums by."""

    def __init__(self, algorithm: str = "", refuse: int = 0) -> None:
        self.kept = {"x-amz-checksum-algorithm": algorithm} if algorithm else {}
        self.refuse = refuse

    def __call__(self, request: Request) -> Answer:
        if request.method == "POST" and request.path.endswith("?uploads"):
            body = b"<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>"
            return Answer(body=body, headers=self.kept)
        if number_of(request) == self.refuse:
            return refusal(503, "SlowDown")
        sums = {name: value for name, value in request.headers.items() if name == "x-amz-checksum-crc32"}
        return Answer(headers={"ETag": '"tag"', **(sums if self.kept else {})})


def number_of(request: Request) -> int:
    match = re.search(r"partNumber=(\d+)", request.path)
    return int(match[1]) if match else -1


def sent_parts(server: AnsweringServer) -> list[Request]:
    return [request for request in server.requests if request.method == "PUT"]


@pytest.mark.parametrize(
    ("algorithm", "mode", "signed"),
    [("CRC32", "when_supported", False), ("", "when_supported", True), ("", "when_required", True)],
)
def test_a_part_is_signed_where_nothing_else_protects_it(
    server: AnsweringServer, scratch: Path, algorithm: str, mode: str, signed: bool
) -> None:
    server.answer = Parts(algorithm)
    content = b"0123456789abcdef" * (20 << 16)
    (scratch / "file").write_bytes(content)
    connect(server, request_checksum=mode).put("key", scratch / "file", crc32=zlib.crc32(content))
    for part in sent_parts(server):
        found = part.headers["x-amz-content-sha256"]
        assert found == (hashlib.sha256(part.body).hexdigest() if signed else "UNSIGNED-PAYLOAD")
        crc32 = base64.b64encode(zlib.crc32(part.body).to_bytes(4, "big")).decode()
        assert part.headers.get("x-amz-checksum-crc32") == (crc32 if mode == "when_supported" else None)
    assert sorted(part.body for part in sent_parts(server)) == sorted([content[: 16 << 20], content[16 << 20 :]])


def test_over_tls_no_part_is_signed_and_the_certificate_is_checked(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, trusted = certificate(scratch)
    content = bytes(17 << 20)
    (scratch / "file").write_bytes(content)
    with AnsweringServer(Parts(), context) as server:
        with pytest.raises(Permanent, match="certificate"):
            connect(server).put("key", scratch / "file")
        assert server.requests == []
        monkeypatch.setenv("AWS_CA_BUNDLE", str(trusted))
        connect(server).put("key", scratch / "file")
        assert {part.headers["x-amz-content-sha256"] for part in sent_parts(server)} == {"UNSIGNED-PAYLOAD"}
        assert sum(len(part.body) for part in sent_parts(server)) == len(content)
        server.answer = ranges(content)
        connect(server).fetch("key", scratch / "back")
        assert (scratch / "back").read_bytes() == content


def test_parts_go_through_the_proxy_that_the_environment_names(
    server: AnsweringServer, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answer = Parts("CRC32")
    monkeypatch.setenv("HTTP_PROXY", server.endpoint)
    (scratch / "file").write_bytes(bytes(17 << 20))
    store = S3Store.connect("bucket", "runs", StoreSettings(endpoint_url="http://s3.example.invalid"))
    store.put("key", scratch / "file", crc32=zlib.crc32(bytes(17 << 20)))
    server.answer = ranges(bytes(17 << 20))
    store.fetch("key", scratch / "back")
    assert len(server.requests) == 6
    assert {request.path.partition("?")[0] for request in server.requests} == {
        "http://s3.example.invalid/bucket/runs/key"
    }


def test_a_small_write_is_signed_whatever_the_store_compares(server: AnsweringServer, scratch: Path) -> None:
    server.answer = contents
    operations(connect(server), scratch)["put"]()
    assert server.requests[0].headers["x-amz-content-sha256"] == hashlib.sha256(b"data").hexdigest()


def test_an_upload_in_parts_ends_with_the_parts_and_the_recorded_checksum(
    server: AnsweringServer, scratch: Path
) -> None:
    server.answer = Parts("CRC32")
    (scratch / "file").write_bytes(bytes(40 << 20))
    crc32 = zlib.crc32(bytes(40 << 20))
    connect(server).put("key", scratch / "file", crc32=crc32)
    begun, done = (request for request in server.requests if request.method == "POST")
    assert begun.headers["x-amz-checksum-type"] == done.headers["x-amz-checksum-type"] == "FULL_OBJECT"
    assert done.headers["x-amz-checksum-crc32"] == base64.b64encode(crc32.to_bytes(4, "big")).decode()
    assert [int(number) for number in re.findall(rb"<PartNumber>(\d+)<", done.body)] == [1, 2, 3]
    assert done.body.count(b"<ChecksumCRC32>") == 3


def test_a_part_that_fails_ends_the_upload_and_aborts_it(server: AnsweringServer, scratch: Path) -> None:
    server.answer = Parts("CRC32", refuse=2)
    (scratch / "file").write_bytes(bytes(40 << 20))
    with pytest.raises(Transient, match="key: SlowDown"):
        connect(server).put("key", scratch / "file", crc32=0)
    assert server.requests[-1].method == "DELETE"
    assert server.requests[-1].path.endswith("?uploadId=1")
    assert [number_of(part) for part in sent_parts(server)].count(2) == 1, "who calls retries"


def test_a_part_is_sent_again_where_the_bucket_is_found_to_be(server: AnsweringServer, scratch: Path) -> None:
    accept = Parts("CRC32")

    def elsewhere(request: Request) -> Answer:
        if "eu-west-1" in request.headers.get("authorization", ""):
            return accept(request)
        return Answer(301, refusal(301, "PermanentRedirect").body, {"x-amz-bucket-region": "eu-west-1"})

    server.answer = elsewhere
    content = bytes(17 << 20)
    (scratch / "file").write_bytes(content)
    told: list[int] = []
    store = connect(server)
    store.put("key", scratch / "file", crc32=zlib.crc32(content), progress=told.append)
    accepted = [part for part in sent_parts(server) if "eu-west-1" in part.headers["authorization"]]
    assert sorted(len(part.body) for part in accepted) == [1 << 20, 16 << 20]
    assert sum(told) == len(content)


def ranges(content: bytes) -> Callable[[Request], Answer]:
    """Serves ranges of ``content`` as S3 does."""

    def answer(request: Request) -> Answer:
        first, last = (int(number) for number in request.headers["range"].removeprefix("bytes=").split("-"))
        piece = content[first : last + 1]
        span = f"bytes {first}-{first + len(piece) - 1}/{len(content)}"
        return Answer(206, piece, {"ETag": '"tag"', "Content-Range": span})

    return answer


def test_a_large_object_is_fetched_in_ranges_of_one_version(server: AnsweringServer, scratch: Path) -> None:
    content = random.Random(1).randbytes(33 << 20)
    server.answer = ranges(content)
    connect(server).fetch("key", scratch / "back")
    assert (scratch / "back").read_bytes() == content
    first, *rest = server.requests
    assert "if-match" not in first.headers
    assert [request.headers["if-match"] for request in rest] == ['"tag"', '"tag"']


def test_a_fetch_takes_no_object_that_is_larger_than_it_was_told(server: AnsweringServer, scratch: Path) -> None:
    server.answer = ranges(bytes(17 << 20))
    connect(server).fetch("key", scratch / "back", most=17 << 20)
    with pytest.raises(TooLarge, match=f"key has more than {(17 << 20) - 1} bytes"):
        connect(server).fetch("key", scratch / "new", most=(17 << 20) - 1)
    assert [path.name for path in scratch.iterdir()] == ["back"]


@pytest.mark.parametrize("span", ["bytes 0-9/20", "bytes 5-8/20", "bytes 0-3/*", "none"])
def test_a_beginning_that_is_not_what_it_says_is_a_transient_error(
    server: AnsweringServer, scratch: Path, span: str
) -> None:
    server.answer = lambda request: Answer(206, b"data", {"ETag": '"tag"', "Content-Range": span})
    with pytest.raises(Transient, match="how much there is"):
        connect(server).fetch("key", scratch / "back")
    assert list(scratch.iterdir()) == []


def test_a_part_that_does_not_say_of_what_is_a_transient_error(server: AnsweringServer, scratch: Path) -> None:
    server.answer = lambda request: Answer(206, b"data", {"ETag": '"tag"'})
    with pytest.raises(Transient, match="how much there is"):
        connect(server).fetch("key", scratch / "back")


def test_another_range_than_was_asked_for_is_a_transient_error(server: AnsweringServer, scratch: Path) -> None:
    content = bytes(33 << 20)
    right = ranges(content)

    def other(request: Request) -> Answer:
        answer = right(request)
        if request.headers["range"].startswith("bytes=0-"):
            return answer
        return Answer(206, bytes(10), {"ETag": '"tag"', "Content-Range": f"bytes 0-9/{len(content)}"})

    server.answer = other
    with pytest.raises(Transient, match="another range"):
        connect(server).fetch("key", scratch / "back")
    assert list(scratch.iterdir()) == []


def test_every_request_names_the_expected_owner_of_the_bucket(server: AnsweringServer, scratch: Path) -> None:
    server.answer = contents
    for operation in operations(connect(server, expected_bucket_owner="123456789012"), scratch).values():
        operation()
    assert len(server.requests) >= len(OPERATIONS)
    assert {request.headers.get("x-amz-expected-bucket-owner") for request in server.requests} == {"123456789012"}


def test_every_write_asks_for_encryption_with_the_given_key(server: AnsweringServer, scratch: Path) -> None:
    server.answer = contents
    store = connect(server, sse_kms_key_id="alias/holdfast")
    for operation in WRITING:
        operations(store, scratch)[operation]()
    assert len(server.requests) == len(WRITING)
    for request in server.requests:
        assert request.headers["x-amz-server-side-encryption"] == "aws:kms"
        assert request.headers["x-amz-server-side-encryption-aws-kms-key-id"] == "alias/holdfast"


@pytest.mark.parametrize(("mode", "sent"), [("when_supported", True), ("when_required", False)])
def test_a_write_carries_a_checksum_unless_that_is_switched_off(
    server: AnsweringServer, scratch: Path, mode: str, sent: bool
) -> None:
    server.answer = contents
    store = connect(server, request_checksum=mode)
    for operation in WRITING:
        operations(store, scratch)[operation]()
    assert len(server.requests) == len(WRITING)
    for request in server.requests:
        assert any("checksum" in f"{key}: {value}" for key, value in request.headers.items()) is sent


@pytest.mark.parametrize(("mode", "sent"), [("when_supported", "rfPzYw=="), ("when_required", None)])
def test_a_put_carries_the_recorded_checksum_unless_that_is_switched_off(
    server: AnsweringServer, scratch: Path, mode: str, sent: str | None
) -> None:
    server.answer = contents
    (scratch / "file").write_bytes(b"data")
    connect(server, request_checksum=mode).put("key", scratch / "file", crc32=zlib.crc32(b"data"))
    assert [request.headers.get("x-amz-checksum-crc32") for request in server.requests] == [sent]


def test_content_that_the_server_finds_corrupted_is_a_transient_error_of_its_own(
    server: AnsweringServer, scratch: Path
) -> None:
    server.answer = lambda request: refusal(400, "BadDigest")
    (scratch / "file").write_bytes(b"data")
    with pytest.raises(Corrupted, match="key: BadDigest"):
        connect(server).put("key", scratch / "file", crc32=zlib.crc32(b"data"))


def test_a_small_object_that_differs_from_its_checksum_is_corrupted(server: AnsweringServer) -> None:
    server.answer = lambda request: Answer(body=b"data", headers={"ETag": '"tag"', "x-amz-checksum-crc32": "AAAAKg=="})
    with pytest.raises(Corrupted, match="checksum"):
        connect(server).get("key")


def test_a_body_that_is_too_large_is_not_waited_for(server: AnsweringServer) -> None:
    server.answer = lambda request: Answer(body=b"da", headers={"ETag": '"tag"'}, length=1 << 40)
    with pytest.raises(TooLarge, match=f"key has {1 << 40} bytes") as caught:
        connect(server).get("key")
    assert caught.value.tag == '"tag"'


def test_by_default_no_owner_and_no_encryption_is_asked_for(server: AnsweringServer, scratch: Path) -> None:
    server.answer = contents
    for operation in operations(connect(server), scratch).values():
        operation()
    sent = {key for request in server.requests for key in request.headers}
    assert not {key for key in sent if "owner" in key or "encryption" in key}


def test_conditional_writes_carry_their_conditions(server: AnsweringServer) -> None:
    server.answer = contents
    store = connect(server)
    store.create("key", b"")
    store.replace("key", b"", '"tag"')
    created, replaced = server.requests
    assert created.headers["if-none-match"] == "*"
    assert replaced.headers["if-match"] == '"tag"'
    assert created.path == replaced.path == "/bucket/runs/key"


# --- from a URI to a store -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "opened"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("S3://bucket/some/prefix/", "s3://bucket/some/prefix"),
        ("s3://my.bucket-1/a=b", "s3://my.bucket-1/a=b"),
        ("file:///srv/store", "/srv/store"),
        ("FILE:///srv/store", "/srv/store"),
        ("/srv/store", "/srv/store"),
        ("relative/store", "relative/store"),
        (".", "."),
    ],
)
def test_a_uri_opens_the_store_that_it_names(uri: str, opened: str) -> None:
    store = open_store(uri, StoreSettings())
    assert store.uri == opened
    assert isinstance(store, S3Store if opened.startswith("s3:") else DirectoryStore)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        " ",
        "s3://",
        "s3:///prefix",
        "s3://Bucket/prefix",
        "s3://b/prefix",
        "s3://bucket/a//b",
        "s3://bucket/../b",
        "s3://bucket/a\nb",
        "s3://key:secret@bucket/prefix",
        "gs://bucket/prefix",
        "http://127.0.0.1/bucket",
        "file://",
        "file://relative/path",
        "file://~/store",
    ],
)
def test_a_uri_that_names_no_store_is_a_settings_error_that_names_the_option(uri: str) -> None:
    with pytest.raises(SettingsError, match=r"^--store "):
        open_store(uri, StoreSettings())


@pytest.mark.parametrize(
    "settings", [StoreSettings(endpoint_url="not an address"), StoreSettings(request_checksum="?")]
)
def test_a_setting_that_cannot_be_is_a_settings_error(settings: StoreSettings) -> None:
    with pytest.raises(SettingsError, match="--endpoint-url or the AWS settings"):
        open_store("s3://bucket", settings)


def test_opening_a_store_contacts_nothing(server: AnsweringServer, tmp_path: Path) -> None:
    open_store("s3://bucket", StoreSettings(endpoint_url=server.endpoint))
    open_store(str(tmp_path / "store"), StoreSettings())
    assert server.requests == []
    assert list(tmp_path.iterdir()) == []
