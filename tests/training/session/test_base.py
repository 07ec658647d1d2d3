"""The training process's end of the protocol, without a framework: under a supervisor and alone."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import holdfast
from fakes.disks import GoneTerminal
from fakes.pairs import name_of, save_pair
from fakes.threads import no_further_thread
from holdfast.core import wire
from holdfast.core.errors import Busy, Exit, HoldfastError, NoValidPair, SettingsError
from holdfast.core.runs import COMPLETE_FILE
from holdfast.spool import PART, TEMPORARY, Spool
from holdfast.supervisor.command.child import catches
from holdfast.training.session.base import Session
from holdfast.training.session.open import close_session, open_session
from holdfast.training.session.supervised import SupervisedSession
from integration.daemons import wait_for


class Supervisor:
    """Answers one training process with ``answer`` and hears what it says."""

    def __init__(self, path: Path, answer: bytes) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._answer = answer
        self._stream = socket.socket()
        self._heard: Any = None
        self.hello: wire.Message | None = None
        self.stacks: wire.StacksBy | None = None
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def hear(self) -> wire.Message:
        return wire.decode(self._line())

    def has_heard_all(self) -> bool:
        """Waits until the process says something or hangs up."""
        return self._line() == b""

    def _line(self) -> bytes:
        """The next one, but for the first words of every session."""
        self._thread.join()
        line: bytes = self._heard.readline()
        if line and isinstance(message := wire.decode(line), wire.StacksBy):
            self.stacks = message
            line = self._heard.readline()
        return line

    def say(self, data: bytes) -> None:
        self._thread.join()
        self._stream.sendall(data)

    def close(self) -> None:
        self._thread.join()
        self._listener.close()
        if self._heard is not None:
            self._heard.close()
        self._stream.close()

    def _serve(self) -> None:
        self._stream, _ = self._listener.accept()
        self._stream.settimeout(30)
        self._heard = self._stream.makefile("rb")
        self.hello = wire.decode(self._heard.readline())
        self._stream.sendall(self._answer)
        if not self._answer:
            self._heard.close()
            self._stream.close()


@pytest.fixture(autouse=True)
def one_session_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["/somewhere/my script.v2.py"])
    close_session()  # an earlier test may have left one open, and its handler in place
    before = signal.getsignal(signal.SIGTERM)
    yield
    close_session()
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "work" / "00001-digits")


def welcome(spool: Spool, resume: str | None = None, durable: bool = False) -> bytes:
    return wire.encode(wire.Welcome(str(spool.path), spool.run, 3, 17, resume, durable, {"command": "x"}))


@pytest.fixture
def supervisors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    made: list[Supervisor] = []

    def start(answer: bytes) -> Supervisor:
        path = tmp_path / f"{len(made)}.socket"
        monkeypatch.setenv(wire.SOCKET_VARIABLE, str(path))
        made.append(Supervisor(path, answer))
        return made[-1]

    yield start
    for supervisor in made:
        supervisor.close()


# --- under a supervisor --------------------------------------------------------------------------------------------


def test_a_session_is_what_the_supervisor_says(supervisors: Any, spool: Spool) -> None:
    supervisor = supervisors(welcome(spool, str(name_of(16, 2)), durable=True))
    session = open_session()
    assert session is open_session()
    assert supervisor.hello == wire.Hello(os.getpid())
    assert (session.supervised, session.durable, session.origin) == (True, True, {"command": "x"})
    assert (session.spool.path, session.resume) == (spool.path, name_of(16, 2))
    names = [session.next_name(2, 20, 0.25) for _ in range(2)]
    assert [str(name) for name in names] == [f"model-0002-00000020-0.2500-i3-q{save}" for save in (17, 18)]


def test_without_a_pair_there_is_nothing_to_go_on_from(supervisors: Any, spool: Spool) -> None:
    supervisors(welcome(spool))
    session = open_session()
    assert (session.resume, session.durable, session.stop_reason, session.save_reason) == (None, False, None, None)
    assert (session.ledger, session.claimed, session.step) == (None, set(), 0)


def test_what_happens_is_told(supervisors: Any, spool: Spool) -> None:
    supervisor = supervisors(welcome(spool))
    session = open_session()
    session.began(6, batches=90)
    session.saved(save_pair(spool, name_of(1), batch=3), 0.25)
    session.failed("the disk is full")
    session.refuse("another model")
    session.say("by the way")
    session.finished()
    expected = [
        wire.TrainingBegan(6, batches=90),
        wire.PairSaved(str(name_of(1)), "interval", 0.25, 3),
        wire.SaveFailed("the disk is full"),
        wire.Refused("another model"),
        wire.Notice("by the way"),
        wire.TrainingFinished(),
    ]
    assert [supervisor.hear() for _ in expected] == expected


def test_a_second_loop_is_refused_so_that_the_command_is_not_started_again(supervisors: Any, spool: Spool) -> None:
    supervisor = supervisors(welcome(spool))
    holdfast.session()
    with pytest.raises(SettingsError) as error:
        holdfast.session()
    assert supervisor.hear() == wire.TrainingClaimed(0)
    assert supervisor.hear() == wire.Refused(str(error.value))


def test_a_session_says_by_which_signal_it_writes_its_stacks_for_as_long_as_it_lasts(
    supervisors: Any, spool: Spool
) -> None:
    supervisor = supervisors(welcome(spool))
    open_session().say("hello")
    assert supervisor.hear() == wire.Notice("hello")
    assert supervisor.stacks is not None
    assert supervisor.stacks.pid == os.getpid()
    assert catches(os.getpid(), supervisor.stacks.signal)
    close_session()
    assert not catches(os.getpid(), supervisor.stacks.signal)


def test_the_first_reason_to_stop_is_the_one_that_counts(supervisors: Any, spool: Spool) -> None:
    supervisor = supervisors(welcome(spool))
    session = open_session()
    supervisor.say(wire.encode(wire.Save("rebalance")))
    wait_for(lambda: session.save_reason == "rebalance", "the wish for a save arrives")
    assert session.stop_reason is None
    supervisor.say(wire.encode(wire.Stop("notice")) + wire.encode(wire.Stop("another")) + wire.encode(wire.Save("x")))
    wait_for(lambda: session.save_reason == "x", "all arrives")
    assert session.stop_reason == "notice"


def test_a_supervisor_that_is_gone_means_stop_and_nobody_dies_of_it(supervisors: Any, spool: Spool) -> None:
    supervisor = supervisors(welcome(spool))
    session = open_session()
    supervisor.close()
    wait_for(lambda: session.stop_reason == "the supervisor is gone", "the end of the stream is seen")
    session.say("nobody hears this")
    session.say("nor this")


def test_what_is_no_message_ends_the_talk(supervisors: Any, spool: Spool) -> None:
    supervisor = supervisors(welcome(spool))
    session = open_session()
    supervisor.say(b"how do you do\n")
    wait_for(lambda: session.stop_reason == "the supervisor is gone", "it is taken for the end")


def test_a_pair_that_cannot_be_used_ends_the_process(supervisors: Any, spool: Spool) -> None:
    supervisor = supervisors(welcome(spool, str(name_of(16, 2))))
    with pytest.raises(SystemExit) as ended:
        open_session().mark_unusable("torn")
    assert ended.value.code == Exit.FAILED
    assert supervisor.hear() == wire.Unusable(str(name_of(16, 2)), "torn")


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"", "another process of this run trains already"),
        (wire.encode(wire.Stop("x")), "another version"),
    ],
)
def test_who_is_not_welcome_is_told_why(supervisors: Any, answer: bytes, text: str) -> None:
    supervisors(answer)
    with pytest.raises(HoldfastError, match=text):
        open_session()


def test_a_supervisor_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(wire.SOCKET_VARIABLE, str(tmp_path / "none.socket"))
    with pytest.raises(HoldfastError, match=r"none\.socket: the supervisor does not answer"):
        open_session()


def test_a_full_disk_costs_the_oldest_pairs_that_the_store_has(supervisors: Any, spool: Spool) -> None:
    for save in (1, 2, 3, 4):
        save_pair(spool, name_of(save))
    for save in (2, 3):
        spool.mark_stored(name_of(save))
    supervisors(welcome(spool))
    session = open_session()
    assert isinstance(session, SupervisedSession)
    session.room_wait = 0.1
    assert session.make_room()
    assert spool.pairs() == [name_of(4), name_of(3), name_of(1)]
    assert session.make_room()
    assert not session.make_room(), "what the store does not have stays"
    assert spool.pairs() == [name_of(4), name_of(1)]


def test_the_runs_folder_needs_no_session_and_has_a_folder_for_artifacts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(wire.RUN_DIR_VARIABLE, str(tmp_path / "given"))
    assert holdfast.run_dir() == tmp_path / "given"
    assert list(tmp_path.rglob("*")) == [tmp_path / "given", tmp_path / "given" / "artifacts"]


def test_a_closed_session_leaves_the_connection_and_presses_nobody(supervisors: Any, spool: Spool) -> None:
    supervisor = supervisors(welcome(spool))
    session = open_session()
    session.on_overdue_stop = lambda: None
    close_session()
    assert session.on_overdue_stop is None
    assert supervisor.has_heard_all(), "another session can begin: the supervisor sees the end of this one"


# --- signals, and pressing for a stop ------------------------------------------------------------------------------


def test_sigterm_asks_for_a_stop_between_began_and_finished() -> None:
    before = signal.getsignal(signal.SIGTERM)
    session = open_session()
    session.began(None)
    os.kill(os.getpid(), signal.SIGTERM)
    assert session.stop_reason == "SIGTERM"
    close_session()
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(("stored", "code"), [(True, Exit.STOPPED), (False, Exit.UNSTORED)])
def test_alone_a_stop_that_comes_with_the_end_of_the_training_ends_the_process(stored: bool, code: Exit) -> None:
    session = open_session()
    mark = session.spool.file(COMPLETE_FILE)
    session.began(None)
    session.request_stop("test")
    with pytest.raises(SystemExit) as ended:
        session.finished(stored)
    assert ended.value.code == code
    close_session()
    assert not mark.exists(), "what the script does after its training is still to be done"


def test_alone_a_training_whose_last_state_is_not_stored_is_not_complete() -> None:
    session = open_session()
    mark = session.spool.file(COMPLETE_FILE)
    session.began(None)
    session.finished(stored=False)
    close_session()
    assert not mark.exists()


def test_alone_a_run_is_complete_when_each_training_that_began_is_over() -> None:
    """One that an error ended is over once it is begun again and ends."""
    session = open_session()
    mark = session.spool.file(COMPLETE_FILE)
    session.began(None, training=0)
    session.began(None, training=1)
    session.finished(training=1)
    close_session()
    assert not mark.exists()
    session = open_session()
    assert session.spool.file(COMPLETE_FILE) == mark, "the run goes on"
    session.began(None)
    session.began(None)
    session.finished()
    close_session()
    assert mark.exists()


def test_a_supervisor_knows_which_training_is_over(supervisors: Any, spool: Spool) -> None:
    supervisor = supervisors(welcome(spool))
    session = open_session()
    session.began(6, training=1)
    session.finished(training=1)
    assert [supervisor.hear(), supervisor.hear()] == [wire.TrainingBegan(6, 1), wire.TrainingFinished(1)]


def test_under_a_supervisor_such_a_stop_is_the_supervisors(supervisors: Any, spool: Spool) -> None:
    supervisor = supervisors(welcome(spool))
    session = open_session()
    session.began(None)
    session.request_stop("test")
    session.finished()
    assert [supervisor.hear(), supervisor.hear()] == [wire.TrainingBegan(None), wire.TrainingFinished()]


def test_after_a_training_that_ended_by_an_exception_sigterm_means_what_it_meant_before() -> None:
    heard: list[int] = []

    def mine(number: int, frame: Any) -> None:
        heard.append(number)

    before = signal.signal(signal.SIGTERM, mine)
    try:
        session = open_session()
        session.began(None, inside=lambda frame: False)
        os.kill(os.getpid(), signal.SIGTERM)
        assert (heard, session.stop_reason) == ([signal.SIGTERM], None)
        session.began(None, inside=lambda frame: False)
        session.began(None)
        os.kill(os.getpid(), signal.SIGTERM)
        assert (heard, session.stop_reason) == ([signal.SIGTERM], "SIGTERM")
        close_session()
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)


def test_sigterm_asks_for_a_stop_under_a_supervisor_too(supervisors: Any, spool: Spool) -> None:
    """Who signals the whole group does not wait for the supervisor's word."""
    before = signal.getsignal(signal.SIGTERM)
    supervisors(welcome(spool))
    session = open_session()
    session.began(None)
    os.kill(os.getpid(), signal.SIGTERM)
    assert session.stop_reason == "SIGTERM"
    session.finished()
    assert signal.getsignal(signal.SIGTERM) is before


