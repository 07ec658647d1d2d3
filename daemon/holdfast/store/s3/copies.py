"""Parts that S3 copies by itself from an earlier object, so that they need not be sent again.

That they were copied is believed only where the answer shows it: by the CRC-32 of what the server has stored, or, where
it computes none, by the tag that the same part had when it was sent. A server that cannot copy, or does not show it, is
asked no more, and all is sent. Before the manifest is written S3 also compares the CRC-32 of the whole object.
"""

from __future__ import annotations

import base64
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import botocore.exceptions as aws

from ...spool import whole_crc32
from ..base import KnownParts
from ..parts import ObjectPart, grid, parts_of
from ..streams import Meter
from .remedies import TRANSIENT_CODES

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_MOST_RECEIPTS = 4
_MOST_COPIED = 32 << 20  # bytes by one request: several side by side are quicker than a large one
_MOST_SENT = 16 << 20
_MOST_FAILURES = 3  # of one object's uploads in a row
_GONE = (404, 412)
_MAY_PASS = (408, 425, 429)
_NOT_IMPLEMENTED = 501


@dataclass(frozen=True)
class Receipt:
    """The tag of an object that was uploaded in parts, and the parts' own, by their first and last byte."""

    tag: str
    parts: dict[tuple[int, int], str] = field(default_factory=dict)


class Copies:
    """What is known of a server's copies. ``refused`` says why it is asked for none any more.

    ``shows_sums``: it answers the CRC-32 of what it copied. ``one_size``: it takes only parts of one size, but for the
    last one, as Cloudflare R2 does.
    """

    def __init__(self, client: S3Client) -> None:
        self.client = client
        self.refused = ""
        self.shows_sums = False
        self.one_size = False
        self._receipts: OrderedDict[str, Receipt] = OrderedDict()
        self._failures: dict[str, int] = {}

    def begin(self, where: dict[str, Any], known: KnownParts | None) -> Copying | None:
        """None where there is nothing to copy. Raises botocore's errors."""
        if known is None or not known.same or self.refused:
            return None
        receipt = self._receipts.get(known.source)
        if receipt is None:
            source = {**where, "Key": where["Key"].removesuffix(known.key) + known.source}
            try:
                receipt = Receipt(self.client.head_object(**source)["ETag"])
            except aws.ClientError as error:
                if not _is_final(error):
                    self.failed(known, error)
                    raise
                return None
        return Copying(self, where, known, receipt)

    def divided(self, known: KnownParts, size: int, copying: Copying | None) -> list[ObjectPart]:
        """The parts of an upload, each of one or several of the recorded parts. Their sizes differ only for copies, and
        where sums are shown: by tags only the same part can be compared with itself.
        """
        if self.refused or (copying is None and known.source):
            return grid(size, _large(known, size))
        single = grid(size, known.parts.size)
        if copying is None or not self.shows_sums or self.one_size:
            return single
        joined: list[ObjectPart] = []
        for part in single:
            copied = part.number - 1 in known.same
            last = joined[-1] if joined and is_same(known, joined[-1]) == copied else None
            if last is not None and last.size + part.size <= (_MOST_COPIED if copied else _MOST_SENT):
                joined[-1] = ObjectPart(last.number, last.first, last.size + part.size)
            else:
                joined.append(ObjectPart(len(joined) + 1, part.first, part.size))
        return joined

    def refuse(self, known: KnownParts, why: str) -> None:
        """No copies from now on."""
        if not self.refused:
            self.refused = why
            known.cannot(why)

    def failed(self, known: KnownParts, error: Exception) -> None:
        """One more try came to nothing where it copied, by an error that may pass."""
        failures = self._failures[known.key] = self._failures.get(known.key, 0) + 1
        if failures == _MOST_FAILURES:
            self.refuse(known, f"its copies fail again and again: {error}")

    def uploaded(self, known: KnownParts | None, tag: str, parts: list[ObjectPart], done: dict[int, Any]) -> None:
        if known is not None:
            self._failures.pop(known.key, None)
            tags = {(part.first, part.last): done[part.number]["ETag"] for part in parts}
            self._receipts[known.key] = Receipt(tag, tags)
            while len(self._receipts) > _MOST_RECEIPTS:
                self._receipts.popitem(last=False)


class CannotReplace(Exception):
    """The server holds on to a part that it copied, which was not shown to be right: the upload begins anew."""


