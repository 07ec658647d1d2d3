"""What ends the costs once ``holdfast run`` has ended: the machine is given back, or a command is run.

By now the exit code is decided, all that will be stored is stored and the lease is free. Nothing here changes the
code: what fails is a warning. ``decide`` says what is to be done, ``Closer`` does it, within bounds of time and no
longer than until the next SIGTERM.
"""

from __future__ import annotations

import shlex
import shutil
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ...core.errors import Exit, SettingsError
from ..command.reaper import Ended
from .autoscaling import AutoScalingError, Hook

SCALE_IN = "scale-in"
NONE = "none"
COMMAND_TIME = 120.0
GIVE_BACK_TIME = 60.0
HOOK_TIME = 10.0  # after a drain that used up a notice's time, little is left
LEAVING_TIME = 60.0
_LOOK = 2.0
_NAP = 0.1
_LAST_WORDS = 3.0
_TERM_TIME = 5.0


@dataclass(frozen=True)
class GiveBack:
    """The group terminates this machine; with ``decrement`` it starts no other in its place."""

    decrement: bool


@dataclass(frozen=True)
class RunCommand:
    words: tuple[str, ...]


@dataclass(frozen=True)
class LetGo:
    """Complete the action of a termination hook that waits for this machine.

    ``await_it``: the machine was just given back, so the hook is about to wait.
    """

    hook: Hook
    await_it: bool = False


@dataclass(frozen=True)
class Keep:
    """The machine stays, for the last state of the run is on it alone: ``pair`` in its work dir."""

    pair: Path


Action = GiveBack | RunCommand | LetGo | Keep


@dataclass(frozen=True)
class Endings:
    """``none``, ``scale-in`` or a command, for each way to end; and the group's termination hook, if it has one."""

    on_complete: str = NONE
    on_failure: str = NONE
    hook: Hook | None = None


def decide(code: Exit, endings: Endings, only_here: Path | None = None, outside: bool = False) -> tuple[Action, ...]:
    """A run that was stopped resumes on another machine, so 75 and 74 give nothing back.

    After 69 another holder trains. It may be this group's next machine, so the group's desired capacity stays, unless
    the holder is ``outside`` of this group: else the group would start machines for it for as long as that one trains.
    ``only_here`` is a last state that the store lacks (spool.only_here): a machine that has it stays, and its hook is
    left waiting, which keeps the disk for a while. After 0 it is stored, and after 69 another's state counts.
    """
    if code is Exit.COMPLETE:
        done = _chosen(endings.on_complete, decrement=True)
    elif code is Exit.FENCED:
        done = _chosen(endings.on_failure, decrement=outside)
    elif code in (Exit.FAILED, Exit.USAGE):
        done = _chosen(endings.on_failure, decrement=True)
    else:
        done = ()
    if only_here is not None and code in (Exit.FAILED, Exit.USAGE, Exit.UNSTORED, Exit.STOPPED):
        return (*(action for action in done if not isinstance(action, GiveBack)), Keep(only_here))
    if endings.hook is None or code is Exit.UNSTORED:
        return done
    return (*done, LetGo(endings.hook, await_it=any(isinstance(action, GiveBack) for action in done)))


def _chosen(choice: str, decrement: bool) -> tuple[Action, ...]:
    if choice == NONE:
        return ()
    return (GiveBack(decrement),) if choice == SCALE_IN else (RunCommand(tuple(shlex.split(choice))),)


def check_choice(setting: str, text: str) -> str:
    """Returns ``text``; raises SettingsError unless it is ``none``, ``scale-in`` or a command that exists."""
    if text in (NONE, SCALE_IN):
        return text
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise SettingsError(f"{setting} {text!r}: {error}; give none, scale-in or a command") from None
    if not words or shutil.which(words[0]) is None:
        raise SettingsError(
            f"{setting} {text!r}: there is no such command; give none, scale-in or a command that can be executed"
        )
    return text


class Group(Protocol):
    """This machine's Auto Scaling group (autoscaling.Member). Each call raises AutoScalingError."""

    def leaving(self) -> bool: ...
    def give_back(self, decrement: bool) -> None: ...
    def complete_hook(self, hook: Hook) -> None: ...


class Running(Protocol):
    """A command that was started (command.SideCommand), in a group of its own."""

    def poll(self) -> Ended | None: ...
    def signal(self, number: int) -> None: ...