def test_under_a_supervisor_sigint_requests_a_stop_too(supervisors: Any, spool: Spool) -> None:
    before = signal.getsignal(signal.SIGINT)
    supervisors(welcome(spool))
    session = open_session()
    session.began(None)
    os.kill(os.getpid(), signal.SIGINT)
    assert session.stop_reason == "SIGINT"
    session.finished()
    assert signal.getsignal(signal.SIGINT) is before


def test_alone_a_ctrl_c_raises_and_which_state_is_saved_is_the_last_line(tmp_path: Path) -> None:
    """Below Python's traceback."""
    script = (
        "import os, signal, holdfast\n"
        "with holdfast.session(directory='runs') as run:\n"
        "    for step in range(run.step, run.step + 2):\n"
        "        if run.boundary(step + 1):\n"
        "            run.commit({})\n"
        "        if step:\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "        run.commit({})\n"
    )
    for said in ("nothing is saved in runs/", "the newest checkpoint is epoch 0, step 1 in runs/"):
        code = script.replace("if step:", "if True:") if "nothing" in said else script
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == -signal.SIGINT
        lines = done.stderr.splitlines()
        assert "KeyboardInterrupt" in lines
        assert lines[-1].startswith(f"holdfast: interrupted; {said}")


def test_alone_a_ctrl_c_gives_the_signal_back_and_an_end_that_comes_all_the_same_is_no_interruption(
    capfd: pytest.CaptureFixture[str],
) -> None:
    session = open_session()
    session.began(None)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    session.finished()
    close_session()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert "interrupted" not in capfd.readouterr().err


