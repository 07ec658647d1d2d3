"""Amazon S3 and what speaks its protocol. The only importer of boto3.

The SDK's own retries are off: there is one retry loop in the system, and it knows the deadlines (supervisor/upload.py).
The SDK sends a checksum with every upload where the store understands that, and S3 verifies it.
"""

from __future__ import annotations

import base64
import contextlib
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import botocore.config
import botocore.exceptions as aws
from boto3.exceptions import S3UploadFailedError
from boto3.s3.transfer import TransferConfig
from s3transfer.exceptions import RetriesExceededError, S3DownloadFailedError

from ..core.errors import Conflict, Corrupted, NotFound, Permanent, SettingsError, StoreError, TooLarge, Transient
from ..spool import replacing
from .base import SMALL, Entry, OnSent, StoreSettings, check_key, check_prefix
from .receiving import Bounded
from .sending import Body, Meter

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_MIB = 1 << 20
# Few threads with parts of their own: the supervisor stays small beside a training that needs the memory.
_TRANSFER = TransferConfig(
    multipart_threshold=16 * _MIB, multipart_chunksize=16 * _MIB, max_concurrency=4, num_download_attempts=1
)
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
_TRANSIENT_CODES = {
    "ExpiredToken",
    "ExpiredTokenException",
    "RequestTimeout",
    "RequestTimeTooSkewed",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
    "ConditionalRequestConflict",  # two writes met and this one was not done: not the same as a condition that failed
    "OperationAborted",
}

_READ, _CONDITION = "read", "condition"  # kinds of calls


