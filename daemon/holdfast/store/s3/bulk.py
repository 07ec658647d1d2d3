"""Large objects to and from S3, in parts by a few threads. Errors are the SDK's own; s3_store.py translates them.

boto3 makes all requests: it signs them, and finds credentials, endpoints, proxies and certificates. Two things that
make it slow are done here instead (docs/performance.md). The body is sent in larger chunks (streams.py). And it is not
read once more to be signed where something else protects it: TLS, or a store that compares checksums.
"""

from __future__ import annotations

import contextlib
import http
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import botocore.exceptions as aws

from ...core.errors import Corrupted, TooLarge, Transient
from ...spool import whole_crc32
from ..base import KnownParts
from ..parts import PART, ObjectPart, parts_of, work_on
from ..streams import ChunkedBody, FileBody, Meter
from .copies import CannotReplace, Copies, base64_of, crc32_of

if TYPE_CHECKING:
    from botocore.awsrequest import AWSPreparedRequest
    from mypy_boto3_s3 import S3Client

_CHUNK = 256 << 10
_BEGINNING = re.compile(r"bytes 0-(\d+)/(\d+)")
_NO_SUCH_RANGE = 416


class Bulk:
    """``client`` is the one for everything; ``unsigned`` is its twin, which signs no bodies."""

    def __init__(self, client: S3Client, unsigned: S3Client, verifies: bool) -> None:
        self._client = client
        self._unsigned = unsigned
        self._verifies = verifies
        self._copies = Copies(client)
        for one in (client, unsigned):
            for operation in ("PutObject", "UploadPart"):
                one.meta.events.register(f"before-send.s3.{operation}", _send_in_chunks)

    def upload(
        self,
        where: dict[str, Any],
        file: IO[bytes],
        crc32: int | None,
        encryption: dict[str, Any],
        meter: Meter,
        known: KnownParts | None,
    ) -> None:
        """Stores a whole file. Each request carries the CRC-32 of its content, and the object the recorded CRC-32.

        Not every store compares them, so it is done here as well: raises Corrupted.
        """
        size = os.fstat(file.fileno()).st_size
        if size < PART:
            body: Any = FileBody(file, 0, size, meter)
            found = body.crc32() if self._verifies or crc32 is not None else 0
            _compare(found, crc32, where, file)
            self._client.put_object(**where, Body=body, **self._sum(found), **encryption)
            return
        try:
            self._upload_parts(where, file, size, crc32, encryption, meter, known)
        except CannotReplace:  # nothing is copied any more
            meter.begin_again()
            self._upload_parts(where, file, size, crc32, encryption, meter, known)

    def _upload_parts(
        self,
        where: dict[str, Any],
        file: IO[bytes],
        size: int,
        crc32: int | None,
        encryption: dict[str, Any],
        meter: Meter,
        known: KnownParts | None,
    ) -> None:
        copying = self._copies.begin(where, known)
        parts = parts_of(size) if known is None else self._copies.divided(known, size, copying)
        recorded = self._verifies and crc32 is not None
        whole: dict[str, Any] = {"ChecksumType": "FULL_OBJECT"} if recorded else {}
        algorithm: dict[str, Any] = {"ChecksumAlgorithm": "CRC32"} if self._verifies else {}
        begun = self._client.create_multipart_upload(**where, **algorithm, **whole, **encryption)
        client = self._unsigned if begun.get("ChecksumAlgorithm") == "CRC32" or self._encrypted() else self._client
        upload: dict[str, Any] = {**where, "UploadId": begun["UploadId"]}
        done: dict[int, dict[str, Any]] = {}
        sums = {} if known is None else {part.number: crc32_of(known, part) for part in parts}

        def store(part: ObjectPart) -> None:
            kept = None if copying is None else copying.copy(upload, part, meter)
            try:
                done[part.number] = {"PartNumber": part.number, **(kept or send(part))}
            except aws.ClientError as error:
                if copying is not None:
                    copying.sent_again(part, error)
                raise

        def send(part: ObjectPart) -> dict[str, Any]:
            body: Any = FileBody(file, part.first, part.size, meter)
            if known is None:
                sums[part.number] = body.crc32() if self._verifies or crc32 is not None else 0
            found = sums[part.number]
            answer: Any = client.upload_part(**upload, PartNumber=part.number, Body=body, **self._sum(found))
            _compare(body.sent_crc32, None if known is None else found, where, file)
            return {name: answer[name] for name in ("ETag", "ChecksumCRC32") if name in answer}

        try:
            work_on(parts, store, meter)
            _compare(whole_crc32((sums[part.number], part.size) for part in parts), crc32, where, file)
            if self._verifies and crc32 is not None:
                whole |= {"ChecksumCRC32": base64_of(crc32)}
            listed: Any = {"Parts": [done[part.number] for part in parts]}
            answer = self._client.complete_multipart_upload(**upload, MultipartUpload=listed, **whole)
            self._copies.uploaded(known, answer.get("ETag", ""), parts, done)
        except BaseException as error:
            if copying is not None:
                copying.failed(error, parts)
            with contextlib.suppress(aws.ClientError, aws.BotoCoreError):  # else a sweep finds it
                self._client.abort_multipart_upload(**upload)
            raise

    def _encrypted(self) -> bool:
        return self._client.meta.endpoint_url.startswith("https:")

    def _sum(self, crc32: int) -> dict[str, Any]:
        return {"ChecksumAlgorithm": "CRC32", "ChecksumCRC32": base64_of(crc32)} if self._verifies else {}

    def download(self, where: dict[str, Any], file: IO[bytes], most: int | None) -> None:
        """Writes an object's content. Raises TooLarge, before anything is written, for more than ``most`` bytes.

        It begins with its first part: a HEAD's answer could not tell a missing bucket from a missing object.
        """
        answer = self._first(where)
        with contextlib.closing(answer["Body"]) as body:
            if (size := _size_of(answer)) < 0:
                raise Transient(f"{where['Key']}: the answer does not tell how much there is")
            if most is not None and size > most:
                raise TooLarge(f"{where['Key']} has more than {most} bytes", answer.get("ETag", ""))
            os.ftruncate(file.fileno(), size)
            same = {"IfMatch": answer["ETag"]} if "ETag" in answer else {}
            meter = Meter(None)

            def receive(part: ObjectPart) -> None:
                if part.number == 1:
                    _write(body, file, part, meter)
                else:
                    self._receive(where | same, file, part, size, meter)

            work_on(_pieces(answer["ContentLength"], size), receive, meter)

    def _first(self, where: dict[str, Any]) -> Any:
        try:
            return self._client.get_object(**where, Range=f"bytes=0-{PART - 1}")
        except aws.ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != _NO_SUCH_RANGE:
                raise
            return self._client.get_object(**where)  # it is empty, and nothing has no first byte

    def _receive(self, where: dict[str, Any], file: IO[bytes], part: ObjectPart, size: int, meter: Meter) -> None:
        answer = self._unsigned.get_object(**where, Range=f"bytes={part.first}-{part.last}")
        with contextlib.closing(answer["Body"]) as body:
            if answer.get("ContentRange") != f"bytes {part.first}-{part.last}/{size}":
                raise Transient(f"{where['Key']}: another range came than was asked for")
            _write(body, file, part, meter)


