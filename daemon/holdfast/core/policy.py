"""Policies: pure decisions. The current time and random numbers are arguments."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from .checkpoint_name import CheckpointName
from .errors import SettingsError


@dataclass(frozen=True)
class Backoff:
    """Exponential, with jitter: machines that failed together must not all retry together.

    Source: 'Exponential Backoff and Jitter', AWS Architecture Blog, 2015 ("equal jitter").
    """

    first: float = 1.0
    factor: float = 2.0
    most: float = 60.0

    def delay(self, failures: int, chance: float) -> float:
        """Seconds to wait after ``failures`` (1 or more) in a row; ``chance`` is uniform in [0, 1)."""
        whole = min(self.most, self.first * self.factor ** min(failures - 1, 32))
        return whole * (0.5 + 0.5 * chance)


_AUTO = re.compile(r"auto(?::(\d+(?:\.\d+)?)%)?", re.ASCII)
_DEFAULT_PERCENT = 1.0
_TIME = re.compile(r"(\d+(?:\.\d+)?)([smh])", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_LONGEST = 1e9


@dataclass(frozen=True)
class Cadence:
    """When a training saves without being asked: at each epoch's end, and after so many batches or seconds, or as often
    as checkpoints cost no more than a ``share`` of the training's time.
    """

    batches: int | None = None
    seconds: float | None = None
    share: float | None = None

    @classmethod
    def parse(cls, text: str) -> Cadence:
        """As ``of``, with a number of batches as text too: ``--every 500``. Raises SettingsError."""
        return cls.of(int(text) if text.isascii() and text.isdigit() else text)

    @classmethod
    def of(cls, every: str | int | timedelta) -> Cadence:
        """``"epoch"``, a number of batches, a timedelta, one as text (``90s``, ``10m``, ``2h``), or ``"auto"``: as
        often as checkpoints cost 1 % of the training's time (``"auto:0.5%"``: half of that).

        Raises SettingsError for anything else.
        """
        if every == "epoch":
            return cls()
        if isinstance(every, str) and (auto := _AUTO.fullmatch(every)):
            percent = float(auto[1] or _DEFAULT_PERCENT)
            if 0 < percent <= 50:
                return cls(share=percent / 100)
        if isinstance(every, str) and (time := _TIME.fullmatch(every)):
            every = timedelta(seconds=min(float(time[1]) * _SECONDS[time[2]], _LONGEST))
        if isinstance(every, timedelta) and every > timedelta(0):
            return cls(seconds=every.total_seconds())
        if isinstance(every, int) and not isinstance(every, bool) and every > 0:
            return cls(batches=every)
        raise SettingsError(
            f"every={every!r}: give 'epoch', a positive number of batches, a positive time (a timedelta, '10m'), "
            "'auto', or 'auto:N%' with N up to 50"
        )

    def due(self, batches: int, seconds: float) -> bool:
        """Is a save due, so many batches and seconds after the last one?"""
        if self.batches is not None:
            return batches >= self.batches
        return self.seconds is not None and seconds >= self.seconds


_LEAST = r"(.+_)?loss|error|mae|mse|rmse|mape|msle|mean_\w+_error|root_mean_squared_error|\w+_crossentropy|(\w+_)?hinge"
_GREATEST = r"acc|(.+_)?accuracy|auc|precision|recall|f1|f1_score|fbeta_score|r2_score|(\w+_)?iou"


def _greatest_is_best(metric: str) -> bool | None:
    """For the names of Keras' own metrics, also numbered ones (``auc_1``); None for all others."""
    name = re.sub(r"_\d+$", "", metric.removeprefix("val_"))
    if re.fullmatch(_LEAST, name):
        return False
    return True if re.fullmatch(_GREATEST, name) else None