class S3Store:
    durable_spool = False  # a pair is safe when S3 has it, not when this machine's disk has

    def __init__(self, client: S3Client, bucket: str, prefix: str, settings: StoreSettings) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        owner = settings.expected_bucket_owner
        self._common: dict[str, Any] = {"ExpectedBucketOwner": owner} if owner else {}
        key = settings.sse_kms_key_id
        self._sending = threading.local()
        client.meta.events.register("before-send.s3.PutObject", self._begin_to_send)
        self._verifies = settings.request_checksum == "when_supported"
        self._validated: dict[str, Any] = {"ChecksumMode": "ENABLED"} if self._verifies else {}
        self._encryption: dict[str, Any] = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key} if key else {}

    @classmethod
    def connect(cls, bucket: str, prefix: str, settings: StoreSettings) -> S3Store:
        """Makes the client; contacts nothing. Raises SettingsError for an endpoint or mode that cannot be."""
        config = botocore.config.Config(
            connect_timeout=5,
            read_timeout=30,
            retries={"total_max_attempts": 1},
            tcp_keepalive=True,
            max_pool_connections=8,
            request_checksum_calculation=settings.request_checksum,  # type: ignore[arg-type]
            response_checksum_validation="when_required",  # else each download begins with a HEAD
        )
        try:
            session = boto3.session.Session()
            region = None if session.region_name else "us-east-1"
            client = session.client("s3", endpoint_url=settings.endpoint_url, config=config, region_name=region)
        except (ValueError, aws.BotoCoreError) as error:
            raise SettingsError(f"--endpoint-url or the AWS settings: {error}") from None
        return cls(client, bucket, prefix, settings)

    @property
    def uri(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def put(self, key: str, path: Path, crc32: int | None = None, progress: OnSent | None = None) -> None:
        name, extra = self._key(key), {**self._common, **self._encryption}
        if crc32 is not None and self._verifies:
            extra["ChecksumCRC32"] = base64.b64encode(crc32.to_bytes(4, "big")).decode()
        meter = Meter(progress)
        with meter, self._translated(key):
            meter(0)
            if path.stat().st_size < _TRANSFER.multipart_threshold:
                self._put_at_once(name, path, extra, meter)
            else:
                self._client.upload_file(
                    str(path), self._bucket, name, ExtraArgs=extra, Callback=meter, Config=_TRANSFER
                )

    def _put_at_once(self, name: str, path: Path, extra: dict[str, Any], meter: Meter) -> None:
        """One request. The SDK's own way tells of the last bytes when they have been accepted: too late to end it."""
        with Body(path, meter) as body:
            self._sending.body = body
            try:
                self._client.put_object(Bucket=self._bucket, Key=name, Body=body, **extra)
            finally:
                del self._sending.body

    def _begin_to_send(self, **_: object) -> None:
        """Until here, the SDK read the body to sign it."""
        if hasattr(self._sending, "body"):
            self._sending.body.sending = True

    def create(self, key: str, data: bytes) -> str:
        return self._write(key, data, {"IfNoneMatch": "*"})

    def replace(self, key: str, data: bytes, if_match: str) -> str:
        try:
            return self._write(key, data, {"IfMatch": if_match})
        except NotFound:
            raise Conflict(f"{key} is gone") from None

    def _write(self, key: str, data: bytes, condition: dict[str, Any]) -> str:
        with self._translated(key, _CONDITION):
            answer = self._client.put_object(
                Bucket=self._bucket, Key=self._key(key), Body=data, **condition, **self._common, **self._encryption
            )
        return answer["ETag"]

    def get(self, key: str, most: int = SMALL) -> tuple[bytes, str]:
        with self._translated(key, _READ):
            answer = self._client.get_object(Bucket=self._bucket, Key=self._key(key), **self._validated, **self._common)
            with contextlib.closing(answer["Body"]) as body:
                if answer["ContentLength"] > most:
                    raise TooLarge(f"{key} has {answer['ContentLength']} bytes, more than {most}", answer["ETag"])
                return body.read(), answer["ETag"]

    def fetch(self, key: str, path: Path, most: int | None = None) -> None:
        """Ranges in parallel, and no HEAD, whose answer could not tell a missing bucket from a missing object."""
        name = self._key(key)
        with (
            self._translated(key, _READ),
            replacing(path, durable=False) as temporary,
            Bounded(temporary, key, most) as file,
        ):
            self._client.download_fileobj(self._bucket, name, file, ExtraArgs=self._common, Config=_TRANSFER)

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
                found += [Entry(self._relative(o["Key"]), o["Size"]) for o in page.get("Contents", [])]
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
        where: dict[str, Any] = {"Bucket": self._bucket, "Key": self._key(key), **self._common}
        with self._translated(key):
            upload = self._client.create_multipart_upload(**where, **self._encryption)
            self._client.abort_multipart_upload(**where, UploadId=upload["UploadId"])

    def _key(self, key: str) -> str:
        return self._prefix + check_key(key)

    def _relative(self, key: str) -> str:
        return key[len(self._prefix) :]

    @contextlib.contextmanager
    def _translated(self, key: str, call: str = "") -> Iterator[None]:
        """botocore's errors become the store's, here and nowhere else."""
        try:
            yield
        except aws.ClientError as error:
            raise self._kind(error, key, call) from error
        except S3UploadFailedError as error:
            cause = error.__context__
            raise (
                self._kind(cause, key, call) if isinstance(cause, aws.ClientError) else Transient(str(error))
            ) from error
        except RetriesExceededError as error:
            raise Transient(f"s3://{self._bucket}/{self._prefix}{key}: the download ended in the middle") from error
        except S3DownloadFailedError as error:
            raise Transient(f"s3://{self._bucket}/{self._prefix}{key} was changed during the download") from error
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
        text = f"s3://{self._bucket}/{self._prefix}{key}: {code}: {error.response.get('Error', {}).get('Message', '')}"
        if code == "NoSuchBucket":
            return Permanent(f"the bucket {self._bucket!r} does not exist; create it, or correct --store")
        if call and (code == "NoSuchKey" or (status == 404 and call == _READ)):
            return NotFound(f"{key} is not in the store")
        if code == "BadDigest":
            return Corrupted(text)
        if code in _TRANSIENT_CODES or status == 429 or (status >= 500 and status != 501):
            return Transient(text)
        if status in (409, 412):
            return Conflict(f"{key} exists already or was changed meanwhile") if call == _CONDITION else Transient(text)
        return Permanent(text)
