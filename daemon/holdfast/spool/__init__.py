"""The run's folder on this machine: the spool between the training process and the store.

Both sides of the daemon use it, so it imports neither. A file appears in it whole or not at all (design invariant 2):
it is written under a temporary name in the same folder and renamed. Files are 0600, folders 0700.
"""

from .folder import (
    CHUNK,
    LOG_FILE,
    STORED,
    TEMPORARY,
    Board,
    Progress,
    Spool,
    Sums,
    append_to,
    check_file,
    file_lock,
    read_regular,
    record_of,
    replacing,
    sync_file,
    sync_folder,
    write_whole,
)

__all__ = [
    "CHUNK",
    "LOG_FILE",
    "STORED",
    "TEMPORARY",
    "Board",
    "Progress",
    "Spool",
    "Sums",
    "append_to",
    "check_file",
    "file_lock",
    "read_regular",
    "record_of",
    "replacing",
    "sync_file",
    "sync_folder",
    "write_whole",
]
