"""The conformance suite over S3 servers that are independent of each other, and what each of them keeps."""

from __future__ import annotations

import base64
import contextlib
import os
import uuid
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.core.errors import Conflict, Corrupted, Permanent, Transient
from holdfast.store import StoreSettings
from holdfast.store.conditional_write_fallback import Conditional, Supported, probe
from holdfast.store.s3 import S3Store
from real.servers import S3Server
from store.conformance import ConditionalWrites, Make, StoreConformance

pytestmark = pytest.mark.real

Open = Callable[..., S3Store]


@pytest.fixture
def open_at(monkeypatch: pytest.MonkeyPatch) -> Open:
    """Opens a store in a bucket of its own at the server that it is given."""
    bucket = f"test-{uuid.uuid4().hex}"
    made = False

    def open_store(server: S3Server, prefix: str = "") -> S3Store:
        nonlocal made
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        if not made:
            server.client().create_bucket(Bucket=bucket)
            made = True
        return S3Store.connect(bucket, prefix, StoreSettings())

    return open_store


def at_once(seconds: float) -> None:
    """Instead of waiting."""


def tried(store: S3Store) -> Conditional:
    """What it supports is known; until then its objects of trial may be seen."""
    conditional = Conditional(store, lambda text: None, at_once)
    while conditional.learned() is None:
        with contextlib.suppress(Transient):  # rclone answers 500 where several writers make its folder at once
            conditional.supported()
    return conditional


@pytest.mark.xdist_group("radosgw")
class TestConditionalS3StoreAtCeph(StoreConformance):
    @pytest.fixture
    def make(self, radosgw: S3Server, open_at: Open) -> Make:
        return lambda prefix: tried(open_at(radosgw, f"team/{prefix}"))


@pytest.mark.xdist_group("radosgw")
def test_ceph_keeps_all_conditions_once_the_tag_has_no_quotes(radosgw: S3Server, open_at: Open) -> None:
    said: list[str] = []
    store = open_at(radosgw)
    assert probe(store) == Supported(create=True, replace=True, quotes=False)
    with pytest.raises(Conflict):
        store.replace("key", b"2", store.create("key", b"1"))

    conditional = Conditional(store, said.append, at_once)
    conditional.replace("key", b"2", store.get("key")[1])
    assert store.get("key")[0] == b"2"
    assert said == []


@pytest.mark.xdist_group("radosgw")
def test_ceph_refuses_a_wrong_secret(radosgw: S3Server, open_at: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_at(radosgw)
    store.create("key", b"data")
    wrong = S3Server(radosgw.endpoint, radosgw.access_key, "wrong")
    with pytest.raises(Permanent, match="SignatureDoesNotMatch"):
        open_at(wrong).get("key")


@pytest.mark.xdist_group("localstack")
class TestS3StoreAtLocalStack(ConditionalWrites):
    """As it is; all the rest it does as the one below, which tries first what the server supports."""

    @pytest.fixture
    def make(self, localstack: S3Server, open_at: Open) -> Make:
        return lambda prefix: open_at(localstack, f"team/{prefix}")


@pytest.mark.xdist_group("localstack")
class TestConditionalS3StoreAtLocalStack(StoreConformance):
    @pytest.fixture
    def make(self, localstack: S3Server, open_at: Open) -> Make:
        return lambda prefix: tried(open_at(localstack, f"team/{prefix}"))


@pytest.mark.xdist_group("localstack")
def test_the_checksum_of_a_whole_object_is_what_the_server_keeps_however_many_parts_it_had(
    localstack: S3Server, open_at: Open, scratch: Path
) -> None:
    store = open_at(localstack)
    for key, size in (("one-part", 5), ("three-parts", 40 << 20)):
        (scratch / key).write_bytes(os.urandom(size))
        crc32 = zlib.crc32((scratch / key).read_bytes())
        store.put(key, scratch / key, crc32=crc32)
        there = localstack.client().head_object(Bucket=store.uri[5:], Key=key, ChecksumMode="ENABLED")
        assert there["ChecksumType"] == "FULL_OBJECT"
        assert base64.b64decode(there["ChecksumCRC32"]) == crc32.to_bytes(4, "big")


@pytest.mark.xdist_group("localstack")
def test_what_a_refused_upload_of_many_parts_left_is_swept(localstack: S3Server, open_at: Open, scratch: Path) -> None:
    store = open_at(localstack)
    (scratch / "file").write_bytes(bytes(40 << 20))
    with pytest.raises(Corrupted):
        store.put("run/key", scratch / "file", crc32=42)
    store.sweep("run/")
    assert "Uploads" not in localstack.client().list_multipart_uploads(Bucket=store.uri[5:])
    assert store.list("") == []


@pytest.mark.xdist_group("rclone")
class TestConditionalS3StoreAtRclone(StoreConformance):
    # It ignores all conditions, and of writers that meet, one may read the other's half-written object.
    test_of_racing_creators_exactly_one_wins = None
    test_of_racing_replacers_with_one_tag_exactly_one_wins = None
    # Its answer to the deletion of a folder is 500.
    test_delete_does_not_mind_a_folder_or_what_would_be_below_an_object = None

    @pytest.fixture
    def make(self, rclone_s3: S3Server, open_at: Open) -> Make:
        return lambda prefix: tried(open_at(rclone_s3, f"team/{prefix}"))


@pytest.mark.xdist_group("rclone")
def test_a_server_that_ignores_conditions_is_found_out_and_named(rclone_s3: S3Server, open_at: Open) -> None:
    said: list[str] = []
    store = open_at(rclone_s3)
    conditional = Conditional(store, said.append, at_once)

    conditional.create("key", b"first")
    with pytest.raises(Conflict):
        conditional.create("key", b"second")

    assert store.get("key")[0] == b"first"
    assert len(said) == 1
    assert f"{store.uri} supports no conditional writes" in said[0]
    assert [entry.key for entry in store.list("")] == ["key"]
