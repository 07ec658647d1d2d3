"""How a URI becomes a store."""

from __future__ import annotations

import re
from pathlib import Path

from ..core.errors import SettingsError
from .base import Store, StoreSettings, check_key

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


def open_store(uri: str, settings: StoreSettings) -> Store:
    """Opens ``s3://bucket/prefix``, ``file:///path`` or a plain path. Contacts nothing.

    Raises SettingsError for anything else.
    """
    match = _SCHEME.fullmatch(uri)
    scheme, rest = (match[1].lower(), match[2]) if match else ("", uri)
    if scheme == "s3":
        return _open_s3(uri, rest, settings)
    if scheme not in ("", "file"):
        raise SettingsError(f"--store {uri!r}: give s3://bucket/prefix, file:///path or a path")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", rest) and not match:
        raise SettingsError(f"--store {uri!r}: that looks like a URI with a slash missing; give s3://bucket/prefix")
    if not rest.strip() or (scheme == "file" and not rest.startswith("/")):
        raise SettingsError(f"--store {uri!r}: the path is missing; give file:///absolute/path or a path")
    from .directory import DirectoryStore

    return DirectoryStore(Path(rest))


def _open_s3(uri: str, rest: str, settings: StoreSettings) -> Store:
    bucket, _, prefix = rest.partition("/")
    prefix = prefix.strip("/")
    if _BUCKET.fullmatch(bucket) is None:
        raise SettingsError(f"--store {uri!r}: {bucket!r} is not a bucket's name; give s3://bucket/prefix")
    if prefix:
        try:
            check_key(prefix)
        except ValueError:
            raise SettingsError(f"--store {uri!r}: the prefix has empty or odd parts") from None
    from .s3 import S3Store  # boto3 is loaded only by those who use it

    return S3Store.connect(bucket, prefix, settings)
