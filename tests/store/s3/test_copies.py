"""Parts that an S3 server copies by itself, and servers that say so and do something else."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from fakes.http import Answer, AnsweringServer, Request
from holdfast.core.errors import Permanent, Transient
from holdfast.core.manifest import FileParts
from holdfast.spool import PART
from holdfast.store import KnownParts, StoreSettings
from holdfast.store.s3 import S3Store

SIZE = 2 * PART + 1000
STATUS = {
    "NotImplemented": 501,
    "AccessDenied": 403,
    "InvalidObjectState": 409,
    "MissingContentLength": 411,
    "InternalError": 500,
    "SlowDown": 503,
}


class Server:
    """As much of S3 as an upload in parts takes. ``lie`` is what it does with a copy in place of what it was asked for.

    With ``sums`` it answers with the CRC-32 of what it has stored; the tag of a part is its MD5. ``refuses_end`` is how
    it answers the request that ends an upload. With ``one_size`` it
    takes only parts of one size, but for a smaller last one.
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.parts: dict[int, bytes] = {}
        self.asked: list[str] = []
        self.lie = ""
        self.sums = True
        self.quotes = True
        self.one_size = False
        self.refuses_end = ""

    def __call__(self, request: Request) -> Answer:
        key, _, query = unquote(request.path).lstrip("/").partition("?")
        part = int(found[1]) if (found := re.search(r"partNumber=(\d+)", query)) else 0
        if request.method == "POST" and "uploads" in query:
            self.parts.clear()
            kept = {"x-amz-checksum-algorithm": "CRC32"} if self.sums else {}
            return Answer(body=b"<X><UploadId>1</UploadId></X>", headers=kept)
        if request.method == "POST":
            if self.refuses_end:
                return error(STATUS.get(self.refuses_end, 404), self.refuses_end)
            numbers = [int(number) for number in re.findall(rb"<PartNumber>(\d+)<", request.body)]
            sizes = [len(self.parts[number]) for number in numbers]
            if self.one_size and (len({*sizes[:-1]}) > 1 or sizes[-1] > sizes[0]):
                return error(400, "InvalidPart")
            return self._complete(key, b"".join(self.parts[number] for number in numbers), request)
        if request.method == "PUT" and "x-amz-copy-source" in request.headers:
            self.asked.append(f"copy {parts_in(request.headers['x-amz-copy-source-range'])}")
            return self._copy(part, request)
        if request.method == "PUT":
            self.asked.append(f"send {part}")
            self.parts[part] = request.body
            return Answer(headers={"ETag": tag_of(request.body), **self._sum("x-amz-checksum-crc32", request.body)})
        if request.method == "HEAD" and key in self.objects:
            return Answer(headers={"ETag": tag_of(self.objects[key])})
        return Answer(204) if request.method == "DELETE" else error(404, "NoSuchKey")

    def _complete(self, key: str, content: bytes, request: Request) -> Answer:
        recorded = request.headers.get("x-amz-checksum-crc32")
        if self.sums and recorded is not None and recorded != crc32_of(content):
            return error(400, "BadDigest")
        self.objects[key] = content
        return Answer(body=f"<X><ETag>{tag_of(content)}</ETag></X>".encode())

    def _copy(self, part: int, request: Request) -> Answer:
        source = self.objects.get(unquote(request.headers["x-amz-copy-source"]).lstrip("/"))
        if self.lie in STATUS:
            return error(STATUS[self.lie], self.lie)
        if source is None:
            return error(404, "NoSuchKey")
        if self.lie != "no condition" and request.headers["x-amz-copy-source-if-match"] != tag_of(source):
            return error(412, "PreconditionFailed")
        first, last = map(int, re.findall(r"\d+", request.headers["x-amz-copy-source-range"]))
        if self.lie == "another range":
            first, last = 0, last - first
        data = source if self.lie == "no range" else source[first : last + 1]
        self.parts[part] = b"" if self.lie == "nothing" else data
        shown = data if self.lie == "nothing" else self.parts[part]
        sums = "".join(f"<ChecksumCRC32>{value}</ChecksumCRC32>" for value in self._sum("", shown).values())
        tag = tag_of(shown) if self.quotes else tag_of(shown).strip('"')
        return Answer(body=f"<CopyPartResult><ETag>{tag}</ETag>{sums}</CopyPartResult>".encode())

    def _sum(self, name: str, data: bytes) -> dict[str, str]:
        return {name: crc32_of(data)} if self.sums else {}


