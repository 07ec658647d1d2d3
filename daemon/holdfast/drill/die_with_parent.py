"""``python -I -S die_with_parent.py PARENT COMMAND…`` becomes COMMAND, which is killed when the process PARENT dies.

A rehearsal that is killed outright can end nothing by itself: the kernel does it.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(sys.argv[1]):  # it died before
        os._exit(1)
    os.execv(sys.argv[2], sys.argv[2:])
