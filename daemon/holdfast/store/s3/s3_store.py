"""Amazon S3 and compatible stores. bulk.py transfers the files. No other store imports boto3.

The SDK's own retries are off: there is one retry loop in the system, and it knows the deadlines
(supervisor/upload/uploader.py).
Every upload carries a checksum unless that is switched off, and S3 verifies it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import boto3
import botocore.config
import botocore.exceptions as aws

from ...core.errors import Conflict, Corrupted, NotFound, Permanent, SettingsError, StoreError, TooLarge, Transient
from ...spool import replacing
from ..base import SMALL, Entry, KnownParts, OnSent, StoreSettings, check_key, check_prefix
from ..parts import THREADS
from ..streams import Meter, unreadable
from .bulk import Bulk
from .remedies import TRANSIENT_CODES, Refusal

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_TIMEOUTS = (
    aws.ConnectTimeoutError,
    aws.ReadTimeoutError,
    aws.EndpointConnectionError,
    aws.ConnectionClosedError,
    aws.ProxyConnectionError,
    aws.ResponseStreamingError,
    aws.IncompleteReadError,
    aws.HTTPClientError,
)
_NO_CREDENTIALS = (aws.NoCredentialsError, aws.PartialCredentialsError, aws.CredentialRetrievalError)
_ASKS = 4
_READ, _CONDITION = "read", "condition"  # kinds of calls

SMALL_TIMEOUT = 5.0
"""Seconds without any progress that a small object may take. A heartbeat of the lease must end in time for another."""


def _session() -> boto3.session.Session:
    """A session that has tried a few times to find credentials: the SDK asks EC2's metadata service once, for a second,
    and a client that is made without credentials never gets any.
    """
    session = boto3.session.Session()
    for _ in range(_ASKS):
        if session.get_credentials() is not None:
            break
    return session


def _encryption(settings: StoreSettings) -> dict[str, Any]:
    """Raises SettingsError for a key that the algorithm does not use."""
    key, algorithm = settings.sse_kms_key_id, settings.sse
    if key and algorithm == "AES256":
        raise SettingsError("--sse AES256 uses no key: leave --sse-kms-key-id out, or give --sse aws:kms")
    if not key:
        return {"ServerSideEncryption": algorithm} if algorithm else {}
    return {"ServerSideEncryption": algorithm or "aws:kms", "SSEKMSKeyId": key}


class S3Store:
    far = True
    durable_spool = False  # a pair is safe when S3 has it, not when this machine's disk has

    def __init__(
        self,
        client: S3Client,
        unsigned: S3Client,
        small: S3Client,
        bucket: str,
        prefix: str,
        settings: StoreSettings,
    ) -> None:
        """``unsigned`` is the same client, but signs no bodies; ``small`` has short timeouts, for small objects."""
        self._client = client
        self._small = small
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        owner = settings.expected_bucket_owner
        self._common: dict[str, Any] = {"ExpectedBucketOwner": owner} if owner else {}
        self._verifies = verifies = settings.request_checksum == "when_supported"
        self._bulk = Bulk(client, unsigned, verifies)
        self._validated: dict[str, Any] = {"ChecksumMode": "ENABLED"} if verifies else {}
        self._encryption = _encryption(settings)

    @classmethod
    def connect(
        cls, bucket: str, prefix: str, settings: StoreSettings, small_timeout: float = SMALL_TIMEOUT
    ) -> S3Store:
        """Makes the clients, with the credentials that it finds; contacts no store.

        Raises SettingsError for an endpoint or mode that cannot be.
        """
        config = botocore.config.Config(
            connect_timeout=5,
            read_timeout=30,
            retries={"total_max_attempts": 1},
            tcp_keepalive=True,
            max_pool_connections=2 * THREADS,  # for parts, and small requests beside them
            request_checksum_calculation=settings.request_checksum,  # type: ignore[arg-type]
            response_checksum_validation="when_required",  # else each download begins with a HEAD
        )
        # A chunk of a body has the connect timeout to leave in (../streams.py), beside three others on the same link.
        bare = config.merge(botocore.config.Config(connect_timeout=20, s3={"payload_signing_enabled": False}))
        brief = config.merge(botocore.config.Config(connect_timeout=small_timeout, read_timeout=small_timeout))
        try:
            session = _session()
            region = None if session.region_name else "us-east-1"
            client, unsigned, small = (
                session.client("s3", endpoint_url=settings.endpoint_url, config=one, region_name=region)
                for one in (config, bare, brief)
            )
        except (ValueError, aws.BotoCoreError) as error:
            raise SettingsError(f"--endpoint-url or the AWS settings: {error}") from None
        return cls(client, unsigned, small, bucket, prefix, settings)

    @property
    def uri(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    @property
    def endpoint(self) -> str:
        return self._client.meta.endpoint_url

    def put(
        self,
        key: str,
        path: Path,
        crc32: int | None = None,
        progress: OnSent | None = None,
        known: KnownParts | None = None,
    ) -> None:
        where, meter = self._where(key), Meter(progress)
        with meter, self._translated(key), _opened(path) as file:
            meter(0)
            self._bulk.upload(where, file, crc32, self._encryption, meter, known)

    def create(self, key: str, data: bytes) -> str:
        return self._write(key, data, {"IfNoneMatch": "*"})

    def replace(self, key: str, data: bytes, if_match: str) -> str:
        try:
            return self._write(key, data, {"IfMatch": if_match})
        except NotFound:
            raise Conflict(f"{key} is gone") from None

    def _write(self, key: str, data: bytes, condition: dict[str, Any]) -> str:
        with self._translated(key, _CONDITION):
            answer = self._small.put_object(
                Bucket=self._bucket, Key=self._key(key), Body=data, **condition, **self._common, **self._encryption
            )
        return answer["ETag"]

    def get(self, key: str, most: int = SMALL) -> tuple[bytes, str]:
        with self._translated(key, _READ):
            answer = self._small.get_object(Bucket=self._bucket, Key=self._key(key), **self._validated, **self._common)
            with contextlib.closing(answer["Body"]) as body:
                if answer["ContentLength"] > most:
                    raise TooLarge(f"{key} has {answer['ContentLength']} bytes, more than {most}", answer["ETag"])
                return body.read(), answer["ETag"]

    def fetch(self, key: str, path: Path, most: int | None = None) -> None:
        where = self._where(key)
        with self._translated(key, _READ), replacing(path, durable=False) as temporary, temporary.open("wb") as file:
            self._bulk.download(where, file, most)

    def list(self, prefix: str, shallow: bool = False) -> list[Entry]:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket,
            Prefix=self._prefix + check_prefix(prefix),
            Delimiter="/" if shallow else "",
            **self._common,
        )
        found = []
        with self._translated(prefix):
            for page in pages:
                found += [
                    Entry(self._relative(o["Key"]), o["Size"], o.get("LastModified")) for o in page.get("Contents", [])
                ]
                found += [Entry(self._relative(f["Prefix"]), 0) for f in page.get("CommonPrefixes", [])]
        return sorted(found, key=lambda entry: entry.key)

    def delete(self, key: str) -> None:
        with contextlib.suppress(NotFound), self._translated(key, _READ):
            self._client.delete_object(Bucket=self._bucket, Key=self._key(key), **self._common)

    def sweep(self, prefix: str) -> None:
        pages = self._client.get_paginator("list_multipart_uploads").paginate(
            Bucket=self._bucket, Prefix=self._prefix + check_prefix(prefix), **self._common
        )
        gone = self._client.exceptions.NoSuchUpload  # aborted meanwhile; some servers say so where there is none at all
        with self._translated(prefix), contextlib.suppress(gone):
            for upload in [upload for page in pages for upload in page.get("Uploads", [])]:
                with contextlib.suppress(gone):
                    self._client.abort_multipart_upload(
                        Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"], **self._common
                    )

    def server_time(self) -> datetime:
        """The server's clock, to the second."""
        with self._translated(""):
            answer = self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1, **self._common)
            return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"]).replace(tzinfo=UTC)

    def try_parts(self, key: str) -> None:
        """Begins an upload in parts, and aborts it, as large files need both."""
        where = self._where(key)
        with self._translated(key):
            upload = self._client.create_multipart_upload(**where, **self._encryption)
            self._client.abort_multipart_upload(**where, UploadId=upload["UploadId"])

    def _key(self, key: str) -> str:
        return self._prefix + check_key(key)

    def _where(self, key: str) -> dict[str, Any]:
        return {"Bucket": self._bucket, "Key": self._key(key), **self._common}

    def _relative(self, key: str) -> str:
        return key[len(self._prefix) :]

    @contextlib.contextmanager
    def _translated(self, key: str, call: str = "") -> Iterator[None]:
        """Translates botocore's errors into the store's. No other place does."""
        try:
            yield
        except aws.ClientError as error:
            raise self._kind(error, key, call) from error
        except _NO_CREDENTIALS as error:
            raise Permanent(
                f"no AWS credentials for s3://{self._bucket}: {error}; give the machine a role, or set AWS_PROFILE "
                "or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            ) from error
        except _TIMEOUTS as error:
            raise Transient(f"s3://{self._bucket}: {error}") from error
        except aws.FlexibleChecksumError as error:
            raise Corrupted(f"s3://{self._bucket}/{self._prefix}{key}: {error}") from error
        except aws.BotoCoreError as error:
            raise Permanent(f"s3://{self._bucket}: {error}") from error
        except OSError as error:
            raise Transient(f"{key}: {error}") from error

    def _kind(self, error: aws.ClientError, key: str, call: str) -> StoreError:
        """What an answer means depends on the call: 404 where one reads, 409 and 412 where one sets a condition."""
        code = error.response.get("Error", {}).get("Code", "")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        message = error.response.get("Error", {}).get("Message") or ""  # None for Ceph's empty ones
        text = f"s3://{self._bucket}/{self._prefix}{key}: {code}: {message}".removesuffix(": ")
        if code == "NoSuchBucket":
            return Permanent(f"the bucket {self._bucket!r} does not exist; create it, or correct --store")
        if call and (code == "NoSuchKey" or (status == 404 and call == _READ)):
            return NotFound(f"{key} is not in the store")
        if code == "BadDigest":
            return Corrupted(text)
        if code in TRANSIENT_CODES or status == 429 or (status >= 500 and status != 501):
            return Transient(text)
        if status in (409, 412):
            if call == _READ:
                return Transient(f"{text} ({key} was changed during the download)")
            return Conflict(f"{key} exists already or was changed meanwhile") if call == _CONDITION else Transient(text)
        refused = Refusal(error.operation_name, status, code, message, self._verifies, self._client.meta.endpoint_url)
        return Permanent(text, refused.remedy)


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.open("rb", buffering=0)
    except OSError as error:
        raise unreadable(path, error) from error
