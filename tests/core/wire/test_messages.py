from __future__ import annotations

import contextlib
import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.wire import (
    Hello,
    Imported,
    Leaving,
    MayLeave,
    Message,
    Notice,
    NotServed,
    PairHere,
    PairSaved,
    PairWanted,
    PairWritten,
    RankState,
    Refused,
    Save,
    SaveFailed,
    SavesEvery,
    SaveWanted,
    StacksBy,
    StandingBy,
    Stop,
    StopWanted,
    TrainingBegan,
    TrainingClaimed,
    TrainingFinished,
    Unprotected,
    Unusable,
    Welcome,
    WireError,
    bounded,
    decode,
    encode,
)

WELCOME = Welcome("/runs/00001-digits", "00001-digits", 2, 18, None, True, {"command": ["python", "train.py"]})
MESSAGES: list[Message] = [
    Hello(4711),
    WELCOME,
    Save("rebalance"),
    Stop("spot notice"),
    TrainingBegan(6),
    TrainingBegan(None),
    TrainingBegan(6, 1, left=False),
    TrainingBegan(6, batches=625),
    TrainingClaimed(3),
    PairWanted("model-0001-00000008-0.5000-i1-q1"),
    PairHere("model-0001-00000008-0.5000-i1-q1", None),
    PairHere("model-0001-00000008-0.5000-i1-q1", "its .h5 is not in the store"),
    PairSaved("model-0003-00000940-0.1284-i2-q17", "epoch", 0.25),
    PairSaved("model-0003-00000940-0.1284-i2-q17", "epoch", 0.25, 7, {"loss": 0.1284, "val_loss": None}),
    SavesEvery(40.0, 0.4),
    SaveFailed("No space left on device"),
    Refused("the model is another"),
    Unusable("model-0000-00000001-none-i1-q1", "its .h5 is damaged"),
    TrainingFinished(),
    Unprotected("no session"),
    Imported(),
    NotServed("the interpreter is too old"),
    StandingBy(pid=42),
    StacksBy(4711, 50),
    RankState(1, 17, "aGVsbG8="),
    PairWritten(17, "model-0001-00000008-0.5000-i1-q1"),
    StopWanted("SIGTERM"),
    SaveWanted("interval"),
    Leaving(True),
    MayLeave(),
    Notice("two lines\nof ätext \u2028"),
]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
texts = st.text()
messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(Hello, st.integers()),
    st.builds(
        Welcome,
        run_dir=texts,
        run=texts,
        incarnation=st.integers(),
        next_save=st.integers(),
        resume=st.none() | texts,
        durable=st.booleans(),
        origin=st.dictionaries(texts, st.lists(texts)),
    ),
    st.builds(StacksBy, st.integers(1, (1 << 31) - 1), st.integers(1, 64)),
    st.builds(PairSaved, texts, texts, st.floats(0, 1e9)),
    *(st.builds(kind, texts) for kind in (Save, Stop, SaveFailed, Refused, Notice)),
)


def line(**fields: Any) -> bytes:
    return json.dumps(fields).encode() + b"\n"


def test_these_tests_leave_out_no_message() -> None:
    assert {type(message) for message in MESSAGES} == set(Message.__args__)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.kind)
def test_a_message_is_understood_on_the_other_side(message: Message) -> None:
    assert decode(encode(message)) == message


