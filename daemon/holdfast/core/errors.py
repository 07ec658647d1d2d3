"""The errors of holdfast and the one table of exit codes.

Other errors (botocore's, the operating system's, pickle's) are translated into these in the module where they arise.
"""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes, numbered as in BSD's sysexits.h. ``verify`` and ``pull`` exit with DAMAGED, ``run`` never does."""

    COMPLETE = 0
    DAMAGED = 65
    FENCED = 69
    FAILED = 70
    UNSTORED = 74
    STOPPED = 75
    USAGE = 78


EXIT_MEANINGS: dict[Exit, str] = {
    Exit.COMPLETE: "training is complete, and all checkpoints and artifacts are in the store",
    Exit.STOPPED: "stopped early; the state is in the store; run again to go on",
    Exit.UNSTORED: (
        "stopped early and the last state could not be stored; it is still in the work dir; or the training is "
        "complete and the store refuses to have it marked so"
    ),
    Exit.FENCED: "another holder kept the run's lease for longer than --lease-wait, or took it over",
    Exit.USAGE: "bad settings or arguments, or an interpreter that --auto cannot reach",
    Exit.FAILED: (
        "the training command failed before its first batch ever, kept failing without progress, or trained without "
        "ever saving; or --auto found nothing to make resumable; or none of the run's checkpoints is valid; or the run "
        "is older than --max-hours"
    ),
}


class HoldfastError(Exception):
    """The base of holdfast's own errors. The text is one line for a person."""

    exit_code = Exit.FAILED


class SettingsError(HoldfastError):
    """A setting or an argument is wrong; the text names it and the remedy."""

    exit_code = Exit.USAGE


class InvalidPair(HoldfastError):
    """A checkpoint that must not be used: damaged, hostile or of an unknown format.

    Its text may quote the file, so it is cut to one short line without control characters.
    """

    def __init__(self, text: str) -> None:
        super().__init__(one_line(text))

    def of(self, name: object) -> InvalidPair:
        """The same without the pair's name, for a caller that adds it."""
        return InvalidPair(str(self).removeprefix(f"{name}: "))


def one_line(text: str, most: int = 300) -> str:
    """Text from elsewhere, as one line that is safe to show on a terminal or in a log: no control characters."""
    shown = "".join(c if c.isprintable() else "?" for c in text[: most + 1])
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


class NoValidPair(HoldfastError):
    """A run has checkpoints and none of them is valid."""


class Mismatch(HoldfastError):
    """A valid checkpoint that does not fit the model that the script builds, or its data."""


class Fenced(HoldfastError):
    """The run's lease belongs to another holder."""

    exit_code = Exit.FENCED


class RanksMissing(HoldfastError):
    """Other machines of the gang did not come, or cannot begin. Nothing is lost: the next start waits again."""

    exit_code = Exit.STOPPED


class Busy(HoldfastError):
    """Another process on this machine uses the run's folder."""

    exit_code = Exit.FENCED


class Cancelled(HoldfastError):
    """Work that was abandoned because a stop was requested."""

    exit_code = Exit.STOPPED


class IllegalTransition(HoldfastError):
    """An event that cannot happen in the present phase: a defect in the caller."""


class SourceError(HoldfastError):
    """A local file that was to be stored cannot be read. It is no error of the store: another file may be stored."""


class StoreError(HoldfastError):
    """What every store raises, and nothing else."""


class NotFound(StoreError):
    """There is no object of that key."""


class Conflict(StoreError):
    """A conditional write was refused: the object exists already, or was changed."""


class Transient(StoreError):
    """The same call may succeed later: a timeout, a reset, throttling, a full disk."""


class Corrupted(Transient):
    """Bytes that were read or sent are not those that were recorded before; nothing was stored."""


class Permanent(StoreError):
    """The same call will fail until a person changes something: rights, a name, credentials.

    ``refusal`` is what the store said, and ``remedy`` the setting that cures it, empty where none is known to.
    """

    def __init__(self, refusal: str, remedy: str = "") -> None:
        refusal = refusal.rstrip(".") if remedy else refusal
        super().__init__(f"{refusal}; {remedy}" if remedy else refusal)
        self.refusal = refusal
        self.remedy = remedy


class TooLarge(Permanent):
    """An object is larger than the reader's limit. ``tag`` is the object's, empty if unknown."""

    def __init__(self, text: str, tag: str = "") -> None:
        super().__init__(text)
        self.tag = tag
