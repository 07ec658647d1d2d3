"""TensorBoard's event files, read without TensorBoard: what was written at which step, and not when.

A file is a row of TFRecords: length (8 bytes), its checksum (4), an Event message, its checksum (4). Of an Event the
step (field 2) and the summary (field 5) count; the wall time, graphs and versions don't. A summary is a list of values
(field 1), and a value has its tag in field 1.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

_LENGTH = struct.Struct("<Q")
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
_STEP, _SUMMARY, _VALUE, _TAG = 2, 5, 1, 1


def is_event_file(path: Path) -> bool:
    return "tfevents" in path.name


def summaries(path: Path) -> Iterator[tuple[str, int, bytes]]:
    """Tag, step and the whole value of each summary, in the file's order. Raises ValueError for what is no such file.

    A last record that is cut off is left out, as after a kill.
    """
    for record in _records(path.read_bytes()):
        step, found = 0, list[bytes]()
        for number, value in _fields(record):
            if number == _STEP and isinstance(value, int):
                step = value
            elif number == _SUMMARY and isinstance(value, bytes):
                found += [one for n, one in _fields(value) if n == _VALUE and isinstance(one, bytes)]
        for value in found:
            yield _tag(value), step, value


def _tag(value: bytes) -> str:
    found = next((one for number, one in _fields(value) if number == _TAG and isinstance(one, bytes)), b"")
    return found.decode("utf-8", "replace")


def _records(data: bytes) -> Iterator[bytes]:
    at = 0
    while at + 12 <= len(data):
        (length,) = _LENGTH.unpack_from(data, at)
        if at + 16 + length > len(data):
            return
        yield data[at + 12 : at + 12 + length]
        at += 16 + length


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == _VARINT:
            value: int | bytes
            value, at = _varint(message, at)
        elif kind == _BYTES:
            length, at = _varint(message, at)
            value, at = message[at : at + length], at + length
        elif kind in (_EIGHT, _FOUR):
            size = 8 if kind == _EIGHT else 4
            value, at = message[at : at + size], at + size
        else:
            raise ValueError(f"no protocol buffer: wire type {kind}")
        if at > len(message):
            raise ValueError("no protocol buffer: it is cut off")
        yield key >> 3, value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 64:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("no protocol buffer: a number is cut off")