@given(messages)
@settings(deadline=None)
def test_any_message_is_one_line_and_comes_back_whole(message: Message) -> None:
    data = encode(message)
    assert data.index(b"\n") == len(data) - 1
    assert decode(data) == message


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"hello",
        b"\xff\xfe\n",
        b"null",
        b"7",
        b"[]",
        b'"hello"',
        b"{}",
        encode(WELCOME)[:40],
        b"[" * 100_000,
        line(kind="hello"),
        line(kind="goodbye"),
        line(kind=["hello"], pid=1),
        line(kind={}, pid=1),
        line(kind=None),
        line(pid=1),
        line(kind="hello", pid=1, more=2),
        line(kind="hello", pid="1"),
        line(kind="hello", pid=None),
        line(kind="training-began", epochs=1.5),
        line(kind="pair-saved", name=5, reason="epoch", seconds=0.5),
        line(kind="pair-saved", name=None, reason="epoch", seconds=0.5),
        line(kind="pair-saved", name="model", reason="epoch"),
        line(kind="pair-saved", name="model", reason="epoch", seconds=1),
        line(kind="pair-saved", name="model", reason="epoch", seconds=None),
        line(kind="pair-saved", name="model", reason="epoch", seconds="0.5"),
        line(kind="pair-saved", name="model", reason="epoch", seconds=0.5, metrics=[1]),
        line(kind="pair-saved", name="model", reason="epoch", seconds=0.5, metrics={"loss": "low"}),
        line(kind="pair-saved", name="model", reason="epoch", seconds=0.5, metrics={"loss": True}),
        line(kind="pair-saved", name="model", reason="epoch", seconds=0.5, metrics={"loss": math.inf}),
        line(kind="pair-saved", name="model", reason="epoch", seconds=0.5, metrics={"x" * 201: 1.0}),
        line(kind="pair-saved", name="model", reason="epoch", seconds=0.5, metrics=dict.fromkeys(map(str, range(101)))),
        line(kind="training-began", epochs=6, batches="625"),
        line(kind="pair-saved", name="model", reason="epoch", seconds=-0.5),
        line(kind="pair-saved", name="model", reason="epoch", seconds=1e10),
        line(kind="pair-saved", name="model", reason="epoch", seconds=float("nan")),
        line(kind="pair-saved", name="model", reason="epoch", seconds=float("inf")),
        line(kind="stacks-by", pid=0, signal=50),
        line(kind="stacks-by", pid=-1, signal=50),
        line(kind="stacks-by", pid=1 << 31, signal=50),
        line(kind="stacks-by", pid=4711, signal=0),
        line(kind="stacks-by", pid=4711, signal=65),
        line(kind="stacks-by", pid=4711, signal="50"),
        line(kind="stacks-by", pid=4711, signal=50.0),
        line(kind="stop", reason=["x"]),
        line(kind="training-finished", epochs=6),
        encode(WELCOME).replace(b"true", b"1"),
        encode(WELCOME).replace(b"null", b"17"),
        encode(WELCOME).replace(b'{"command": ["python", "train.py"]}', b"[]"),
    ],
    ids=lambda data: repr(data[:60]),
)
def test_what_is_no_message_is_a_wire_error(data: bytes) -> None:
    with pytest.raises(WireError):
        decode(data)


@given(
    st.binary()
    | json_values.map(lambda value: json.dumps(value).encode())
    | st.builds(
        lambda message, changes: json.dumps({**json.loads(encode(message)), **changes}).encode(),
        st.sampled_from(MESSAGES),
        st.dictionaries(
            st.sampled_from(["kind", "pid", "name", "reason", "epochs", "resume", "seconds", "signal", "x"]),
            json_values,
        ),
    )
)
@settings(deadline=None, max_examples=300)
def test_whatever_arrives_is_a_message_or_a_wire_error(data: bytes) -> None:
    with contextlib.suppress(WireError):
        message = decode(data)
        assert decode(encode(message)) == message


def test_a_message_brings_so_many_metrics_as_it_may_and_none_for_what_is_not_finite() -> None:
    given = {
        "loss": math.nan,
        "best": True,
        "huge": 10**400,
        "x" * 201: 1.0,
        **{str(number): 1.0 for number in range(200)},
    }
    metrics = bounded(given)
    assert (metrics["loss"], metrics["best"], metrics["huge"]) == (None, 1.0, None)
    assert len(metrics) == 100
    message = PairSaved("model", "epoch", 0.5, 3, metrics)
    assert decode(encode(message)) == message
