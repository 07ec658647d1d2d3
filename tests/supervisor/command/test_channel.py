from __future__ import annotations

import contextlib
import queue
import socket
import stat
import threading
from collections.abc import Iterator

import pytest

from fakes.threads import no_further_thread
from holdfast.core.wire import (
    MAX_LINE_BYTES,
    Hello,
    Message,
    Notice,
    PairSaved,
    Save,
    Stop,
    TrainingBegan,
    Welcome,
    decode,
    encode,
)
from holdfast.supervisor.command.channel import Channel
from integration.daemons import wait_for

WELCOME = Welcome("/runs/00001-digits", "00001-digits", 2, 18, None, False, {"command": ["python"]})


class Side:
    """What the supervisor hears."""

    def __init__(self) -> None:
        self.heard: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self.ready = threading.Event()
        self.ready.set()
        self.hung_up = threading.Semaphore(0)
        self.channel = Channel(self.heard.put, lambda: WELCOME, self.ready, self.hung_up.release)

    def hear(self) -> Message:
        return self.heard.get(timeout=30)


class Child:
    """A process that speaks to the supervisor."""

    def __init__(self, side: Side) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(30)
        self._socket.connect(str(side.channel.path))
        self._lines = self._socket.makefile("rb")

    def say(self, message: Message) -> Child:
        return self.say_bytes(encode(message))

    def say_bytes(self, data: bytes) -> Child:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the supervisor hung up already
            self._socket.sendall(data)
        return self

    def hear(self) -> Message | None:
        """None when the supervisor hung up."""
        try:
            line = self._lines.readline()
        except ConnectionResetError:
            return None
        return decode(line) if line else None

    def hang_up(self) -> None:
        self._lines.close()
        self._socket.close()


@pytest.fixture
def side() -> Iterator[Side]:
    side = Side()
    side.channel.start()
    yield side
    side.channel.close()


@pytest.fixture
def child(side: Side) -> Iterator[Child]:
    """One that said Hello and was welcomed."""
    child = Child(side).say(Hello(pid=1))
    assert (side.hear(), child.hear()) == (Hello(pid=1), WELCOME)
    yield child
    child.hang_up()


@pytest.fixture
def stranger(side: Side) -> Iterator[Child]:
    stranger = Child(side)
    yield stranger
    stranger.hang_up()


def test_a_hello_is_passed_on_and_answered_with_a_welcome(child: Child, side: Side) -> None:
    assert side.heard.empty()


def test_what_the_child_says_is_passed_on_in_order(child: Child, side: Side) -> None:
    said: list[Message] = [TrainingBegan(6), PairSaved("model", "epoch", 0.5), Notice("a line\nand another")]
    for message in said:
        child.say(message)
    assert [side.hear() for _ in said] == said


def test_a_message_in_pieces_is_one_message(child: Child, side: Side) -> None:
    data = encode(Notice("in two pieces"))
    child.say_bytes(data[:7]).say_bytes(data[7:])
    assert side.hear() == Notice("in two pieces")


def test_what_the_supervisor_says_reaches_the_child(child: Child, side: Side) -> None:
    assert side.channel.send(Save("rebalance"))
    assert side.channel.send(Stop("SIGTERM"))
    assert [child.hear(), child.hear()] == [Save("rebalance"), Stop("SIGTERM")]


def test_without_a_child_there_is_nobody_to_hear(side: Side, stranger: Child) -> None:
    assert not side.channel.send(Stop("SIGTERM"))


def test_a_process_waits_while_no_further_thread_can_be_started_for_it(side: Side) -> None:
    with no_further_thread():
        child = Child(side).say(Hello(pid=1))
    assert (side.hear(), child.hear()) == (Hello(pid=1), WELCOME)
    child.hang_up()


def test_a_second_process_is_refused_and_the_first_is_heard_on(child: Child, side: Side, stranger: Child) -> None:
    assert stranger.say(Hello(pid=2)).hear() is None
    stranger.say(TrainingBegan(1))
    child.say(TrainingBegan(6))
    assert side.hear() == TrainingBegan(6)
    assert side.channel.send(Stop("SIGTERM"))
    assert child.hear() == Stop("SIGTERM")


def test_after_the_child_is_gone_the_next_one_is_welcomed(child: Child, side: Side, stranger: Child) -> None:
    child.hang_up()
    side.channel.wait_silent(30)
    assert side.hung_up.acquire(blocking=False)
    assert not side.channel.send(Stop("SIGTERM"))
    assert stranger.say(Hello(pid=2)).hear() == WELCOME


def test_a_child_is_welcomed_when_what_it_goes_on_from_is_here(stranger: Child, side: Side) -> None:
    side.ready.clear()
    stranger.say(Hello(pid=1))
    assert not side.channel.send(Stop("SIGTERM"))
    side.ready.set()
    assert stranger.hear() == WELCOME


def test_a_child_that_gives_up_waiting_makes_room_for_the_next_one(side: Side, stranger: Child) -> None:
    side.ready.clear()
    impatient = Child(side).say(Hello(pid=1))
    wait_for(lambda: not side.channel.wait_silent(0), "the Hello to be heard")
    impatient.hang_up()
    side.channel.wait_silent(30)
    side.ready.set()
    assert stranger.say(Hello(pid=2)).hear() == WELCOME


def test_the_last_words_of_a_child_are_heard_before_it_is_silent(child: Child, side: Side) -> None:
    for number in range(1000):
        child.say(Notice(str(number)))
    child.hang_up()
    side.channel.wait_silent(30)
    assert side.heard.qsize() == 1000


def test_silence_is_waited_for_only_as_long_as_asked(child: Child, side: Side) -> None:
    side.channel.wait_silent(0.01)
    assert side.channel.send(Stop("SIGTERM"))


@pytest.mark.parametrize(
    "first", [encode(TrainingBegan(6)), b"\n", b"GET / HTTP/1.1\r\n", b"[" * 50_000 + b"\n", b"\xff\n"]
)
def test_whoever_does_not_begin_with_hello_is_hung_up_on(side: Side, stranger: Child, first: bytes) -> None:
    assert stranger.say_bytes(first).hear() is None
    assert side.heard.empty()


@pytest.mark.parametrize("rubbish", [b"rubbish\n", b'{"kind": "unknown"}\n', b'"' + b"x" * MAX_LINE_BYTES + b'"\n'])
def test_a_child_that_talks_rubbish_is_hung_up_on(child: Child, side: Side, stranger: Child, rubbish: bytes) -> None:
    child.say_bytes(rubbish)
    assert child.hear() is None
    side.channel.wait_silent(30)
    assert stranger.say(Hello(pid=2)).hear() == WELCOME


def test_the_socket_lies_in_a_folder_of_the_owners_alone_and_goes_with_the_channel() -> None:
    channel = Side().channel
    channel.start()
    folder = channel.path.parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    channel.close()
    assert not folder.exists()
