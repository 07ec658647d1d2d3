"""Welcomes one training process, with a spool that need not be fsynced, and tidies its pairs away: no store, no work.

python benchmarks/quiet_supervisor.py SOCKET FOLDER
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from holdfast.core.checkpoint_name import CheckpointName
from holdfast.core.wire import PairSaved, Welcome, decode, encode
from holdfast.spool import Spool


def main() -> None:
    address, folder = sys.argv[1:]
    spool = Spool(Path(folder) / "00001-bench")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        print("listening", flush=True)
        stream, _ = listener.accept()
    lines = stream.makefile("rb")
    lines.readline()
    stream.sendall(encode(Welcome(str(spool.path), spool.run, 1, 1, None, durable=False, origin={})))
    names: list[CheckpointName] = []
    for line in lines:
        message = decode(line)
        if isinstance(message, PairSaved) and (name := CheckpointName.parse(message.name)):
            names.append(name)
            for old in names[:-2]:
                spool.remove(old)
            del names[:-2]


if __name__ == "__main__":
    main()
