from __future__ import annotations

import pytest

from holdfast.core import wire
from holdfast.core.gang.messages import (
    Bye,
    Challenge,
    CommandEnded,
    Go,
    Join,
    LinkMessage,
    Prepare,
    Stands,
    decode,
    encode,
)
from holdfast.core.wire import WireError


@pytest.mark.parametrize(
    "message",
    [
        Challenge("nonce"),
        Join("proof", "nonce", -1, "host"),
        Prepare(3, "00001-a", 2, None, "epoch", False),
        Go(3, {"JAX_PROCESS_ID": "1"}),
        Stands(1, 17, True, 0),
        CommandEnded(3, 137, "killed by SIGKILL", {}),
        Bye(75, "SIGTERM"),
        wire.RankState(1, 17, "aGVsbG8="),
        wire.StopWanted("SIGTERM"),
    ],
)
def test_a_message_between_supervisors_is_one_line_and_comes_back_as_it_was(message: LinkMessage) -> None:
    line = encode(message)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert decode(line) == message


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"GET / HTTP/1.1\r\n",
        b"[]\n",
        b'{"kind": "join"}\n',
        b'{"kind": "stands", "number": "1", "passed": 2, "held": true}\n',
        b'{"kind": "hello", "pid": 1}\n',
    ],
)
def test_what_is_no_message_of_theirs_is_refused(line: bytes) -> None:
    with pytest.raises(WireError):
        decode(line)