def test_a_sigint_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        open_session().began(None)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_script_that_never_closes_its_session_ends_all_the_same(supervisors: Any, spool: Spool) -> None:
    supervisors(welcome(spool))
    open_session()
    assert {thread.daemon for thread in threading.enumerate() if thread.name == "holdfast"} == {True}


def test_a_session_gives_back_only_what_it_took() -> None:
    before = signal.getsignal(signal.SIGTERM)
    open_session().began(None)
    open_session().finished()

    def mine(number: int, frame: Any) -> None:
        raise AssertionError(number)

    signal.signal(signal.SIGTERM, mine)
    open_session().finished()
    close_session()
    try:
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)


def test_closing_gives_the_signal_back_once() -> None:
    before = signal.getsignal(signal.SIGTERM)
    session = open_session()
    session.began(None)
    close_session()
    assert signal.getsignal(signal.SIGTERM) is before
    session.finished()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_training_in_another_thread_leaves_the_signals_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    failures: list[BaseException] = []

    def train() -> None:
        try:
            open_session().began(None)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert failures == []
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_stop_can_be_requested_where_no_further_thread_can_be_started() -> None:
    """By a signal's handler: what it raises would be raised in the training."""
    session = open_session()
    with no_further_thread():
        session.request_stop("SIGTERM")
    assert session.stop_reason == "SIGTERM"


