"""An interpreter that has imported the large packages of its script and waits until the script may begin.

Loaded by hook.py as the interpreter starts, before anything of the script is. The script then finds what it would have
found: its words, environment and working directory; no thread, handler or device of holdfast's. Only its packages are
there already.
"""

import json
import os
import socket
import sys

SOCKET_VARIABLE = "HOLDFAST_SOCKET"


def stand_by(given: str) -> "dict[str, str | None]":
    """Returns when the script may begin, with the variables that were changed for the imports.

    Ends the process where it is not to begin, or on any trouble.
    """
    try:
        order = json.loads(given)
        _import(order["packages"], order["environment"])
        with socket.socket(socket.AF_UNIX) as stream:
            stream.connect(os.environ[SOCKET_VARIABLE])
            stream.sendall(json.dumps({"kind": "standing-by", "pid": os.getpid()}).encode() + b"\n")
            begin = stream.recv(1)
    except BaseException as error:
        os.write(2, ("holdfast: the interpreter that stood by has failed: %r\n" % error).encode())  # noqa: UP031
        os._exit(1)
    if not begin:
        os._exit(1)
    changed: dict[str, str | None] = order["environment"]
    return changed


def _import(packages: "list[str]", environment: "dict[str, str | None]") -> None:
    """With the variables as the script sets them before it imports these. Afterwards they are as they were."""
    before = {name: os.environ.get(name) for name in environment}
    _set(environment)
    for name in packages:
        try:
            __import__(name)
        except Exception:  # the script will meet it, and say it
            break
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    _set(before)


def _set(variables: "dict[str, str | None]") -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
