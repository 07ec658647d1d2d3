"""How commands show results: tables for people, lines for pipes, JSON for programs.

On a terminal rich draws tables. In a pipe nothing is cut, wrapped or coloured: columns of plain text, a line a row.
Results go to standard output; warnings, errors and progress go to standard error.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

Advance = Callable[[str, int], None]
_WIDE = 10_000
_MOST_DRAWN = 2000  # rich is slow on more


class Column(NamedTuple):
    """``right`` is for numbers. ``style`` is rich's; ``styles`` are those of cells with such a text."""

    title: str
    right: bool = False
    style: str = ""
    styles: Mapping[str, str] = MappingProxyType({})


def clean(text: str) -> str:
    """Text from a store, with control characters escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """Shows rows of text on standard output."""
    rows = [[clean(cell) for cell in row] for row in rows]
    if sys.stdout.isatty() and len(rows) <= _MOST_DRAWN:
        _draw(columns, rows)
    else:
        out("\n".join(plain(columns, rows)))


def plain(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table without any decoration, with two spaces or more between its columns."""
    lines = [[column.title for column in columns], *([cell or "-" for cell in row] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    return [
        "  ".join(
            cell.rjust(width) if column.right else cell.ljust(width)
            for cell, width, column in zip(line, widths, columns, strict=True)
        ).rstrip()
        for line in lines
    ]


def _draw(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    drawn = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        drawn.add_column(
            column.title, justify="right" if column.right else "left", style=column.style, overflow="fold",
            no_wrap=column.right,
        )  # fmt: skip
    for row in rows:
        drawn.add_row(*(Text(cell, column.styles.get(cell, "")) for cell, column in zip(row, columns, strict=True)))
    Console(highlight=False).print(drawn)


def unwrapped(stderr: bool = False, soft_wrap: bool = False) -> Console:
    """A console for lines that come one by one. In a pipe it is so wide that nothing is wrapped."""
    console = Console(stderr=stderr, highlight=False, soft_wrap=soft_wrap)
    if not console.is_terminal:
        console.width = _WIDE
    return console


def out(text: str) -> None:
    """Writes text and a newline to standard output. A reader that is gone, as ``head`` is early, is no error."""
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def as_json(document: Any) -> None:
    out(json.dumps(document, indent=1, allow_nan=False))


def say(text: str, below: Sequence[str] = ()) -> None:
    """A line for people, beside the results; the lines ``below`` it are indented."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write("\n  ".join(["holdfast: " + clean(text), *map(clean, below)]) + "\n")
        sys.stderr.flush()


def warn(text: str, below: Sequence[str] = ()) -> None:
    say(f"warning: {text}", below)


@contextlib.contextmanager
def progress(title: str, total: int) -> Iterator[Advance]:
    """Gives a function that takes the current file's name and the bytes done since. Silent unless on a terminal."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield lambda text, done: None
        return
    columns = (
        TextColumn(title),
        BarColumn(),
        DownloadColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[at]}"),
    )
    with Progress(*columns, console=console, transient=True) as shown:
        task = shown.add_task(title, total=total, at="")
        yield lambda text, done: shown.update(task, advance=done, at=escape(clean(text)))