def test_a_stop_that_nobody_serves_is_pressed_for_again_and_again_and_not_at_once() -> None:
    session = open_session()
    pressed: list[float] = []
    session.on_overdue_stop = lambda: pressed.append(time.monotonic())
    asked = time.monotonic()
    session.request_stop("first")
    session.request_stop("second")
    assert session.stop_reason == "first"
    assert pressed == []
    assert {thread.daemon for thread in threading.enumerate() if thread.name == "holdfast-overdue"} == {True}
    wait_for(lambda: len(pressed) >= 2, "it is pressed", patience=30)
    assert pressed[0] - asked >= 0.9
    assert pressed[1] - pressed[0] >= 0.9, "by one thread"


# --- alone ---------------------------------------------------------------------------------------------------------


def again(**options: Any) -> Session:
    close_session()
    return open_session(**options)


def test_alone_a_run_is_called_after_the_script(tmp_path: Path) -> None:
    session = open_session()
    assert session.spool.path == Path("runs/00001-my-script-v2")
    assert Path("runs").stat().st_mode & 0o777 == 0o700
    assert (session.supervised, session.durable, session.resume) == (False, True, None)
    assert str(session.next_name(0, 1, None)) == "model-0000-00000001-none-i1-q1"
    assert holdfast.run_dir() == session.spool.path
    assert (session.spool.path / "artifacts").is_dir()