class Copying:
    """One upload's copies."""

    def __init__(self, copies: Copies, where: dict[str, Any], known: KnownParts, receipt: Receipt) -> None:
        self._copies = copies
        self._known = known
        self._receipt = receipt
        owner = where.get("ExpectedBucketOwner")
        key = where["Key"].removesuffix(known.key) + known.source
        self._source: dict[str, Any] = {
            "CopySource": {"Bucket": where["Bucket"], "Key": key},
            "CopySourceIfMatch": receipt.tag,
            **({"ExpectedSourceBucketOwner": owner} if owner else {}),
        }
        self._ended = False
        self._used = False
        self._unshown: set[int] = set()
        self._failure: Exception | None = None

    def copy(self, upload: dict[str, Any], part: ObjectPart, meter: Meter) -> dict[str, Any] | None:
        """What the completion lists of the part; None if it must be sent. Raises botocore's errors that may pass."""
        if not is_same(self._known, part) or self._ended or self._copies.refused:
            return None
        at = f"bytes={part.first}-{part.last}"
        try:
            answer = self._copies.client.upload_part_copy(
                **upload, PartNumber=part.number, CopySourceRange=at, **self._source
            )
        except (aws.ClientError, aws.BotoCoreError) as error:
            if not isinstance(error, aws.ClientError) or not _is_final(error):
                self._failure = error
                raise
            self._ended = True
            if _status(error) not in _GONE:
                self._copies.refuse(self._known, f"it answers {_code(error) or _status(error)}")
            return None
        self._used = True
        result: Any = answer.get("CopyPartResult", {})
        kept: dict[str, str] = {name: result[name] for name in ("ETag", "ChecksumCRC32") if name in result}
        if not self._is_shown(part, kept):
            self._unshown.add(part.number)
            return None
        meter(part.size)
        self._known.copied(part.size)
        return kept

    def _is_shown(self, part: ObjectPart, kept: dict[str, str]) -> bool:
        """Does the answer show that the part is what it should be?"""
        if (crc32 := kept.get("ChecksumCRC32")) is not None:
            shown = self._copies.shows_sums = crc32 == base64_of(crc32_of(self._known, part))
        elif (tag := self._receipt.parts.get((part.first, part.last))) is None:
            self._ended = True  # sent by an earlier start: the next upload can be compared with this one
            return False
        else:
            shown = _bare(kept.get("ETag", "")) == _bare(tag)
        if not shown:
            self._copies.refuse(self._known, "what it copied is not what it was asked for, by its own checksum")
        return shown

    def sent_again(self, part: ObjectPart, error: aws.ClientError) -> None:
        """Sending a part failed. Raises CannotReplace if the server does not take it since it has copied it before."""
        if part.number in self._unshown and _is_final(error):
            self._copies.refuse(self._known, "a part that it copied cannot be sent again")
            raise CannotReplace from error

    def failed(self, error: BaseException, parts: list[ObjectPart]) -> None:
        """The upload came to nothing. If the store refuses parts of different sizes, the next try has those of one; if
        it refuses what it copied itself, the next try sends all.
        """
        if self._failure is not None:
            self._copies.failed(self._known, self._failure)
        if not isinstance(error, aws.ClientError) or error.operation_name != "CompleteMultipartUpload":
            return
        if _code(error) == "InvalidPart" and not _have_one_size(parts):
            self._copies.one_size = True
        elif self._used and _is_final(error):
            self._copies.refuse(self._known, "it does not take what it copied itself")


def _recorded(known: KnownParts, part: ObjectPart) -> range:
    """The indices of the recorded parts that make up one of the upload's."""
    return range(part.first // known.parts.size, part.last // known.parts.size + 1)


def is_same(known: KnownParts, part: ObjectPart) -> bool:
    return all(index in known.same for index in _recorded(known, part))


def crc32_of(known: KnownParts, part: ObjectPart) -> int:
    """As it was recorded."""
    single = grid(part.size, known.parts.size)
    return whole_crc32((known.parts.crc32[i], one.size) for i, one in zip(_recorded(known, part), single, strict=True))


def _large(known: KnownParts, size: int) -> int:
    """The length of the parts of an object of which none is known, in whole recorded parts."""
    recorded = known.parts.size
    return -(-parts_of(size)[0].size // recorded) * recorded


def _have_one_size(parts: list[ObjectPart]) -> bool:
    """But for the last one, which may be smaller."""
    return len({part.size for part in parts[:-1]}) <= 1 and parts[-1].size <= parts[0].size


def _bare(tag: str) -> str:
    """Without quotes: Ceph puts them around a part's tag where it was sent, and not where it was copied."""
    return tag.removeprefix('"').removesuffix('"')


def base64_of(crc32: int) -> str:
    """As S3's headers have it."""
    return base64.b64encode(crc32.to_bytes(4, "big")).decode()


def _is_final(error: aws.ClientError) -> bool:
    """An answer that another try would get again?"""
    status = _status(error)
    refuses = status // 100 == 4 and status not in _MAY_PASS
    return (refuses or status == _NOT_IMPLEMENTED) and _code(error) not in TRANSIENT_CODES


def _code(error: aws.ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _status(error: aws.ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
