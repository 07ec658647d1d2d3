"""Which of several machines this one is: told by what started them. One table of sources."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import SettingsError

MOST_RANKS = 1024


@dataclass(frozen=True)
class Rank:
    """This machine is ``number`` of ``count``, from 0. ``count`` is None where the source tells none."""

    number: int
    count: int | None
    source: str


@dataclass(frozen=True)
class RankSource:
    """``variables`` are all needed. ``read`` raises ValueError, KeyError or TypeError for values that make no sense.

    It returns None for values that are not about this process.
    """

    name: str
    variables: tuple[str, ...]
    read: Callable[[Mapping[str, str]], tuple[int, int | None] | None]


def _two(name: str, rank: str, count: str) -> RankSource:
    return RankSource(name, (rank, count), lambda given: (int(given[rank]), int(given[count])))


def _tf_config(given: Mapping[str, str]) -> tuple[int, int | None]:
    """A chief is the first of the workers. Evaluators and parameter servers are no ranks."""
    config: Any = json.loads(given["TF_CONFIG"])
    cluster, task = config["cluster"], config["task"]
    if unknown := {*cluster, task["type"]} - {"chief", "worker"}:
        raise ValueError(f"{', '.join(sorted(unknown))} in its cluster: holdfast serves workers that train together")
    chiefs = len(cluster.get("chief", ()))
    rank = int(task["index"]) + (chiefs if task["type"] == "worker" else 0)
    return rank, chiefs + len(cluster.get("worker", ()))


def _slurm(given: Mapping[str, str]) -> tuple[int, int | None] | None:
    """A batch script has the first two as well, as if it were a task of its job: only srun's steps have a number."""
    if not given["SLURM_STEP_ID"].isdecimal():
        return None
    return int(given["SLURM_PROCID"]), int(given["SLURM_NTASKS"])


def _sagemaker(given: Mapping[str, str]) -> tuple[int, int | None]:
    hosts = sorted(json.loads(given["SM_HOSTS"]))
    return hosts.index(given["SM_CURRENT_HOST"]), len(hosts)


SOURCES = (
    _two("Keras", "KERAS_DISTRIBUTION_PROCESS_ID", "KERAS_DISTRIBUTION_NUM_PROCESSES"),
    _two("JAX, Kubeflow TrainJob", "JAX_PROCESS_ID", "JAX_NUM_PROCESSES"),
    RankSource("TensorFlow, Ray Train", ("TF_CONFIG",), _tf_config),
    _two("SkyPilot", "SKYPILOT_NODE_RANK", "SKYPILOT_NUM_NODES"),
    RankSource("Slurm (srun)", ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_STEP_ID"), _slurm),
    RankSource("SageMaker", ("SM_HOSTS", "SM_CURRENT_HOST"), _sagemaker),
    RankSource(
        "Kubernetes Indexed Job, JobSet",
        ("JOB_COMPLETION_INDEX",),
        lambda given: (int(given["JOB_COMPLETION_INDEX"]), None),
    ),
)


def rank_of(rank: int | None, ranks: int | None, environment: Mapping[str, str]) -> Rank | None:
    """None for a machine that trains alone. ``rank`` and ``ranks`` are the flags', which come before every source.

    A source that tells no count serves only with ``--ranks``. Raises SettingsError.
    """
    if ranks == 1 and not rank:
        return None
    if rank is not None and ranks is not None:
        return _checked(Rank(rank, ranks, "--rank"))
    found = next((found for source in SOURCES if (found := _read(source, environment)) is not None), None)
    if rank is not None:
        raise SettingsError("--rank needs --ranks: of how many machines is this one?")
    if found is None:
        if ranks is None:
            return None
        names = ", ".join(source.variables[0] for source in SOURCES)
        raise SettingsError(
            f"--ranks {ranks}: which of them is this machine? Give --rank, or start it by what sets one of {names}"
        )
    if ranks is not None and found.count not in (None, ranks):
        raise SettingsError(f"--ranks {ranks}: the environment tells {found.count} ({found.source})")
    count = ranks if ranks is not None else found.count
    if count is None or count == 1:
        return None
    return _checked(Rank(found.number, count, found.source))


def _read(source: RankSource, environment: Mapping[str, str]) -> Rank | None:
    if not all(environment.get(variable) for variable in source.variables):
        return None
    try:
        found = source.read(environment)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        names = " and ".join(source.variables)
        raise SettingsError(f"{names} cannot be used ({error}): correct it, or give --rank and --ranks") from None
    return None if found is None else Rank(*found, source.name)


def _checked(rank: Rank) -> Rank:
    assert rank.count is not None
    if not 1 <= rank.count <= MOST_RANKS:
        raise SettingsError(f"--ranks is a number from 1 to {MOST_RANKS}, and {rank.source} tells {rank.count}")
    if not 0 <= rank.number < rank.count:
        raise SettingsError(f"--rank is a number from 0 to {rank.count - 1}, and {rank.source} tells {rank.number}")
    return rank