@pytest.mark.parametrize(("script", "name"), [("", "run"), ("-", "run"), ("a" * 80 + ".py", "a" * 63), ("_x.py", "x")])
def test_any_script_gives_a_name_that_is_one(monkeypatch: pytest.MonkeyPatch, script: str, name: str) -> None:
    monkeypatch.setattr(sys, "argv", [script])
    assert open_session().spool.run == f"00001-{name}"


def test_each_start_has_an_incarnation_and_save_numbers_of_its_own() -> None:
    spool = open_session().spool
    save_pair(spool, name_of(7, 1))
    save_pair(spool, name_of(4, 2))
    spool.file("model-0009-00000090-0.5000-i2-q9.h5").write_bytes(b"its manifest never came")
    session = again()
    assert session.resume == name_of(4, 2)
    assert str(session.next_name(5, 50, 0.5)) == "model-0005-00000050-0.5000-i3-q8"
    assert not list(spool.path.glob("*-q9.*")), "what a killed process left is cleared"


def test_alone_only_one_process_works_on_a_run() -> None:
    path = open_session().spool.path
    with pytest.raises(Busy), Spool(path).lock():
        pass
    close_session()
    with Spool(path).lock():
        pass


def test_a_run_is_over_when_it_has_the_epochs_that_are_asked_for() -> None:
    session = open_session(epochs=2)
    save_pair(session.spool, name_of(2))
    session.began(2)
    session.finished()
    assert again(epochs=3).spool.run == "00001-my-script-v2", "it goes on to more epochs"
    assert again(epochs=2).spool.run == "00002-my-script-v2"
    assert again(epochs=2).spool.run == "00002-my-script-v2", "which is not over"
    open_session().began(1)
    open_session().finished()
    assert again().spool.run == "00003-my-script-v2", "whoever does not say how far begins anew"


def test_a_run_that_is_over_without_a_pair_has_no_epochs() -> None:
    session = open_session(epochs=1)
    session.began(1)
    session.finished()
    assert again(epochs=1).spool.run == "00001-my-script-v2"


def test_another_scripts_runs_are_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    open_session()
    monkeypatch.setattr(sys, "argv", ["other.py"])
    assert again().spool.run == "00002-other"
    monkeypatch.setattr(sys, "argv", ["my-script.v2.py"])
    assert again().spool.run == "00001-my-script-v2"


def test_a_run_is_complete_when_its_session_is_closed_after_the_training() -> None:
    session = open_session()
    mark = session.spool.file(COMPLETE_FILE)
    session.began(None)
    session.finished()
    assert not mark.exists(), "what the script does then is part of it"
    close_session()
    assert mark.exists()


def test_a_training_that_goes_on_is_not_complete() -> None:
    session = open_session(epochs=1)
    mark = session.spool.file(COMPLETE_FILE)
    session.began(1)
    session.finished()
    session = again(epochs=1)
    assert mark.exists()
    session.began(1)
    assert not mark.exists()
    session.finished()
    session.began(1)
    close_session()
    assert not mark.exists()


def test_a_disk_that_has_no_room_to_note_the_end_harms_nobody(capfd: pytest.CaptureFixture[str]) -> None:
    session = open_session()
    session.began(None)
    session.spool.file(COMPLETE_FILE).mkdir()
    session.finished()
    close_session()
    assert "its end could not be noted: IsADirectoryError" in capfd.readouterr().err
    with session.spool.lock():
        pass


def test_a_few_pairs_are_kept() -> None:
    session = open_session(keep=2)
    for save in (1, 2, 3):
        session.saved(save_pair(session.spool, name_of(save)), 0.25)
    assert session.spool.pairs() == [name_of(3), name_of(2)]
    session = again()
    for save in range(4, 9):
        session.saved(save_pair(session.spool, name_of(save)), 0.25)
    assert len(session.spool.pairs()) == 5


