"""Stores that refuse what S3 takes: the error names the setting with which it works, and with that it does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fakes.aws import Call, Door
from holdfast.core.errors import Permanent, SettingsError
from holdfast.store.base import StoreSettings
from holdfast.store.s3 import S3Store
from holdfast.store.s3.remedies import Refusal

Refused = tuple[int, str, str] | None
PART = 16 << 20


def of_checksums(call: Call, headers: dict[str, str]) -> Refused:
    """As Backblaze B2 did."""
    sums = [name for name in headers if name.startswith(("x-amz-checksum", "x-amz-sdk-checksum", "x-amz-trailer"))]
    return (400, "InvalidArgument", f"Unsupported header '{sums[0]}' received for this API call.") if sums else None


def of_uploads_without_encryption(call: Call, headers: dict[str, str]) -> Refused:
    """A bucket's policy, in Amazon's words."""
    asked = headers.get("x-amz-server-side-encryption")
    if call.operation not in ("PutObject", "CreateMultipartUpload") or asked in ("AES256", "aws:kms"):
        return None
    return 403, "AccessDenied", "User is not authorized to perform: s3:PutObject on resource with an explicit deny"


def writes(store: S3Store, folder: Path) -> dict[str, Callable[[], Any]]:
    small, large = folder / "small", folder / "large"
    small.write_bytes(b"small")
    large.write_bytes(bytes(PART + 1))
    return {
        "create": lambda: store.create("key", b"data"),
        "put": lambda: store.put("small", small),
        "put, in parts": lambda: store.put("large", large),
        "try_parts": lambda: store.try_parts("parts"),
    }


@pytest.mark.parametrize(
    ("refuse", "setting", "remedy"),
    [
        (of_checksums, {"request_checksum": "when_required"}, "set --request-checksum when_required"),
        (of_uploads_without_encryption, {"sse": "AES256"}, "set --sse AES256 or --sse aws:kms, with --sse-kms-key-id"),
        (of_uploads_without_encryption, {"sse": "aws:kms"}, "set --sse AES256 or --sse aws:kms, with --sse-kms-key-id"),
        (of_uploads_without_encryption, {"sse_kms_key_id": "key"}, "set --sse AES256"),
    ],
    ids=["checksums", "AES256", "aws:kms", "a key"],
)
def test_a_refusal_names_the_setting_with_which_the_store_works(
    bucket: str, s3_server: str, scratch: Path, refuse: Any, setting: dict[str, str], remedy: str
) -> None:
    with Door(s3_server, refuse=refuse) as door:
        refused = S3Store.connect(bucket, "", StoreSettings(endpoint_url=door.endpoint))
        for name, write in writes(refused, scratch).items():
            if name == "try_parts" and refuse is of_checksums:
                continue  # it sends none
            with pytest.raises(Permanent) as caught:
                write()
            assert remedy in caught.value.remedy, name
            assert str(caught.value) == f"{caught.value.refusal}; {caught.value.remedy}"
        store = S3Store.connect(bucket, "", StoreSettings(endpoint_url=door.endpoint, **setting))
        for write in writes(store, scratch).values():
            write()
        assert store.get("key")[0] == b"data"
        store.fetch("large", scratch / "back")
        assert (scratch / "back").stat().st_size == PART + 1


@pytest.mark.parametrize(
    ("settings", "asked"),
    [
        ({"sse": "AES256"}, ("AES256", None)),
        ({"sse": "aws:kms"}, ("aws:kms", None)),
        ({"sse": "aws:kms", "sse_kms_key_id": "key"}, ("aws:kms", "key")),
        ({"sse": "aws:kms:dsse"}, ("aws:kms:dsse", None)),
        ({"sse": "aws:kms:dsse", "sse_kms_key_id": "key"}, ("aws:kms:dsse", "key")),
        ({"sse_kms_key_id": "key"}, ("aws:kms", "key")),
        ({}, (None, None)),
    ],
)
def test_every_upload_asks_for_the_encryption_that_is_set(
    bucket: str, s3_server: str, scratch: Path, settings: dict[str, str], asked: tuple[str | None, str | None]
) -> None:
    seen: list[tuple[str | None, str | None]] = []

    def look(call: Call, headers: dict[str, str]) -> Refused:
        if call.operation in ("PutObject", "CreateMultipartUpload"):
            names = ("x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id")
            seen.append((headers.get(names[0]), headers.get(names[1])))
        return None

    with Door(s3_server, refuse=look) as door:
        for write in writes(
            S3Store.connect(bucket, "", StoreSettings(endpoint_url=door.endpoint, **settings)), scratch
        ).values():
            write()
    assert seen == [asked] * 4


def test_a_key_beside_an_encryption_that_uses_none_is_a_wrong_setting() -> None:
    with pytest.raises(SettingsError, match="--sse AES256 uses no key"):
        S3Store.connect("some-bucket", "", StoreSettings(sse="AES256", sse_kms_key_id="key"))


AMAZON, OTHER = "https://s3.eu-west-1.amazonaws.com", "https://s3.example.com"


@pytest.mark.parametrize(
    ("operation", "status", "code", "message", "sums", "endpoint", "remedy"),
    [
        (
            "PutObject",
            501,
            "NotImplemented",
            "Header 'x-amz-trailer' with value 'x'",
            True,
            OTHER,
            "this store does not",
        ),
        ("GetObject", 400, "InvalidArgument", "x-amz-checksum-mode", True, OTHER, "this store does not take"),
        ("PutObject", 401, "Unauthorized", "Unauthorized", True, OTHER, "if this store does not take"),
        ("PutObject", 401, "Unauthorized", "Unauthorized", False, OTHER, ""),
        ("PutObject", 501, "NotImplemented", "A header you provided", True, AMAZON, ""),
        ("GetObject", 401, "Unauthorized", "Unauthorized", True, OTHER, ""),
        ("PutObject", 403, "AccessDenied", "Access Denied", True, AMAZON, ""),
        (
            "PutObject",
            403,
            "AccessDenied",
            "no, with an explicit deny in a policy",
            True,
            AMAZON,
            "the bucket's policy",
        ),
        ("DeleteObject", 403, "AccessDenied", "no, with an explicit deny in a policy", True, AMAZON, ""),
        ("PutObject", 400, "BadDigest", "The checksum did not match", True, AMAZON, ""),
    ],
)
def test_only_what_a_setting_may_cure_has_a_remedy(
    operation: str, status: int, code: str, message: str, sums: bool, endpoint: str, remedy: str
) -> None:
    found = Refusal(operation, status, code, message, sums, endpoint).remedy
    assert found.startswith(remedy)
    assert bool(found) == bool(remedy)


def test_an_answer_without_a_message_is_a_refusal_like_any_other(bucket: str, s3_server: str) -> None:
    """Ceph's have an empty one, which the SDK turns into None."""
    with Door(s3_server, refuse=lambda call, headers: (403, "SignatureDoesNotMatch", "")) as door:
        store = S3Store.connect(bucket, "", StoreSettings(endpoint_url=door.endpoint))
        with pytest.raises(Permanent, match=r"key: SignatureDoesNotMatch$"):
            store.get("key")