def parts_in(text: str) -> str:
    """The numbers of the recorded parts in a range."""
    first, last = map(int, re.findall(r"\d+", text))
    return "+".join(str(number + 1) for number in range(first // PART, last // PART + 1))


def tag_of(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


def crc32_of(data: bytes) -> str:
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


def error(status: int, code: str) -> Answer:
    return Answer(status, f"<Error><Code>{code}</Code></Error>".encode())


class Uploads:
    """Files of one size, one after the other; each begins with what the one before begins with, but for a byte."""

    def __init__(self, endpoint: str, server: Server, folder: Path) -> None:
        self.server = server
        self.endpoint = endpoint
        self.store = self.connect()
        self.said: list[str] = []
        self.copied: list[int] = []
        self.content = os.urandom(SIZE)
        self.number = 0
        self._file = folder / "file"

    @property
    def all_copied(self) -> list[str]:
        """Parts go together where the server shows sums, as soon as that is known."""
        return ["copy 1+2+3"] if self.server.sums else ["copy 1", "copy 2", "copy 3"]

    def connect(self) -> S3Store:
        return S3Store.connect("bucket", "runs", StoreSettings(endpoint_url=self.endpoint))

    def put(self, changed: int | None = None, new: bool = False) -> list[str]:
        """What the server was asked for. ``new``: nothing is as before."""
        before, self.number = self.number, self.number + 1
        content = bytearray(os.urandom(SIZE) if new else self.content)
        if changed is not None:
            content[changed] ^= 1
        pieces, others = ([data[at : at + PART] for at in range(0, SIZE, PART)] for data in (content, self.content))
        sums = tuple(hashlib.sha256(piece).hexdigest() for piece in pieces)
        same = frozenset(i for i, (one, other) in enumerate(zip(pieces, others, strict=True)) if one == other)
        parts = FileParts(PART, sums, tuple(map(zlib.crc32, pieces)))
        known = KnownParts(
            f"{self.number}.h5",
            parts,
            f"{before}.h5" if before else "",
            same if before else frozenset(),
            self.copied.append,
            self.said.append,
        )
        self._file.write_bytes(content)
        self.server.asked.clear()
        self.copied.clear()
        self.store.put(known.key, self._file, zlib.crc32(content), known=known)
        self.content = bytes(content)
        assert self.server.objects[f"bucket/runs/{known.key}"] == self.content
        return sorted(self.server.asked)


SENT = ["send 1", "send 2", "send 3"]
SENT_LARGE = ["send 1", "send 2"]
FINAL = ["NotImplemented", "AccessDenied", "MissingContentLength", "InvalidObjectState"]
LIES = ["no range", "another range"]


@pytest.fixture(params=[True, False], ids=["with sums", "without sums"])
def uploads(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Uploads]:
    answers = Server()
    answers.sums = request.param
    with AnsweringServer(answers) as server:
        yield Uploads(server.endpoint, answers, tmp_path)


def test_what_has_not_changed_is_copied_and_the_rest_is_sent(uploads: Uploads) -> None:
    assert uploads.put() == SENT
    assert uploads.put(changed=PART) == ["copy 1", "copy 3", "send 2"]
    assert sum(uploads.copied) == SIZE - PART
    assert uploads.put() == uploads.all_copied, "a part that was copied is known as well"
    assert uploads.put(changed=SIZE - 1) == (
        ["copy 1+2", "send 2"] if uploads.server.sums else ["copy 1", "copy 2", "send 3"]
    )
    assert uploads.put() == uploads.all_copied
    assert uploads.put(changed=0) == (["copy 2+3", "send 1"] if uploads.server.sums else ["copy 2", "copy 3", "send 1"])
    assert uploads.said == []


def test_a_tag_is_the_same_with_and_without_quotes(uploads: Uploads) -> None:
    uploads.put()
    uploads.server.quotes = False
    assert uploads.put() == ["copy 1", "copy 2", "copy 3"]
    assert uploads.said == []


@pytest.mark.parametrize("answer", FINAL)
def test_a_server_that_cannot_copy_is_asked_once_and_that_is_said_once(uploads: Uploads, answer: str) -> None:
    uploads.put()
    uploads.server.lie = answer
    asked = uploads.put()
    assert [one for one in asked if one.startswith("send")] == SENT
    assert len(asked) > len(SENT)
    assert uploads.put() == SENT_LARGE
    assert [answer in said for said in uploads.said] == [True]
    assert uploads.copied == []


@pytest.mark.parametrize("lie", LIES)
def test_a_server_that_copies_something_else_is_found_out_before_the_object_is_there(
    uploads: Uploads, lie: str
) -> None:
    uploads.put()
    uploads.server.lie = lie
    assert "send 3" in uploads.put(changed=0)
    assert len(uploads.said) == 1
    assert uploads.put() == SENT_LARGE


def test_an_object_that_was_replaced_is_not_copied_from(uploads: Uploads) -> None:
    uploads.put()
    uploads.server.objects["bucket/runs/1.h5"] = os.urandom(SIZE)
    assert [one for one in uploads.put() if one.startswith("send")] == SENT
    assert uploads.said == [], "the next one is copied again"
    assert uploads.put() == ["copy 1", "copy 2", "copy 3"]


def test_a_server_that_ignores_the_condition_is_found_out(uploads: Uploads) -> None:
    uploads.put()
    uploads.server.lie = "no condition"
    uploads.server.objects["bucket/runs/1.h5"] = os.urandom(SIZE)
    assert [one for one in uploads.put() if one.startswith("send")] == SENT
    assert len(uploads.said) == 1


def test_a_server_that_shows_another_checksum_than_that_of_what_it_has_is_found_out_by_that_of_the_whole(
    uploads: Uploads,
) -> None:
    uploads.put()
    if not uploads.server.sums:
        return
    uploads.server.lie = "nothing"
    with pytest.raises(Transient, match="BadDigest"):
        uploads.put()
    assert "bucket/runs/2.h5" not in uploads.server.objects
    assert len(uploads.said) == 1
    uploads.number = 1
    assert not [one for one in uploads.put() if one.startswith("copy")]


def test_an_error_that_may_pass_ends_the_upload_and_copies_are_tried_again(uploads: Uploads) -> None:
    uploads.put()
    uploads.server.lie = "SlowDown"
    with pytest.raises(Transient, match="SlowDown"):
        uploads.put()
    uploads.server.lie, uploads.number = "", 1
    assert uploads.put() == ["copy 1", "copy 2", "copy 3"]
    assert uploads.said == []


def test_an_upload_that_is_gone_as_it_is_to_end_says_nothing_of_copies(uploads: Uploads) -> None:
    """Ended by an earlier request whose answer was lost, or by a rule of the bucket."""
    uploads.put()
    uploads.server.refuses_end = "NoSuchUpload"
    with pytest.raises(Transient, match="NoSuchUpload"):
        uploads.put()
    uploads.server.refuses_end, uploads.number = "", 1
    assert uploads.put() == uploads.all_copied
    assert uploads.said == []


def test_a_server_that_does_not_take_what_it_copied_gets_all_sent(uploads: Uploads) -> None:
    uploads.put()
    uploads.server.refuses_end = "AccessDenied"
    with pytest.raises(Permanent, match="AccessDenied"):
        uploads.put()
    uploads.server.refuses_end, uploads.number = "", 1
    assert uploads.put() == SENT_LARGE
    assert len(uploads.said) == 1


def test_a_server_whose_copies_fail_again_and_again_gets_all_sent(uploads: Uploads) -> None:
    uploads.put()
    uploads.server.lie = "InternalError"
    for _ in range(3):
        with pytest.raises(Transient, match="InternalError"):
            uploads.put()
        uploads.number = 1
    assert uploads.put() == SENT_LARGE
    assert ["InternalError" in said for said in uploads.said] == [True]


def test_where_nothing_is_the_same_the_parts_are_as_large_as_those_of_other_objects(uploads: Uploads) -> None:
    uploads.put()
    assert uploads.put(new=True) == SENT_LARGE
    uploads.put(changed=SIZE - 1)
    assert bool(uploads.copied) == uploads.server.sums, "by tags only the same part can be compared with itself"
    assert uploads.put() == uploads.all_copied
    assert uploads.said == []


def test_after_a_restart_what_was_stored_before_is_copied_where_the_server_shows_checksums(uploads: Uploads) -> None:
    uploads.put()
    uploads.store = uploads.connect()
    asked = uploads.put()
    if uploads.server.sums:
        assert asked == ["copy 1", "copy 2", "copy 3"]
    else:
        assert [one for one in asked if one.startswith("send")] == SENT
    assert uploads.put() == uploads.all_copied
    assert uploads.said == []


def test_a_server_that_takes_parts_of_one_size_only_gets_those_in_the_next_try_and_copies_them(
    uploads: Uploads,
) -> None:
    uploads.server.one_size = True
    uploads.put()
    uploads.put(changed=PART)
    if uploads.server.sums:
        with pytest.raises(Permanent, match="InvalidPart"):
            uploads.put(changed=0)
        uploads.number = 2
    assert uploads.put(changed=0) == ["copy 2", "copy 3", "send 1"]
    assert uploads.put(changed=0) == ["copy 2", "copy 3", "send 1"]
    assert uploads.said == []


def test_once_copies_are_refused_all_parts_have_one_size(uploads: Uploads) -> None:
    uploads.server.one_size = True
    uploads.put()
    uploads.put(changed=PART)
    uploads.server.lie = "NotImplemented"
    if uploads.server.sums:
        with pytest.raises(Permanent, match="InvalidPart"):
            uploads.put(changed=0)
        uploads.number = 2
    assert not [one for one in uploads.put(changed=0) if one.startswith("copy 1")]
    assert not [one for one in uploads.put(changed=0) if one.startswith("copy")]
    assert len(uploads.said) == 1