def test_an_old_pair_that_cannot_be_removed_harms_nobody() -> None:
    session = open_session(keep=1)
    save_pair(session.spool, name_of(1))
    session.spool.file(name_of(1).file("h5")).unlink()
    session.spool.file(name_of(1).file("h5")).mkdir()
    session.saved(save_pair(session.spool, name_of(2)), 0.1)
    assert session.spool.pairs() == [name_of(2)]


def test_alone_a_removed_pairs_file_is_kept_for_the_next_until_the_session_closes() -> None:
    session = open_session(keep=1)
    for save in (1, 2):
        session.saved(save_pair(session.spool, name_of(save), size=2 * PART), 0.1)
    (kept,) = session.spool.path.glob(f"{TEMPORARY}*")
    assert kept.stat().st_size == 2 * PART
    session.close()
    assert not kept.exists()


def test_alone_a_full_disk_costs_the_oldest_pairs_but_never_the_newest() -> None:
    session = open_session()
    for save in (1, 2, 3):
        save_pair(session.spool, name_of(save))
    assert session.make_room()
    assert session.spool.pairs() == [name_of(3), name_of(2)]
    assert session.make_room()
    assert not session.make_room()
    assert session.spool.pairs() == [name_of(3)]


def test_alone_what_cannot_be_used_is_passed_over_and_said(capfd: pytest.CaptureFixture[str]) -> None:
    spool = open_session().spool
    for name in (name_of(1), name_of(2), name_of(3), name_of(4, loss=float("nan"))):
        save_pair(spool, name)
    spool.file(name_of(3).file("h5")).write_bytes(b"rot")
    session = again()
    assert session.resume == name_of(2)
    session.mark_unusable("torn")
    assert session.resume == name_of(1)
    said = capfd.readouterr().err
    for name, why in [(4, "its loss is not finite"), (3, "has 3 bytes"), (2, "torn")]:
        assert any(f"-q{name}: passed over: " in line and why in line for line in said.splitlines()), said
    with pytest.raises(NoValidPair, match="none of its checkpoints is valid"):
        session.mark_unusable("torn, too")


def test_alone_a_pair_that_is_gone_is_passed_over_for_the_newest_that_is_there(
    capfd: pytest.CaptureFixture[str],
) -> None:
    spool = open_session().spool
    for save in (1, 2):
        save_pair(spool, name_of(save))
    session = again()
    spool.remove(name_of(1))
    save_pair(spool, name_of(3, 2))
    session.mark_unusable("torn")
    assert session.resume == name_of(3, 2)
    assert "-i1-q2: passed over: torn" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("stored", "pairs", "what"),
    [
        (True, 1, "the state is in runs/00001-my-script-v2; start again to go on (exit 75)"),
        (True, 0, "nothing was trained yet; start again to go on (exit 75)"),
        (False, 1, "the last state could not be stored; start again to go on (exit 74)"),
    ],
)
def test_alone_a_stop_says_where_the_state_is(
    capfd: pytest.CaptureFixture[str], stored: bool, pairs: int, what: str
) -> None:
    session = open_session()
    for save in range(pairs):
        save_pair(session.spool, name_of(save + 1))
    session.request_stop("SIGTERM")
    with pytest.raises(SystemExit):
        session.end_process(stored)
    assert capfd.readouterr().err == f"holdfast: stopped by SIGTERM; {what}\n"


def test_under_a_supervisor_the_start_and_the_stop_are_its_own_to_say(
    supervisors: Any, spool: Spool, capfd: pytest.CaptureFixture[str]
) -> None:
    supervisors(welcome(spool))
    session = open_session()
    session.report_start()
    session.request_stop("notice")
    with pytest.raises(SystemExit):
        session.end_process(stored=True)
    assert capfd.readouterr().err == ""


def test_alone_a_failure_is_said_and_nobody_dies_of_it(capfd: pytest.CaptureFixture[str]) -> None:
    open_session().failed("the disk is full")
    open_session().refuse("another model")
    assert capfd.readouterr().err == "holdfast: the disk is full\n"


def test_alone_a_terminal_that_is_gone_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (GoneTerminal(), closed):
        monkeypatch.setattr(sys, "stderr", stream)
        open_session().failed("the disk is full")