class Closer:
    """Does what was decided. ``hurry`` is set when the process should end now.

    ``start`` takes a command's words and environment; it raises OSError. ``turn`` is called all the time, for a
    watchdog of the main thread.
    """

    def __init__(
        self,
        group: Group,
        say: Callable[[str, str, bool], None],
        environment: Mapping[str, str],
        hurry: threading.Event,
        start: Callable[[Sequence[str], Mapping[str, str]], Running],
        turn: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._group = group
        self._say = say
        self._environment = environment
        self._hurry = hurry
        self._start = start
        self._turn = turn
        self._clock = clock

    def close(self, run: str, code: Exit, actions: tuple[Action, ...]) -> None:
        for action in actions:
            self._turn()
            self._do(run, code, action)

    def _do(self, run: str, code: Exit, action: Action) -> None:
        if isinstance(action, RunCommand):
            self._command(action.words, run, code)
        elif isinstance(action, Keep):
            pair = f"the last checkpoint ({action.pair}.*)"
            text = f"this machine is kept: {pair} is not in the store yet; the next start stores it"
            self._say("kept", text, True)
        elif isinstance(action, GiveBack):
            self._bounded(GIVE_BACK_TIME, "giving the machine back", lambda: self._give_back(action.decrement))
        else:
            patience = HOOK_TIME + (LEAVING_TIME if action.await_it else 0.0)
            self._bounded(patience, "completing the lifecycle action", lambda: self._complete_hook(action))

    def _give_back(self, decrement: bool) -> None:
        self._group.give_back(decrement)
        kept = "" if decrement else "; the group keeps its desired capacity"
        self._say("scaled-in", f"this machine was given back to its Auto Scaling group{kept}", False)

    def _complete_hook(self, action: LetGo) -> None:
        """A hook begins to wait a little after the machine is on its way out; refusals before that are expected."""
        until = self._clock() + (LEAVING_TIME if action.await_it else 0.0)
        while not self._group.leaving():
            if self._clock() >= until or self._hurry.wait(_LOOK):
                return
        until = self._clock() + HOOK_TIME / 2
        while True:
            try:
                self._group.complete_hook(action.hook)
                break
            except AutoScalingError:
                if self._clock() >= until or self._hurry.wait(_LOOK):
                    raise
        hook = action.hook
        self._say("let-go", f"told {hook.group} that it need not wait for this machine ({hook.name})", False)

    def _bounded(self, seconds: float, what: str, call: Callable[[], None]) -> None:
        """In a thread, as a name that does not resolve can take longer than any timeout that the SDK takes."""
        problem: list[str] = []

        def attempt() -> None:
            try:
                call()
            except AutoScalingError as error:
                problem.append(str(error))
            except Exception as error:
                problem.append(f"a defect in holdfast: {error!r}")

        thread = threading.Thread(target=attempt, name="ending", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no further thread: it takes the time that it takes
            attempt()
        until = self._clock() + seconds
        while thread.is_alive() and self._clock() < until:
            thread.join(min(seconds, _NAP))
            self._turn()
            if self._hurry.is_set():
                until = min(until, self._clock() + _LAST_WORDS)
        if thread.is_alive():
            problem.append("it took too long")
        for text in problem:
            self._say("ending-failed", f"{what} failed: {text}", True)

    def _command(self, words: tuple[str, ...], run: str, code: Exit) -> None:
        environment = {**self._environment, "HOLDFAST_RUN": run, "HOLDFAST_EXIT_CODE": str(int(code))}
        try:
            command = self._start(words, environment)
        except OSError as error:
            self._say("ending-failed", f"{words[0]}: {error.strerror}", True)
            return
        why = self._wait(command)
        ended = command.poll()
        if why:
            self._end(command)
            self._say("ending-failed", f"{words[0]} was ended: {why}", True)
        elif ended is not None and ended.code:
            self._say("ending-failed", f"{words[0]} failed ({ended.describe()})", True)
        else:
            self._say("ending", f"ran {words[0]}", False)

    def _wait(self, command: Running) -> str:
        """Empty when the command ended by itself, else why it must be ended."""
        until = self._clock() + COMMAND_TIME
        while command.poll() is None:
            self._turn()
            if self._hurry.wait(_NAP):
                return "holdfast was asked to stop"
            if self._clock() >= until:
                return f"it took longer than {COMMAND_TIME:.0f} s"
        return ""

    def _end(self, command: Running) -> None:
        """SIGTERM, and SIGKILL to what is left a little later: a stop leaves no process behind."""
        for number, patience in ((signal.SIGTERM, _TERM_TIME), (signal.SIGKILL, 1.0)):
            command.signal(number)
            until = time.monotonic() + patience
            while command.poll() is None and time.monotonic() < until:
                self._turn()
                time.sleep(_NAP)
