"""The image, built from the real Dockerfile, and its containers under podman."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from fakes.finals import final_state
from holdfast.core.errors import Exit
from holdfast.drill.compare_runs import FitState, differences
from holdfast.drill.fake_imds import MetadataService
from holdfast.spool import Board
from holdfast.store import StoreSettings, open_store
from integration.daemons import wait_for

from .podman import (
    METADATA_ADDRESS,
    PATIENCE,
    ROOT,
    TENSORFLOW,
    Container,
    Fleet,
    Podman,
    fresh_podman,
    inside,
    make_image,
    make_slim_base,
    make_tensorflow_base,
    metadata_network,
    silent_service,
)

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("podman"), pytest.mark.timeout(900)]
RUN = "00001-count"
COMPOSE = ROOT / "deploy" / "docker" / "compose.yaml"
KILLED = 128 + signal.SIGKILL
_READY = "echo ready; while :; do sleep 0.1; done"


@pytest.fixture(scope="module")
def podman() -> Iterator[Podman]:
    with fresh_podman() as found:
        yield found


@pytest.fixture(scope="module")
def slim_base(podman: Podman) -> str:
    return make_slim_base(podman)


@pytest.fixture(scope="module")
def image(podman: Podman, slim_base: str) -> str:
    """holdfast beside the TensorFlow that its base image brought."""
    return make_image(podman, make_tensorflow_base(podman, slim_base), "training")


@pytest.fixture
def fleet(podman: Podman, image: str, tmp_path: Path) -> Iterator[Fleet]:
    found = Fleet(podman, image, tmp_path / "store")
    yield found
    found.close()


@pytest.fixture
def network() -> Iterator[str]:
    with metadata_network() as found:
        yield found


@pytest.fixture
def service(network: str) -> Iterator[MetadataService]:
    with inside(network, lambda: MetadataService(address=METADATA_ADDRESS)) as found:
        yield found


def until_step(fleet: Fleet, container: Container, step: int) -> None:
    container.until("from step")
    board = fleet.work_dir(container) / RUN / Board.FILE
    wait_for(lambda: Board.read(board).step >= step, f"step {step}; console:\n{container.text}", patience=PATIENCE)


def final(store: Path) -> FitState:
    return final_state(open_store(str(store), StoreSettings()), RUN)


def undisturbed(fleet: Fleet, tmp_path: Path, script: str = "count.py") -> FitState:
    """How the training ends in a container that nothing stops."""
    alone = Fleet(fleet.podman, fleet.image, tmp_path / "reference")
    try:
        assert alone.train(script=script).wait() == Exit.COMPLETE
    finally:
        alone.close()
    return final(alone.store)


# --- the image -----------------------------------------------------------------------------------------------------


def test_the_image_keeps_its_bases_tensorflow_and_adds_holdfast_alone(podman: Podman, image: str) -> None:
    where = "import importlib.util as u; print(u.find_spec('tensorflow').origin, u.find_spec('holdfast').origin)"
    words = ("run", "--rm", "--network=none", TENSORFLOW, "--entrypoint=python", image, "-c", where)
    tensorflow, holdfast = podman(*words).split()
    assert tensorflow.startswith("/usr/local/")
    assert holdfast.startswith("/opt/holdfast/")


def test_the_image_says_what_it_is_and_how_it_is_to_be_stopped(podman: Podman, image: str) -> None:
    [facts] = json.loads(podman("image", "inspect", image))
    config = facts["Config"]
    assert config["StopSignal"] == "SIGTERM"
    assert config["User"] == "10001:10001", "a number: Kubernetes cannot tell whether a name is root's"
    assert list(config["Volumes"]) == ["/runs"]
    assert config["Entrypoint"] == ["entrypoint"], "exec form"
    assert facts["Healthcheck"]["Test"] == ["CMD", "healthcheck"]
    labels = {key.removeprefix("org.opencontainers.image."): value for key, value in config["Labels"].items()}
    assert labels.pop("title") == "holdfast"
    assert labels.pop("licenses") == "Apache-2.0"
    assert labels.pop("base.name") == "localhost/tensorflow"
    assert labels.pop("description")


def test_without_tensorflow_the_image_is_small_and_nothing_that_built_it_is_left(
    podman: Podman, slim_base: str
) -> None:
    image = make_image(podman, slim_base, "supervisor")
    tools = "-name pip -o -name wheel -o -name setuptools -o -name hatchling -o -name '*.whl' -o -name constraints.txt"
    script = f"find /opt/holdfast {tools}; ls -d /source /wheel /root/.cache /tmp/* /usr/bin/*cc /usr/bin/make"
    _, left = podman.run("run", "--rm", "--network=none", "--user=0", "--entrypoint=sh", image, "-c", script)
    assert [line for line in left.splitlines() if line.startswith("/")] == []
    base, whole = (int(podman("image", "inspect", "--format", "{{.Size}}", name)) for name in (slim_base, image))
    assert whole - base < 60e6
    layers = json.loads(podman("history", "--format", "json", image))
    own = next(layer["size"] for layer in layers if "/wheel/*.whl" in layer["CreatedBy"])
    assert own < 6e6, "a change of holdfast's code is a small layer"


def test_only_what_the_image_is_made_of_is_sent_to_the_builder(podman: Podman, slim_base: str, tmp_path: Path) -> None:
    file = tmp_path / "Containerfile"
    file.write_text(f"FROM {slim_base}\nCOPY . /context\nRUN find /context -type f -printf 'sent %P\\n'\n")
    ignored = ("--ignorefile", str(ROOT / ".dockerignore"))
    said = podman("build", "--network=none", "--no-cache", *ignored, "--file", str(file), str(ROOT))
    sent = {line.removeprefix("sent ") for line in said.splitlines() if line.startswith("sent ")}
    code = {path for path in sent if path.startswith("daemon/")}
    assert sent - code == {
        *("pyproject.toml", "constraints.txt", "README.md", "LICENSE"),
        *("deploy/docker/entrypoint", "deploy/docker/healthcheck.py"),
    }
    assert "daemon/holdfast/__init__.py" in code
    assert {Path(path).suffix for path in code} == {".py", ".gz", ".typed", ".css"}, "digits, py.typed, a style"


def test_other_commands_than_run_are_given_by_their_name(fleet: Fleet) -> None:
    drill = fleet.start("drill", "--help")
    assert drill.wait() == 0
    assert "Usage: holdfast drill" in drill.text
    plain = fleet.start("--help")
    assert plain.wait() == 0
    assert "Usage: holdfast run" in plain.text


def test_the_doctor_says_what_cannot_be_seen_from_inside_of_a_container(fleet: Fleet, network: str) -> None:
    with inside(network, silent_service):
        options = (f"--network=ns:/run/netns/{network}",)
        doctor = fleet.start("doctor", "--store=/store", "--probe-size=1", options=options)
        assert doctor.wait() == 0
    [stop] = [line for line in doctor.lines if line.startswith("warning  stop ")]
    assert "docker stop kills after 10 s, unless told otherwise, which cannot be seen from inside" in stop
    assert "docker run --stop-timeout 120" in stop
    [service] = [line for line in doctor.lines if line.startswith("warning  metadata service ")]
    assert "If this container is on EC2, the answer needs a hop limit of 2" in service


# --- PID 1 ---------------------------------------------------------------------------------------------------------


def test_holdfast_is_pid_1_without_rights_on_a_root_that_is_read_only(fleet: Fleet) -> None:
    container = fleet.train(HOLD_AT="33")
    until_step(fleet, container, 33)
    assert "/opt/holdfast/bin/holdfast" in container.execute("cat", "/proc/1/cmdline").split("\0")
    assert container.execute("id", "-u") == "10001"
    code, said = fleet.podman.run("exec", container.name, "touch", "/app/new")
    assert code != 0
    assert "Read-only file system" in said
    assert container.stop() == Exit.STOPPED


def zombies_and_sleepers(container: Container) -> tuple[int, int]:
    """How many zombies are in the container, and how many processes of ``sleep``."""
    script = "for p in /proc/[0-9]*/stat; do read -r line <$p && echo $line; done 2>/dev/null"
    lines = [line for line in container.execute("sh", "-c", script).splitlines() if "(" in line]
    states = [line.rpartition(")")[2].split()[0] for line in lines]
    return states.count("Z"), sum("(sleep)" in line for line in lines)


# Each of these loses its parent at once and ends a little later.
_ORPHANS = "i=0; while [ $i -lt 20 ]; do (sleep 0.3 &); i=$((i+1)); done"


def test_the_orphans_that_a_training_leaves_are_reaped(fleet: Fleet) -> None:
    container = fleet.start("--store=/store", "--run=count", "--", "sh", "-c", f"{_ORPHANS}; echo made; exec sleep 99")
    container.until("made")
    wait_for(lambda: zombies_and_sleepers(container) == (0, 1), "no zombies", patience=PATIENCE)
    assert container.stop() == Exit.STOPPED


def test_orphans_are_reaped_while_no_training_runs(fleet: Fleet) -> None:
    holder = fleet.train(HOLD_AT="33")
    until_step(fleet, holder, 33)
    waiting = fleet.train()
    waiting.until("waiting for the lease")
    waiting.execute("sh", "-c", _ORPHANS)
    wait_for(lambda: zombies_and_sleepers(waiting) == (0, 0), "no zombies", patience=20.0)
    assert (waiting.stop(), holder.stop()) == (Exit.STOPPED, Exit.STOPPED)


def test_the_health_check_tells_a_supervisor_that_hangs_from_one_that_waits(fleet: Fleet) -> None:
    container = fleet.train(HOLD_AT="33")
    until_step(fleet, container, 33)
    assert fleet.podman.run("healthcheck", "run", container.name)[0] == 0
    pid = int(fleet.podman("inspect", "--format", "{{.State.Pid}}", container.name))
    os.kill(pid, signal.SIGSTOP)
    try:
        code, said = fleet.podman.run("exec", container.name, "healthcheck")
        assert (code, "has not moved for 5 s" in said) == (1, True)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert fleet.podman.run("healthcheck", "run", container.name)[0] == 0
    assert container.stop() == Exit.STOPPED


def test_what_xla_compiles_runs_on_a_root_that_is_read_only(fleet: Fleet) -> None:
    container = fleet.train(script="keras_fit.py", JIT="1")
    assert container.wait() == Exit.COMPLETE
    assert "compiled by XLA: True" in container.text


# --- stops and what follows ----------------------------------------------------------------------------------------


def test_podman_stop_in_mid_epoch_stores_a_checkpoint_and_another_container_ends_with_the_same_weights(
    fleet: Fleet, tmp_path: Path
) -> None:
    first = fleet.train(script="keras_fit.py", HOLD_AT="3", LET_GO="/runs/go")
    first.until("holding")
    stopping = fleet.podman.start("stop", "--time", "120", first.name)
    first.until("SIGTERM: draining")
    (fleet.work_dir(first) / "go").touch()
    assert first.wait() == Exit.STOPPED
    stopping.communicate(timeout=PATIENCE)
    assert "stored epoch 1, step 14 (SIGTERM" in first.text
    second = fleet.train(script="keras_fit.py")
    assert second.wait() == Exit.COMPLETE
    assert "resuming from epoch 1, batch 4 (step 14)" in second.text
    assert "evaluated" in second.text
    ended, reference = final(fleet.store), undisturbed(fleet, tmp_path, "keras_fit.py")
    assert len(ended.arrays) > 20
    assert differences(ended, reference) == []
    assert ended.history == reference.history


def test_a_container_that_was_killed_goes_on_from_its_newest_checkpoint(fleet: Fleet, tmp_path: Path) -> None:
    container = fleet.train("--lease-expiry", "600", HOLD_AT="33", EVERY="15")
    until_step(fleet, container, 33)
    container.until("step 30")
    container.kill()
    assert container.wait() == KILLED
    again = fleet.again(container)
    again.until("step 30")
    again.kill("TERM")
    assert again.wait() == Exit.STOPPED
    fresh = fleet.train()
    assert fresh.wait() == Exit.COMPLETE
    assert differences(final(fleet.store), undisturbed(fleet, tmp_path)) == []


def test_a_grace_that_is_shorter_than_the_drain_ends_in_a_kill(fleet: Fleet) -> None:
    container = fleet.start("--store=/store", "--run=count", "--", "sh", "-c", f"trap '' TERM; {_READY}")
    container.until("ready")
    assert container.stop(seconds=2) == KILLED
    assert "draining, 110 s are left" in container.text


def test_a_stop_right_after_the_start_is_heard(fleet: Fleet) -> None:
    container = fleet.start("--store=/store", "--run=count", "--", "sh", "-c", _READY)
    wait_for(lambda: fleet.podman.run("container", "exists", container.name)[0] == 0, "a container", patience=PATIENCE)
    wait_for(lambda: container.state() == "running", "its start", patience=PATIENCE)
    assert container.stop(seconds=20) == Exit.STOPPED


def test_the_exit_codes_are_those_of_the_table(fleet: Fleet) -> None:
    assert fleet.start("--run=count", "--", "true").wait() == Exit.USAGE, "no store"
    assert fleet.start("--store=/store", "--run=count", "--max-restarts=0", "--", "false").wait() == Exit.FAILED
    holder = fleet.train(HOLD_AT="33")
    until_step(fleet, holder, 33)
    assert fleet.train("--lease-wait", "0.5").wait() == Exit.FENCED
    assert holder.stop() == Exit.STOPPED


def test_what_the_store_does_not_take_stays_in_the_volume_for_the_next_start(fleet: Fleet, tmp_path: Path) -> None:
    container = fleet.train("--drain-time", "5", EVERY="1000", HOLD_AT="33")
    until_step(fleet, container, 33)
    folder = fleet.store / RUN
    folder.chmod(0o500)
    assert container.stop() == Exit.UNSTORED
    folder.chmod(0o700)
    again = fleet.again(container)
    again.until("stored epoch 1, step 33 (left over")
    assert again.stop() == Exit.STOPPED


def test_the_image_reaches_a_store_over_s3(fleet: Fleet, s3_server: str, bucket: str) -> None:
    secrets = {name: os.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION")}
    container = fleet.start(
        *("--store", f"s3://{bucket}/runs", "--endpoint-url", s3_server, "--run", "count"),
        *("--", "python", "/scripts/count.py"),
        options=("--network=host",),
        AWS_EC2_METADATA_DISABLED="true",
        **secrets,
    )
    assert container.wait() == Exit.COMPLETE
    store = open_store(f"s3://{bucket}/runs", StoreSettings(endpoint_url=s3_server))
    assert f"{RUN}/complete.json" in {entry.key for entry in store.list(f"{RUN}/")}


# --- compose -------------------------------------------------------------------------------------------------------


def test_composes_training_runs_as_it_stands_there(fleet: Fleet, s3_server: str) -> None:
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    bucket, training = services["bucket"], services["training"]
    environment = {**training["environment"], "AWS_ENDPOINT_URL": s3_server}
    [python, *words] = bucket["entrypoint"]
    made = fleet.start(*words, options=("--network=host", f"--entrypoint={python}"), **environment)
    assert made.wait() == 0, made.text
    command = [*training["command"][:-1], "1"]  # one epoch will do
    container = fleet.start(*command, options=("--network=host",), **environment)
    assert container.wait() == Exit.COMPLETE
    assert "evaluation: loss" in container.text


def test_podman_compose_understands_the_file(podman: Podman) -> None:
    words = [sys.executable, "-m", "podman_compose", "--file", str(COMPOSE), "config"]
    said = subprocess.run(words, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    assert set(yaml.safe_load(said.stdout)["services"]) == {"s3", "bucket", "training"}


# --- the metadata service at its own address -----------------------------------------------------------------------


def test_a_spot_notice_drains_the_container_and_while_it_stands_nothing_is_started(
    fleet: Fleet, network: str, service: MetadataService, tmp_path: Path
) -> None:
    options = (f"--network=ns:/run/netns/{network}",)
    first = fleet.train(options=options, HOLD_AT="33", HOLDFAST_NOTICES="aws")
    until_step(fleet, first, 33)
    service.interrupt()
    assert first.wait() == Exit.STOPPED
    assert "spot notice (terminate" in first.text
    second = fleet.train(options=options, HOLDFAST_NOTICES="aws")
    second.until("nothing is started while the notice stands")
    service.clear()
    assert second.wait() == Exit.COMPLETE
    assert "from step 33" in second.text
    assert differences(final(fleet.store), undisturbed(fleet, tmp_path)) == []


def test_behind_a_hop_limit_of_1_the_training_starts_and_the_remedy_is_named(fleet: Fleet, network: str) -> None:
    with inside(network, silent_service):
        container = fleet.train(options=(f"--network=ns:/run/netns/{network}",), HOLDFAST_NOTICES="aws")
        assert container.wait() == Exit.COMPLETE
    lines = [line for line in container.lines if line.startswith("holdfast: ")]
    [warning] = [line for line in lines if "hop limit of 1" in line]
    assert warning.startswith("holdfast: warning: ")
    assert "--http-put-response-hop-limit 2" in warning
