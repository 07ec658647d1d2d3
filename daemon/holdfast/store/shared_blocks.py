"""Blocks of the disk that two files have together, where the file system can (XFS, Btrfs, NFS 4.2)."""

from __future__ import annotations

import fcntl
import os
import struct
import zlib
from typing import IO

_FICLONERANGE = 0x4020940D  # linux/fs.h
_CHUNK = 1 << 20


def share(source: IO[bytes], target: IO[bytes], first: int, size: int, crc32: int) -> bool:
    """Gives ``target`` those bytes of ``source``, at the same place, without writing them.

    False where that cannot be, or where they have another CRC-32, as the source may be damaged, or another file by now:
    then they must be written. Another writer of either file gets a copy of the block.
    """
    try:
        fcntl.ioctl(target.fileno(), _FICLONERANGE, struct.pack("qQQQ", source.fileno(), first, size, first))
        return _crc32(source, first, size) == crc32
    except OSError:  # another file system, or one that cannot; a full disk is found when the bytes are written
        return False


def _crc32(file: IO[bytes], first: int, size: int) -> int:
    found, end = 0, first + size
    for at in range(first, end, _CHUNK):
        found = zlib.crc32(os.pread(file.fileno(), min(_CHUNK, end - at), at), found)
    return found
