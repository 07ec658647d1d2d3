"""Runs between fork and the user's command: a few lines that only the child itself can do.

Called as ``python -I -S launch.py SUPERVISOR_PID COMMAND…``; it replaces itself with the command.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    supervisor, command = int(sys.argv[1]), sys.argv[2:]
    # The kernel ends the child when the supervisor dies, however it dies.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != supervisor:
        sys.exit("holdfast: the supervisor died while the command was being started")
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"holdfast: {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
