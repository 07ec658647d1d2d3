"""What a command's last lines say of its failure: a Python exception, and where it was raised."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import one_line

_PLACE = re.compile(r'  File "(?P<file>[^"]+)", line (?P<line>\d+)(, in .*)?')
_ERROR = re.compile(r"(?P<kind>[A-Za-z_][\w.]*)(: .*)?")
_BEGUN = "Traceback (most recent call last)"
_FOREIGN = re.compile(rf"/(site|dist)-packages/|/lib/python\d|^<|^{re.escape(str(Path(__file__).parents[2]))}/")
_IGNORED = "Exception ignored in"  # said as an interpreter shuts down, and no reason for its end
_EARLY_END = "exit 0"
# They come of the script and its files: the same exception at the same place will come again. Errors of a network, a
# disk or a device (ConnectionError, OSError, RuntimeError …) are not here: they may pass.
_OF_THE_SCRIPT = {
    "AssertionError",
    "AttributeError",
    "FileNotFoundError",
    "ImportError",
    "IndexError",
    "KeyError",
    "ModuleNotFoundError",
    "NameError",
    "NotImplementedError",
    "SyntaxError",
    "TypeError",
    "UnboundLocalError",
    "ValueError",
    "ZeroDivisionError",
    _EARLY_END,
}


@dataclass(frozen=True)
class Failure:
    """``kind`` is the exception's class, ``place`` the file and line that raised it; ``text`` is for people, and names
    the last line of the script's own on the way there.
    """

    kind: str
    place: str
    text: str

    def repeats(self, before: Failure | None) -> bool:
        """Is it the same one as ``before``, and one that will come again?"""
        return before is not None and (self.kind, self.place) == (before.kind, before.place) and self.is_of_the_script

    @property
    def is_of_the_script(self) -> bool:
        return self.kind in _OF_THE_SCRIPT


def failure_in(lines: Sequence[str]) -> Failure | None:
    """The exception of the last traceback in ``lines``, if it is there whole."""
    lines = list(itertools.takewhile(lambda line: not line.startswith(_IGNORED), lines))
    places = [(at, match) for at, line in enumerate(lines) if (match := _PLACE.fullmatch(line.rstrip()))]
    if not places:
        return None
    last, place = places[-1]
    error = next((line.rstrip() for line in lines[last + 1 :] if line.strip() and not line.startswith(" ")), "")
    match = _ERROR.fullmatch(error)
    if match is None:
        return None
    shown = _in_the_script(lines, places) or place
    where = f"{os.path.basename(shown['file'])}, line {shown['line']}"
    return Failure(match["kind"], f"{place['file']}:{place['line']}", one_line(f"{error} ({where})", 200))


def _in_the_script(lines: Sequence[str], places: Sequence[tuple[int, re.Match[str]]]) -> re.Match[str] | None:
    """The last place of the last traceback that is in a file of the user's: there a person looks first."""
    begun = max((at for at, line in enumerate(lines) if line.startswith(_BEGUN)), default=0)
    return next((found for at, found in reversed(places) if at > begun and not _FOREIGN.search(found["file"])), None)


def early_end(step: int, text: str) -> Failure:
    """An exit code of 0 that is no end of the training, at that step: of an exception that the script caught, say."""
    return Failure(_EARLY_END, f"step {step}", text)
