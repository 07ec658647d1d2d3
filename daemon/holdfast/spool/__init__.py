"""The run's folder on this machine: the spool between the training process and the store.

Both sides of the daemon use it, so it imports neither. A file appears in it whole or not at all (design invariant 2):
it is written under a temporary name in the same folder and renamed. Files are 0600, folders 0700.
"""

from .checksums import CHUNK, Sums, check_file, record_of
from .files import TEMPORARY, append_to, file_lock, read_regular, replacing, sync_file, sync_folder, write_whole
from .folder import LOG_FILE, STORED, Spool
from .placement import place
from .progress_board import Board, Progress
from .unstored import only_here

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
    "only_here",
    "place",
    "read_regular",
    "record_of",
    "replacing",
    "sync_file",
    "sync_folder",
    "write_whole",
]
