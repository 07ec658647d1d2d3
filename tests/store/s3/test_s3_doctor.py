"""What only S3 has for the doctor: the server's clock, and uploads in parts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import boto3
import pytest

from fakes.http import Answer, AnsweringServer
from holdfast.core.errors import Permanent
from holdfast.store.base import StoreSettings
from holdfast.store.directory import DirectoryStore
from holdfast.store.s3 import S3Store
from holdfast.supervisor.doctor.probe_store import HasClock, HasParts


def test_the_servers_clock_is_read_from_its_answers(bucket: str, s3_server: str) -> None:
    store = S3Store.connect(bucket, "runs", StoreSettings(endpoint_url=s3_server))
    assert abs(store.server_time() - datetime.now(UTC)) < timedelta(seconds=10)


def test_an_upload_in_parts_is_begun_and_aborted(bucket: str, s3_server: str) -> None:
    S3Store.connect(bucket, "runs", StoreSettings(endpoint_url=s3_server)).try_parts("probe")
    client = boto3.client("s3", endpoint_url=s3_server)
    assert client.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []
    assert client.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_an_abort_that_is_denied_is_an_error() -> None:
    begun = b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
    denied = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
    with AnsweringServer(
        lambda request: Answer(200, begun) if request.method == "POST" else Answer(403, denied)
    ) as server:
        store = S3Store.connect("some-bucket", "", StoreSettings(endpoint_url=server.endpoint))
        with pytest.raises(Permanent, match="AccessDenied"):
            store.try_parts("probe")


def test_the_doctor_knows_which_store_has_them(bucket: str, s3_server: str) -> None:
    store = S3Store.connect(bucket, "", StoreSettings(endpoint_url=s3_server))
    assert isinstance(store, HasClock)
    assert isinstance(store, HasParts)
    assert not hasattr(DirectoryStore, "server_time")
