"""Between supervisor and command: a small process that outlives a supervisor that was killed, to end what it left.

Called as ``python -I -S guardian.py LINK COMMAND…``; LINK is one end of a socket pair, and the supervisor alone has the
other. The signals that are forwarded are blocked until there is a command to forward them to: who calls this blocks
them, so that one which comes during the start is neither lost nor this process' end. As the subreaper of everything
below, this process inherits what the command leaves behind, whatever session it is in. When the supervisor dies,
however it dies, LINK comes to its end and everything below is killed. Needs no rights.

When the command ends, so does what it left behind: SIGTERM, a moment, SIGKILL. Then this process ends as the command
did, by the same code or the same signal. Over LINK it says the command's pid in a line, then "o" for each orphan that
it reaped, "l" for each process that a command left running which ended with 0, and "s" for each signal that it was
sent to end the command; or, if the command cannot be started, "!" and the error's number.
"""

import contextlib
import ctypes
import os
import resource
import select
import signal
import socket
import sys
import time

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_LEFTOVERS_SECONDS = 1.0
_OWN_END_SECONDS = 0.5  # for what ends by itself once the command is gone, as multiprocessing's helpers do
_KILL_SECONDS = 10.0
_LEAST_PAUSE, _LONGEST_PAUSE = 0.001, 0.1


def main() -> None:
    link, command = socket.socket(fileno=int(sys.argv[1])), sys.argv[2:]
    link.set_inheritable(False)
    link.setblocking(False)
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    wakeup, woken = os.pipe()
    for descriptor in (wakeup, woken):
        os.set_blocking(descriptor, False)
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    try:
        child = _start(command)
    except OSError as error:
        with contextlib.suppress(OSError):
            link.send(f"!{error.errno}\n".encode())
        os._exit(1)
    with contextlib.suppress(OSError):
        link.send(f"{child}\n".encode())
    for number in _FORWARDED:
        signal.signal(number, lambda number, frame: _forward(child, number, link))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
    _end_as(_watch(child, link, wakeup))


def _start(command: list[str]) -> int:
    """The command's pid, once it runs. Raises OSError if it cannot be started."""
    guardian, (reading, writing) = os.getpid(), os.pipe()
    child = os.fork()
    if child == 0:
        _become(command, guardian, writing)
    os.close(writing)
    with open(reading, "rb") as pipe:
        refused = pipe.read()  # ends without a byte when the command's program takes the child's place
    if refused:
        os.waitpid(child, 0)
        raise OSError(int(refused), os.strerror(int(refused)))
    return child


def _become(command: list[str], guardian: int, refused: int) -> None:
    """In the child. Python ignores SIGPIPE and SIGXFSZ; the command gets the defaults."""
    signal.set_wakeup_fd(-1)
    for number in (*_FORWARDED, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
    os.setsid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # should the guardian be killed
    if os.getppid() != guardian:
        os._exit(1)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        os.write(refused, str(error.errno).encode())
    os._exit(1)


def _watch(child: int, link: socket.socket, wakeup: int) -> int:
    """The command's wait status, once nothing is left of it and of what it started."""
    poll = select.poll()
    poll.register(link, select.POLLIN)
    poll.register(wakeup, select.POLLIN)
    status = None
    while status is None:
        ready = {descriptor for descriptor, _ in poll.poll()}
        if wakeup in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(wakeup, 4096)
        if link.fileno() in ready and not _alive(link):
            return _kill_all(child, link) or 0
        status = _reap(child, link)
    if status == 0:
        _report_leftovers(child, link)
    _end_leftovers(child, link)
    return status


def _alive(link: socket.socket) -> bool:
    """Does the supervisor hold its end? It never says anything."""
    try:
        return bool(link.recv(4096))
    except BlockingIOError:
        return True
    except OSError:
        return False


def _reap(child: int, link: socket.socket) -> int | None:
    """Takes every wait status that there is; the child's is returned, the others are orphans'."""
    found = None
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == child:
                found = status
                continue
            with contextlib.suppress(OSError):
                link.send(b"o")
    return found


def _end_leftovers(child: int, link: socket.socket) -> None:
    for pid in _descendants():
        _signal(pid, signal.SIGTERM)
        _signal(pid, signal.SIGCONT)
    _wait_for_descendants(_LEFTOVERS_SECONDS, child, link)
    _kill_all(child, link)


def _report_leftovers(child: int, link: socket.socket) -> None:
    """A command that ends well, and leaves something that does not, may be one that sent its work to the background."""
    _wait_for_descendants(_OWN_END_SECONDS, child, link)
    with contextlib.suppress(OSError):
        link.send(b"l" * len(_descendants()))


def _wait_for_descendants(seconds: float, child: int, link: socket.socket) -> None:
    until, pause = time.monotonic() + seconds, _LEAST_PAUSE
    while _descendants() and time.monotonic() < until and _alive(link):
        time.sleep(pause)
        pause = min(_LONGEST_PAUSE, 2 * pause)
        _reap(child, link)


def _kill_all(child: int, link: socket.socket) -> int | None:
    """Until no process is left: one that is killed may have started another meanwhile, which is inherited here.

    What cannot be killed (another user's, or stuck in a broken disk) is given up after a while.
    """
    status, pause, until = None, _LEAST_PAUSE, time.monotonic() + _KILL_SECONDS
    while (below := _descendants()) and time.monotonic() < until:
        for pid in below:
            _signal(pid, signal.SIGKILL)
        time.sleep(pause)
        pause = min(_LONGEST_PAUSE, 2 * pause)
        found = _reap(child, link)
        status = found if found is not None else status
    return status


def _descendants() -> list[int]:
    """Everything below this process, as /proc has it; nothing can leave, as this is a subreaper."""
    parents: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{entry}/stat", "rb") as file:
                parent = int(file.read().rpartition(b")")[2].split()[1])  # a name may hold blanks and brackets
                parents.setdefault(parent, []).append(int(entry))
    found, look = [], [os.getpid()]
    while look:
        children = parents.get(look.pop(), [])
        found += children
        look += children
    return found


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _forward(pid: int, number: int, link: socket.socket) -> None:
    with contextlib.suppress(OSError):
        link.send(b"s")
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _end_as(status: int) -> None:
    """Ends this process so that its wait status is the command's; a core file is the command's affair."""
    if os.WIFSIGNALED(status):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 1)


if __name__ == "__main__":
    main()
