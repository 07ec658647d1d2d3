"""The run's folder on this machine: the spool between the training process and the store.

Both sides of the daemon use it, so it imports neither. A file appears in it whole or not at all (design invariant 2):
it is written under a temporary name in the same folder and renamed. Files are 0600, folders 0700.
"""

from .checksums import (
    CHUNK,
    PART,
    Sums,
    check_file,
    has_content,
    part_size_of,
    record_in_parts,
    record_of,
)
from .crc32 import whole as whole_crc32
from .files import TEMPORARY, append_to, file_lock, read_regular, replacing, sync_file, sync_folder, write_whole
from .folder import LOG_FILE, STORED, Spool
from .newest_only_here import only_here
from .placement import place
from .progress_board import Board, Progress

__all__ = [
    "CHUNK",
    "LOG_FILE",
    "PART",
    "STORED",
    "TEMPORARY",
    "Board",
    "Progress",
    "Spool",
    "Sums",
    "append_to",
    "check_file",
    "file_lock",
    "has_content",
    "only_here",
    "part_size_of",
    "place",
    "read_regular",
    "record_in_parts",
    "record_of",
    "replacing",
    "sync_file",
    "sync_folder",
    "whole_crc32",
    "write_whole",
]