@dataclass(frozen=True)
class Best:
    """The metric that the best pair is chosen by: the least value, or the greatest."""

    metric: str = "loss"
    greatest: bool = False

    @classmethod
    def of(cls, text: str) -> Best:
        """``val_loss``, ``val_accuracy``, ``reward:max``. Raises SettingsError for anything else.

        Nothing is guessed: the wrong way round, the worst pair would be kept and the best deleted.
        """
        metric, _, which = text.partition(":")
        if not metric or which not in ("", "min", "max"):
            raise SettingsError(
                f"--keep-best {text!r}: give a metric, and ':min' or ':max' for what is best, as in val_accuracy:max"
            )
        greatest = which == "max" if which else _greatest_is_best(metric)
        if greatest is None:
            raise SettingsError(f"--keep-best {metric}: say {metric}:min or {metric}:max")
        return cls(metric, greatest)

    def unknown(self, known: Iterable[str]) -> str:
        """The message for when no checkpoint has the metric; ``known`` are the metrics that they have."""
        have = ", ".join(sorted(known)) or ("none" if self.metric == "loss" else "none but the loss")
        return f"--keep-best {self.metric}: no checkpoint has that metric; they have {have}"


@dataclass(frozen=True)
class Retention:
    """Which pairs are kept: the newest ``last``, one for each ``every``-th epoch, and the ``best`` one.

    ``last`` counts pairs that a restart could use: one whose loss is not finite does not count. If all three are None,
    everything is kept; so it is if no pair has the ``best`` metric, since a misspelt name must not delete the best one.
    An epoch's pair is the one with the fewest batches among those that have completed it.
    Source of the shape: orbax.checkpoint's preservation policies.
    """

    last: int | None = None
    every: int | None = None
    best: Best | None = None

    @classmethod
    def of(cls, keep: int) -> Retention:
        """The newest ``keep`` pairs. Raises SettingsError unless that is a positive number."""
        if not isinstance(keep, int) or isinstance(keep, bool) or keep < 1:
            raise SettingsError(f"keep={keep!r}: give a positive number of pairs")
        return cls(keep)

    def to_plain(self) -> dict[str, Any]:
        """For training_options.json."""
        best = None if self.best is None else f"{self.best.metric}:{'max' if self.best.greatest else 'min'}"
        return {"last": self.last, "every": self.every, "best": best}

    @classmethod
    def from_plain(cls, given: Any) -> Retention | None:
        """None for what ``to_plain`` did not make."""
        if not isinstance(given, dict):
            return None
        last, every, best = (given.get(key) for key in ("last", "every", "best"))
        if not all(value is None or (type(value) is int and value > 0) for value in (last, every)):
            return None
        try:
            return cls(last, every, Best.of(best) if isinstance(best, str) else None)
        except SettingsError:
            return None

    def reasons(
        self, pairs: Collection[CheckpointName], metrics: Callable[[CheckpointName], float | None]
    ) -> dict[CheckpointName, list[str]]:
        """Why each of the pairs is kept; those that may be deleted are not in it."""
        usable = sorted((name for name in pairs if name.finite), key=lambda name: name.order)
        found: dict[CheckpointName, list[str]] = {name: [] for name in pairs if self.unlimited}
        last = usable[-max(1, self.last or 1) :]
        for name in last:
            found.setdefault(name, []).append("the newest" if name == usable[-1] else f"one of the newest {self.last}")
        for name in self._of_epochs(usable):
            found.setdefault(name, []).append(f"of each {self.every}. epoch" if self.every != 1 else "of each epoch")
        best = self._best(usable, metrics)
        if self.best is not None and best is not None:
            found.setdefault(best, []).append(f"the best {self.best.metric}")
        return found

    @property
    def unlimited(self) -> bool:
        return self.last is None and self.every is None and self.best is None

    def expendable(
        self,
        pairs: Iterable[CheckpointName],
        owed: Collection[CheckpointName] = (),
        metrics: Callable[[CheckpointName], float | None] | None = None,
        needs: Callable[[CheckpointName], Iterable[CheckpointName]] = lambda name: (),
    ) -> list[CheckpointName]:
        """The pairs that may be deleted, oldest first; never one that is ``owed`` to the store, nor the newest usable.

        ``metrics`` gives a pair's value of ``best.metric``; without it, the loss in the name is used. What a pair that
        stays ``needs`` (Manifest.needs) stays too.
        """
        if self.unlimited:
            return []
        oldest_first = sorted(pairs, key=lambda name: name.order)
        usable = [name for name in oldest_first if name.finite]
        last = max(1, self.last or 1)
        best = self._best(usable, metrics)
        if self.best is not None and best is None:
            return []
        kept = {*owed, *oldest_first[-last:], *usable[-last:], *self._of_epochs(usable), best}
        kept |= {needed for name in oldest_first if name in kept for needed in needs(name)}
        return [name for name in oldest_first if name not in kept]

    def _of_epochs(self, usable: list[CheckpointName]) -> Iterable[CheckpointName]:
        first: dict[int, CheckpointName] = {}
        for name in sorted(usable, key=lambda name: (name.step, -name.incarnation, -name.save)):
            if self.every and name.epoch and name.epoch % self.every == 0:
                first.setdefault(name.epoch, name)
        return first.values()

    def _best(
        self, usable: list[CheckpointName], metrics: Callable[[CheckpointName], float | None] | None
    ) -> CheckpointName | None:
        if self.best is None:
            return None
        values = [(value, name) for name in usable if (value := (metrics or _loss)(name)) is not None]
        sign = -1.0 if self.best.greatest else 1.0
        return min(values, key=lambda pair: (sign * pair[0], pair[1].step))[1] if values else None


