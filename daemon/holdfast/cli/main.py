"""The ``holdfast`` command: its subcommands, and errors as one line and an exit code."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import threading
from collections.abc import Sequence
from typing import NoReturn

import click
from click.core import ParameterSource

from .. import __version__
from ..core.errors import Exit, HoldfastError, Permanent, StoreError
from ..core.redact import Redactor
from ..supervisor.report.systemd import is_journal

_PLAIN = {"a valid integer range": "a whole number", "Recognized values: , ": "Recognized values: "}
_NAMES = ("run", "status", "notice", "new", "ls", "verify", "pull", "prune", "rm", "report", "doctor", "demo", "drill")


class _Commands(click.Group):
    """Imports a command's module when the command is used, so that ``run`` starts without loading the others."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(_NAMES)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in _NAMES:
            return None
        found: click.Command = getattr(importlib.import_module(f".{name}", __package__), name)
        return found


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, message="holdfast %(version)s")
def cli() -> None:
    """Training runs that outlive their machines."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Every error is one line and a code of the table (core/errors.py)."""
    try:
        code = cli.main(
            args=list(sys.argv[1:] if arguments is None else arguments), prog_name="holdfast", standalone_mode=False
        )
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx is not None else "", err=True)
        code = int(Exit.USAGE)
    except click.UsageError as error:
        code = _complain(_usage(error), Exit.USAGE)
    except click.exceptions.Exit as error:
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = _complain("interrupted", Exit.STOPPED)
    except StoreError as error:
        code = _complain(str(error), Exit.USAGE if isinstance(error, Permanent) else Exit.UNSTORED)
    except HoldfastError as error:
        code = _complain(str(error), error.exit_code)
    # A pipe that nobody reads must not block the exit.
    last_words = threading.Thread(target=_flush, daemon=True)
    last_words.start()
    last_words.join(1.0)
    # An abandoned transfer may still hold a thread, and the interpreter would wait for it.
    os._exit(int(code or 0))


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or never there
            stream.flush()


def _usage(error: click.UsageError) -> str:
    command = error.ctx.command_path if error.ctx is not None else "holdfast"
    text = error.format_message().replace("\n", " ").rstrip(".")
    for clicks, plain in _PLAIN.items():
        text = text.replace(clicks, plain)
    if _from_file(error):
        text = f"in the settings file (--config): {text}"
    if isinstance(error, click.MissingParameter) and error.ctx is not None and _takes_a_command(error.ctx.command):
        text += "; options stand before the command, and '--' between them"
    if isinstance(error, click.NoSuchOption) and error.option_name == "--run" and _takes_a_run(error.ctx):
        text = f"No such option '--run'; give the run as an argument: {command} NAME"  # click means --dry-run
    return f"{text} (see {command} --help)"


def _takes_a_run(context: click.Context | None) -> bool:
    """As an argument; ``run``, ``status`` and ``doctor`` have an option for it."""
    parameters = [] if context is None else context.command.params
    return any(isinstance(p, click.Argument) and p.metavar in ("RUN", "[RUN]") for p in parameters)


def _takes_a_command(command: click.Command) -> bool:
    return any(isinstance(parameter, click.Argument) and parameter.nargs == -1 for parameter in command.params)


def _from_file(error: click.UsageError) -> bool:
    parameter = getattr(error, "param", None)
    if error.ctx is None or parameter is None or parameter.name is None:
        return False
    return error.ctx.get_parameter_source(parameter.name) is ParameterSource.DEFAULT_MAP


def _complain(text: str, code: int) -> int:
    level = "<3>" if is_journal(sys.stderr, os.environ) else ""
    print(f"{level}holdfast: error: {Redactor(os.environ).text(text)}", file=sys.stderr)  # noqa: T201
    return code
