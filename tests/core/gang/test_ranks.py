from __future__ import annotations

import json

import pytest

from holdfast.core.errors import SettingsError
from holdfast.core.gang.ranks import SOURCES, Rank, rank_of

TF_WORKER = {"cluster": {"worker": ["a:1", "b:1", "c:1"]}, "task": {"type": "worker", "index": 2}}
TF_CHIEF = {"cluster": {"chief": ["a:1"], "worker": ["b:1"]}, "task": {"type": "chief", "index": 0}}
TF_BESIDE_A_CHIEF = {**TF_CHIEF, "task": {"type": "worker", "index": 0}}
SLURM_TASK = {"SLURM_PROCID": "3", "SLURM_NTASKS": "8", "SLURM_STEP_ID": "0"}


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({"KERAS_DISTRIBUTION_PROCESS_ID": "1", "KERAS_DISTRIBUTION_NUM_PROCESSES": "2"}, (1, 2)),
        ({"JAX_PROCESS_ID": "0", "JAX_NUM_PROCESSES": "4"}, (0, 4)),
        ({"TF_CONFIG": json.dumps(TF_WORKER)}, (2, 3)),
        ({"TF_CONFIG": json.dumps(TF_CHIEF)}, (0, 2)),
        ({"TF_CONFIG": json.dumps(TF_BESIDE_A_CHIEF)}, (1, 2)),
        ({"SKYPILOT_NODE_RANK": "1", "SKYPILOT_NUM_NODES": "2"}, (1, 2)),
        (SLURM_TASK, (3, 8)),
        ({"SM_HOSTS": '["algo-2", "algo-1"]', "SM_CURRENT_HOST": "algo-2"}, (1, 2)),
    ],
)
def test_what_started_the_machines_says_which_one_this_is(environment: dict[str, str], found: tuple[int, int]) -> None:
    rank = rank_of(None, None, environment)
    assert rank is not None
    assert (rank.number, rank.count) == found
    assert rank_of(None, found[1], environment) == rank


def test_an_indexed_job_of_kubernetes_says_the_number_and_the_flag_how_many_they_are() -> None:
    environment = {"JOB_COMPLETION_INDEX": "2"}
    assert rank_of(None, None, environment) is None, "an array of independent jobs has the index, too"
    assert rank_of(None, 4, environment) == Rank(2, 4, "Kubernetes Indexed Job, JobSet")


@pytest.mark.parametrize("step", [{}, {"SLURM_STEP_ID": "batch"}])
def test_a_batch_script_of_slurm_is_none_of_its_jobs_tasks(step: dict[str, str]) -> None:
    """It has the variables of the first one, and nobody starts the others."""
    assert rank_of(None, None, {"SLURM_PROCID": "0", "SLURM_NTASKS": "8", **step}) is None


def test_the_flags_come_before_the_environment() -> None:
    assert rank_of(1, 2, SLURM_TASK) == Rank(1, 2, "--rank")
    assert rank_of(None, 1, SLURM_TASK) is None, "independent trainings"


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_one_machine_is_no_gang_and_an_empty_variable_none_at_all(source: object) -> None:
    assert rank_of(None, None, dict.fromkeys(source.variables, "")) is None  # type: ignore[attr-defined]
    assert rank_of(None, None, {}) is None
    assert rank_of(None, None, {"JAX_PROCESS_ID": "0", "JAX_NUM_PROCESSES": "1"}) is None


@pytest.mark.parametrize(
    ("rank", "ranks", "environment", "said"),
    [
        (0, None, {}, "--rank needs --ranks"),
        (None, 2, {}, "Give --rank"),
        (2, 2, {}, "from 0 to 1"),
        (None, 3, {"JAX_PROCESS_ID": "0", "JAX_NUM_PROCESSES": "2"}, "the environment tells 2"),
        (None, None, {"JAX_PROCESS_ID": "2", "JAX_NUM_PROCESSES": "2"}, "from 0 to 1"),
        (None, None, {"JAX_PROCESS_ID": "one", "JAX_NUM_PROCESSES": "2"}, "JAX_PROCESS_ID"),
        (None, None, {"JAX_PROCESS_ID": "0", "JAX_NUM_PROCESSES": "-3"}, "from 1 to"),
        (None, None, {"TF_CONFIG": "{}"}, "TF_CONFIG"),
        (None, None, {"TF_CONFIG": "nonsense"}, "TF_CONFIG"),
        (None, None, {"TF_CONFIG": json.dumps({**TF_WORKER, "task": {"type": "evaluator", "index": 0}})}, "evaluator"),
        (None, None, {"SM_HOSTS": '["a"]', "SM_CURRENT_HOST": "b"}, "SM_HOSTS"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_setting_that_does(
    rank: int | None, ranks: int | None, environment: dict[str, str], said: str
) -> None:
    with pytest.raises(SettingsError, match="--rank") as refused:
        rank_of(rank, ranks, environment)
    assert said in str(refused.value)