def _send_in_chunks(request: AWSPreparedRequest, **_: object) -> None:
    """The SDK calls it just before it sends a request."""
    if isinstance(request.body, FileBody):
        request.body = ChunkedBody(request.body)


def _compare(found: int, recorded: int | None, where: dict[str, Any], file: IO[bytes]) -> None:
    if recorded is not None and found != recorded:
        raise Corrupted(f"{where['Key']}: the content of {Path(file.name).name} is not what was recorded (CRC-32)")


def _size_of(answer: dict[str, Any]) -> int:
    """The size of the whole object, from the answer to a request for its first part; -1 if it does not tell.

    A server that knows no ranges sends all of it.
    """
    if "ContentRange" not in answer:
        if answer["ResponseMetadata"]["HTTPStatusCode"] == http.HTTPStatus.PARTIAL_CONTENT:
            return -1
        return int(answer.get("ContentLength", -1))
    match = _BEGINNING.fullmatch(answer["ContentRange"])
    return int(match[2]) if match and int(match[1]) + 1 == answer.get("ContentLength") else -1


def _pieces(first: int, size: int) -> Iterator[ObjectPart]:
    """The first part, and the rest. Not a list: the size is a number that a server sent."""
    yield ObjectPart(1, 0, first)
    for number, at in enumerate(range(first, size, PART), 2):
        yield ObjectPart(number, at, min(PART, size - at))


def _write(body: Any, file: IO[bytes], part: ObjectPart, meter: Meter) -> None:
    at = part.first
    while chunk := body.read(_CHUNK):
        meter(len(chunk))
        if at + len(chunk) > part.last + 1:
            raise Transient("more came than was announced")
        view = memoryview(chunk)
        while view:
            count = os.pwrite(file.fileno(), view, at)
            at, view = at + count, view[count:]
    if at != part.last + 1:
        raise Transient("less came than was announced")
