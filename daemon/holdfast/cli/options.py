"""Options that several commands share, and where their values come from.

A setting comes from its flag, else from ``HOLDFAST_<NAME>``, else from the TOML file, else from its default.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click

from ..auto.environment import LOOK_VARIABLE
from ..core.errors import SettingsError
from ..core.policy import Best, Cadence, Retention
from ..core.wire import RUN_DIR_VARIABLE, SOCKET_VARIABLE
from ..store import Store, StoreSettings, open_store
from ..supervisor.settings import RENDEZVOUS

DEFAULT_CONFIG = Path("/etc/holdfast/holdfast.toml")
F = TypeVar("F", bound=Callable[..., Any])


def option(name: str, *parameter: str, **attributes: Any) -> Callable[[F], F]:
    """A click option that also reads HOLDFAST_<NAME>. ``parameter`` is its name in Python, if that differs."""
    return click.option(
        name, *parameter, envvar=_variable(name), **{"show_envvar": True, "show_default": True, **attributes}
    )


def seconds(name: str, default: float, text: str, least: float = 0.0) -> Callable[[F], F]:
    return option(name, type=_Number(least, 1e7), default=default, metavar="SECONDS", help=text)


def hours(name: str, text: str) -> Callable[[F], F]:
    return option(name, type=_Number(0.0, 1e6, unit="hours"), metavar="HOURS", help=text)


def price(name: str, text: str) -> Callable[[F], F]:
    return option(name, type=_Number(0.0, 1e6, unit="money"), metavar="PRICE", help=text)


class _Number(click.FloatRange):
    """A range that refuses NaN."""

    def __init__(self, least: float, most: float, unit: str = "seconds") -> None:
        super().__init__(least, most)
        self.name = f"number of {unit}"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if number != number:
            self.fail("give a number", param, ctx)
        return number


def config_option(function: F) -> F:
    return click.option(
        "--config",
        envvar="HOLDFAST_CONFIG",
        type=click.Path(path_type=Path),
        is_eager=True,
        expose_value=False,
        callback=_load_config,
        help=f"TOML file with settings, named like the flags.  [env var: HOLDFAST_CONFIG; default: {DEFAULT_CONFIG}]",
    )(function)


def store_options(function: F) -> F:
    return _store_options(function, required=True)


def optional_store_options(function: F) -> F:
    """For a command that has something to do without a store, too."""
    return _store_options(function, required=False)


def _store_options(function: F, required: bool) -> F:
    for decorate in reversed(
        [
            option("--store", required=required, metavar="URI", help="s3://bucket/prefix, file:///path or a path."),
            option("--endpoint-url", metavar="URL", help="An S3-compatible store instead of Amazon's."),
            option(
                "--sse",
                type=click.Choice(["AES256", "aws:kms", "aws:kms:dsse"]),
                help="Ask for this server-side encryption, where a bucket's policy demands that it is asked for.",
            ),
            option("--sse-kms-key-id", metavar="KEY", help="Encrypt with this KMS key (--sse aws:kms)."),
            option("--expected-bucket-owner", metavar="ACCOUNT", help="Refuse a bucket of another AWS account."),
            option(
                "--request-checksum",
                type=click.Choice(["when_supported", "when_required"]),
                default="when_supported",
                help="Send checksums always, or only where S3 requires them (older S3-compatible stores).",
            ),
        ]
    ):
        function = decorate(function)
    return function


def auto_options(function: F) -> F:
    """What makes a script resumable that does not say so itself, and how often a training saves."""
    for decorate in reversed(
        [
            option("--auto", is_flag=True, help="Make each Keras fit of the command resumable, as the script is."),
            option(
                "--every",
                default="epoch",
                metavar="epoch|N|TIME|auto",
                help="When to save besides each epoch's end, where the script does not say it: after so many batches"
                " (500) or so much time (90s, 10m, 2h); auto: as often as it costs 1 % of the time (auto:0.5%: half).",
            ),
        ]
    ):
        function = decorate(function)
    return function


def gang_options(function: F) -> F:
    """Which of several machines that train one model together this one is."""
    for decorate in reversed(
        [
            option(
                "--rank",
                type=click.IntRange(0),
                metavar="N",
                help="This machine's number among those that train one model together, from 0.  [default: what started"
                " them says it: docs/many-machines.md]",
            ),
            option("--ranks", type=click.IntRange(1), metavar="N", help="How many they are; 1: it trains alone."),
            option(
                "--rendezvous",
                type=click.Choice(RENDEZVOUS),
                default="environment",
                help="Who tells the command where the others are: what started them; or holdfast, by the store.",
            ),
        ]
    ):
        function = decorate(function)
    return function


def checked_interval(every: str) -> str:
    """Raises SettingsError unless it is one that ``--every`` takes."""
    try:
        Cadence.parse(every)
    except SettingsError:
        raise SettingsError(
            f"--every {every!r}: give 'epoch', a number of batches (500), a time (90s, 10m, 2h), 'auto' or 'auto:0.5%'"
        ) from None
    return every


def watch_options(function: F) -> F:
    """The options of ``holdfast run`` for monitoring it."""
    for decorate in reversed(
        [
            option(
                "--metrics-port", type=click.IntRange(0, 65535), default=0, help="Serve /metrics and /healthz; 0: off."
            ),
            option("--metrics-host", default="127.0.0.1", metavar="ADDRESS", help="Where to serve them."),
            option("--log-format", type=click.Choice(["text", "json"]), default="text", help="holdfast's own lines."),
            option("--notify-url", metavar="URL", help="POST JSON here on an interruption, a failure, a completion."),
            option(
                "--ping-url",
                metavar="URL",
                help="GET it each minute in which a batch was done, URL/start at the start, URL/fail at a failure.",
            ),
            option(
                "--termination-message",
                type=click.Path(path_type=Path, dir_okay=False),
                metavar="FILE",
                help="Write there how it ended.  [default: Kubernetes' /dev/termination-log, where there is one]",
            ),
        ]
    ):
        function = decorate(function)
    return function


def keep_best(text: str) -> Callable[[F], F]:
    text += ": the least (:min) or the greatest (:max). Keras' losses, errors, accuracies and their like need neither."
    return option("--keep-best", metavar="METRIC[:min|:max]", help=text)


def retention(last: int | None, every: int | None, best: str | None) -> Retention:
    """Raises SettingsError for a metric that cannot be used."""
    return Retention(last, every, Best.of(best) if best else None)


def the_store(settings: dict[str, Any]) -> Store:
    """Takes the store options out of ``settings``."""
    uri = settings.pop("store")
    return open_store(uri, StoreSettings(**{name: settings.pop(name) for name in StoreSettings.__dataclass_fields__}))


def _load_config(context: click.Context, parameter: click.Parameter, path: Path | None) -> None:
    _warn_of_typos(context)
    if path is None and not DEFAULT_CONFIG.exists():
        return
    path = path or DEFAULT_CONFIG
    try:
        with path.open("rb") as file:
            document = tomllib.load(file)
    except OSError as error:
        raise SettingsError(f"--config {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"--config {path}: not TOML: {error}") from None
    known = _known(context)
    values = {}
    for key, value in document.items():
        setting = known.get(key.replace("_", "-"))
        if isinstance(value, dict):
            raise SettingsError(f"--config {path}: [{key}]: there are no sections; settings stand at the top")
        if setting is None:
            hint = _meant(key.replace("_", "-"), known) or " (see holdfast run --help)"
            raise SettingsError(f"--config {path}: unknown setting {key!r}{hint}")
        if isinstance(value, list):
            raise SettingsError(f"--config {path}: {key} takes one value")
        if isinstance(value, bool) != bool(setting.is_flag):
            raise SettingsError(f"--config {path}: {key} takes {'true or false' if setting.is_flag else 'a value'}")
        if not setting.is_flag and not isinstance(value, (str, int, float) if _is_numeric(setting) else str):
            kind = "a number" if _is_numeric(setting) else "a text in quotes"
            raise SettingsError(f"--config {path}: {key} takes {kind}, not {value}")
        values[setting.name] = value
    context.default_map = {**(context.default_map or {}), **values}


def _is_numeric(setting: click.Option) -> bool:
    return isinstance(setting.type, click.types.IntParamType | click.types.FloatParamType)


def _known(context: click.Context) -> dict[str, click.Option]:
    """All commands' settings that have a variable, by the flag's name: one file serves all commands."""
    root = context.find_root()
    if not isinstance(root.command, click.Group):
        return _settings_of(context.command)
    found: dict[str, click.Option] = {}
    for name in root.command.list_commands(root):
        found |= _settings_of(root.command.get_command(root, name))
    return found


def _settings_of(command: click.Command | None) -> dict[str, click.Option]:
    options = [p for p in command.params if isinstance(p, click.Option) and p.envvar] if command is not None else []
    return {p.opts[0].lstrip("-"): p for p in options if p.name != "config"}


def _warn_of_typos(context: click.Context) -> None:
    own = {_variable(name) for name in (*_settings_of(context.command), "config")}
    ours = {SOCKET_VARIABLE, RUN_DIR_VARIABLE, LOOK_VARIABLE}
    given = {name for name in os.environ if name.startswith("HOLDFAST_")} - own - ours
    known = {_variable(name) for name in _known(context)} if given else set()
    for name in sorted(given - known):
        click.echo(f"holdfast: warning: the variable {name} is not a setting{_meant(name, known | own)}", err=True)


def _meant(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean {near[0]}?" if near else ""


def _variable(flag: str) -> str:
    return "HOLDFAST_" + flag.lstrip("-").replace("-", "_").upper()