def _loss(name: CheckpointName) -> float | None:
    return None if name.loss == "none" else float(name.loss)


@dataclass(frozen=True)
class Owed:
    """A pair that the store does not have yet, with its size in bytes, and the pairs that it ``needs``.

    Each ``lasting`` one (an epoch's) is uploaded; of the others only the newest, the newest that a training can resume
    from, and what those need.
    """

    name: CheckpointName
    size: int
    lasting: bool
    needs: tuple[CheckpointName, ...] = ()

    @property
    def rank(self) -> tuple[bool, int, int]:
        """The greatest is the most urgent: the newest pair that a training can resume from."""
        return (self.name.finite, *self.name.order)


def superseded(owed: Iterable[Owed]) -> list[Owed]:
    """Those that need no upload, since there is a newer pair."""
    oldest_first = sorted(owed, key=lambda one: one.name.order)
    newest = [*oldest_first[-1:], *[one for one in oldest_first if one.name.finite][-1:]]
    kept = {name for one in newest for name in (one.name, *one.needs)}
    return [one for one in oldest_first if not one.lasting and one.name not in kept]


def next_upload(owed: Iterable[Owed], stored: tuple[int, int], rate: float | None, left: float | None) -> Owed | None:
    """The newest usable one first: if there is time for one pair only, it must be that one.

    ``left`` is the seconds to a deadline, ``rate`` the measured bytes a second, ``stored`` the newest pair in the
    store. An older pair than that is chosen only if it can be stored in time.
    """
    newest_first = sorted(owed, key=lambda one: one.rank, reverse=True)
    for place, one in enumerate(newest_first):
        if (place == 0 and one.name.order > stored) or _makes_it(one.size, rate, left):
            return one
    return None


def must_give_way(rest: int, newest: int, rate: float | None, left: float) -> bool:
    """Must an upload with ``rest`` bytes to go be abandoned, so that the ``newest`` bytes are stored in time?"""
    return not (rate and _makes_it(rest + newest, rate, left))


def _makes_it(size: int, rate: float | None, left: float | None) -> bool:
    return left is None or rate is None or size <= rate * left


def ask_time(window: float) -> float:
    """Seconds to wait for a child that was asked to stop. The rest of ``window`` is for the upload."""
    return max(1.0, window * 0.6)


@dataclass(frozen=True)
class LeaseTimes:
    """Seconds between renewals, until a silent holder counts as dead, and to wait for the lease."""

    heartbeat: float = 10.0
    expiry: float = 30.0
    wait: float = 900.0
