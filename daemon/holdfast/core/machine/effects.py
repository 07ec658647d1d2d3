"""What the supervisor is to do: the effects that core/machine/table.py decides for and supervisor/loop.py performs."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import Exit


@dataclass(frozen=True)
class Restore:
    """Take the lease, find the newest valid pair, bring it here. Answered by Restored or RestoreFailed, and before
    that by Ready where the command need not wait for the pair.

    The pairs to ``avoid`` are passed over: the command died of them. ``only_store`` says why nothing is started: then
    only what an earlier start left here is stored.
    """

    avoid: frozenset[str] = frozenset()
    only_store: str = ""


@dataclass(frozen=True)
class Spawn:
    """Start the command. Answered by Spawned or SpawnFailed."""


@dataclass(frozen=True)
class AskSave:
    reason: str


@dataclass(frozen=True)
class AskStop:
    """Ask the training loop to save and to exit."""

    reason: str


@dataclass(frozen=True)
class DumpStacks:
    """Have the training process write its stacks to the log, if it can, and record the processes of its tree.

    A stopped process of the tree is woken: it may continue.
    """


@dataclass(frozen=True)
class Terminate:
    """SIGTERM to the child's process group."""


@dataclass(frozen=True)
class Kill:
    """SIGKILL to the child's whole tree."""


@dataclass(frozen=True)
class Upload:
    """Upload a pair to the store, trying until it succeeds.

    Answered by PairStored, PairLost, PairSkipped or PairLeftBehind.
    """

    name: str


@dataclass(frozen=True)
class DropUploads:
    """Store nothing more."""


@dataclass(frozen=True)
class ScanSpool:
    """Answered by SpoolScanned."""


@dataclass(frozen=True)
class Finalize:
    """Store the logs and, if ``complete``, mark the run complete. Answered by Finalized."""

    complete: bool


@dataclass(frozen=True)
class Say:
    """Report an event: a kind for programs, a text for people. ``seconds`` is the fact of that name, if it has one."""

    kind: str
    text: str
    warning: bool = False
    seconds: float | None = None


@dataclass(frozen=True)
class ExitWith:
    code: Exit


Effect = (
    Restore
    | Spawn
    | AskSave
    | AskStop
    | DumpStacks
    | Terminate
    | Kill
    | Upload
    | DropUploads
    | ScanSpool
    | Finalize
    | Say
    | ExitWith
)
