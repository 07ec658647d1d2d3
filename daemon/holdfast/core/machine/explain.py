"""What the supervisor does in which phase, as the machine itself answers: docs/supervision.md is made of it.

Nothing here is typed from memory: each table puts the same questions to all of core/machine/scenarios.py, and describes
the state and the effects that come back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from ..errors import EXIT_MEANINGS
from . import effects as todo
from .diagram import diagram
from .events import (
    ChildExited,
    Event,
    Finalized,
    LeaseLost,
    NoticeStands,
    PairUnusable,
    Progressed,
    RebalanceRecommended,
    SpoolScanned,
    Stalled,
    Tick,
)
from .scenarios import (
    NEXT,
    NOTHING,
    PAIR,
    RESUMED,
    SAVED,
    SITUATIONS,
    START,
    STOP,
    TAIL,
    Situation,
    after_events,
    time_of,
)
from .table import TABLE, Phase, Rules, State, Step, step

# --- in words ------------------------------------------------------------------------------------------------------

_WORDS: dict[type[todo.Effect], Callable[..., str]] = {
    todo.Restore: lambda effect: "fetches the newest pair",
    todo.Spawn: lambda effect: "starts the command",
    todo.AskSave: lambda effect: "asks the script to save",
    todo.AskStop: lambda effect: "asks the script to save and to stop",
    todo.DumpStacks: lambda effect: "the stacks of its threads go to the log; what is stopped is woken",
    todo.Terminate: lambda effect: "SIGTERM to the command and all below it",
    todo.Kill: lambda effect: "SIGKILL to the command and all below it",
    todo.Upload: lambda effect: "stores the pair",
    todo.DropUploads: lambda effect: "stores nothing more",
    todo.ScanSpool: lambda effect: "looks for pairs that the store lacks",
    todo.Finalize: lambda effect: "marks the run complete" if effect.complete else "stores the logs",
    todo.Say: lambda effect: "",
    todo.ExitWith: lambda effect: f"**exit {int(effect.code)}**",
}


def told(before: State, result: Step, now: float = 0.0) -> str:
    """One step in words: what is done, the times that it sets, and the phase that follows if it is another one."""
    after, done = result
    words = [text for effect in done if (text := _WORDS[type(effect)](effect))]
    words += [
        f"{what} {at - now:.0f} s"
        for what, at, old in (
            ("SIGTERM after", after.term_at, before.term_at),
            ("SIGKILL after", after.kill_at, before.kill_at),
            ("gives up after", after.deadline, before.deadline),
            ("again after", after.retry_at, before.retry_at),
        )
        if at is not None and at != old
    ]
    if after.phase is not before.phase and not after.ended:
        words.append(f"→ *{after.phase.value}*")
    return "; ".join(words) or "no change"


def _ask(state: State, event: Event) -> str:
    now = time_of(state, event)
    return told(state, step(state, event, now), now) if (state.phase, type(event)) in TABLE else "cannot happen"


# --- the tables ----------------------------------------------------------------------------------------------------


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _situations(ask: Callable[[Situation], Sequence[str]], *heads: str) -> str:
    """Situations with the same answers share a row."""
    rows: dict[tuple[str, ...], list[Situation]] = {}
    for one in SITUATIONS:
        rows.setdefault(tuple(ask(one)), []).append(one)
    return _table(
        ("when", *heads),
        [("<br>".join(_where(one.phase, one.words) for one in alike), *cells) for cells, alike in rows.items()],
    )


def _where(phase: Phase, words: str) -> str:
    return f"*{phase.value}*: {words}"


def signals() -> str:
    def three(one: Situation) -> list[str]:
        state, cells = one.state(), []
        for _ in range(3):
            cells.append("-" if state.ended else _ask(state, STOP))
            state = state if state.ended else step(state, STOP, time_of(state, STOP))[0]
        return cells

    return _situations(three, "the first", "the second", "the third")


NOTICES = (
    ("spot terminate or stop, 120 s ahead", NoticeStands("spot notice", 120.0)),
    ("the same, seen 30 s ahead", NoticeStands("spot notice", 30.0)),
    ("the same, seen when its time is over", NoticeStands("spot notice", 0.0)),
    ("spot hibernate, or Auto Scaling: without a deadline", NoticeStands("Auto Scaling", None)),
)


def notices() -> str:
    return _situations(lambda one: [_ask(one.state(), event) for _, event in NOTICES], *(words for words, _ in NOTICES))


def rebalance() -> str:
    choices = ("save", "drain", "ignore")
    return _situations(
        lambda one: [_ask(one.state(Rules(rebalance=choice)), RebalanceRecommended()) for choice in choices],
        *(f"`--rebalance {choice}`" for choice in choices),
    )


def lease_lost() -> str:
    return _situations(lambda one: [_ask(one.state(), LeaseLost("another"))], "another holder takes the lease over")


def hangs() -> str:
    return _situations(lambda one: [_ask(one.state(), Stalled(1800.0))], "the command hangs")


STOPS = (
    ("a signal", STOP),
    ("a notice, 60 s ahead", NoticeStands("spot notice", 60.0)),
    ("a notice, 30 s ahead", NoticeStands("spot notice", 30.0)),
    ("a notice, no time left", NoticeStands("spot notice", 0.0)),
)


def drains() -> str:
    """A command that does not answer, as time passes."""
    rows = [
        (words, what, "<br>".join(_timeline(after_events(State(), *history)[0], event)))
        for words, history in (("a script that uses holdfast", (*SAVED, Progressed(2))), ("any other command", START))
        for what, event in STOPS
    ]
    return _table(("what runs", "stopped by", "what is done if it does not answer"), rows)


def _timeline(before: State, event: Event) -> Iterator[str]:
    state, done = step(before, event, 0.0)
    yield f"at once: {_done(state, done)}"
    while (at := state.next_time()) is not None:
        state, done = step(state, Tick(), at)
        killed = not state.ended and any(isinstance(effect, todo.Kill) for effect in done)
        yield f"{at:.0f} s: {_done(state, done)}{f', then {_ended(state, _KILLED)}' if killed else ''}"
        if killed:
            return


def _done(state: State, done: tuple[todo.Effect, ...]) -> str:
    """The effects alone."""
    return told(state, (_timeless(state), done))


def _timeless(state: State) -> State:
    return replace(state, term_at=None, kill_at=None, deadline=None)


_KILLED = ChildExited(137, how="killed by SIGKILL")
ENDS = (
    ("exit 0", ChildExited(0)),
    ("exit 75", ChildExited(75)),
    ("exit 74", ChildExited(74)),
    ("another exit code", ChildExited(1)),
    ("a signal (128 + n)", ChildExited(139, how="killed by SIGSEGV")),
    ("SIGKILL", _KILLED),
    ("out of memory", ChildExited(137, how="killed by SIGKILL: out of memory")),
)

WHERE = (
    ("before its first batch ever", Phase.STARTING, START),
    ("in a later start, before its first batch", Phase.STARTING, RESUMED),
    ("while it trains", Phase.RUNNING, SAVED),
    ("too many crashes without a new batch", Phase.RUNNING, (*SAVED, *(ChildExited(1), Tick(), *RESUMED[1:]) * 5)),
    ("its checkpoint cannot be read", Phase.STARTING, (*START, PairUnusable(PAIR, "damaged"))),
    ("asked to stop, and saved its last batch", Phase.DRAINING, (*SAVED, STOP)),
    ("asked to stop, its last batch not saved", Phase.DRAINING, (*SAVED, Progressed(2), STOP)),
    ("asked to stop in the script's tail", Phase.DRAINING, (*TAIL, STOP)),
    ("asked to stop before it trained", Phase.DRAINING, (*START, STOP)),
    ("another machine has the lease", Phase.DRAINING, (*SAVED, LeaseLost("another"))),
)


def _ended(state: State, end: ChildExited) -> str:
    """The step; if the run ends by it, its exit code with all stored, and with a pair that cannot be stored."""
    after, done = step(state, end, 0.0)
    if after.ended:
        return told(state, (after, done))
    if after.phase is not Phase.FLUSHING:
        return "starts it again, later" if after.phase is Phase.BACKOFF else told(state, (_timeless(after), done))
    stored = after_events(after, SpoolScanned(NOTHING), Finalized())[0].exit_code
    unstored = after_events(after, SpoolScanned(frozenset({NEXT})), STOP, Tick())[0].exit_code
    assert stored is not None
    assert unstored is not None
    codes = f"**exit {int(stored)}**"
    return codes if unstored is stored else f"{codes}, or **{int(unstored)}** if its last pair cannot be stored"


def ends() -> str:
    """Ends that are treated alike share a column."""
    columns: dict[tuple[str, ...], list[str]] = {}
    for words, end in ENDS:
        cells = tuple(_ended(after_events(State(), *history)[0], end) for _, _, history in WHERE)
        columns.setdefault(cells, []).append(words)
    rows = [
        (_where(phase, words), *(cells[number] for cells in columns)) for number, (words, phase, _) in enumerate(WHERE)
    ]
    return _table(("when", *(", ".join(heads) for heads in columns.values())), rows)


def codes() -> str:
    return _table(("code", "meaning"), [(str(int(code)), meaning) for code, meaning in EXIT_MEANINGS.items()])


PARTS: dict[str, Callable[[], str]] = {
    "diagram": diagram,
    "signals": signals,
    "notices": notices,
    "rebalance": rebalance,
    "drains": drains,
    "ends": ends,
    "hangs": hangs,
    "lease": lease_lost,
    "codes": codes,
}
