"""The template's user data, run as an instance runs it: under a real systemd, with the role's credentials."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

import holdfast
from deploy.stacks import SET_UP, Stack
from fakes.aws import Call
from integration.daemons import wait_for

from .ec2 import CLOUD_FINAL, CODE_BUCKET, Cloud, boot, cloud, furnish, make_wheels
from .nspawn import ROOT, UNITS, Machine, overlay

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("user_data"), pytest.mark.timeout(900)]
RUN = "00001-count"
UNIT = "holdfast@count"
GIVE_BACK = "holdfast-give-back.service"
SCRIPT = (ROOT / "tests" / "scripts" / "count.py").read_text()
ARCHIVE = {"train.py": SCRIPT, "requirements.txt": "numpy\nh5py\n"}
CODE = f"s3://{CODE_BUCKET}/digits/v1.tar.gz"
PATIENCE = 400.0  # a machine in a container shares the cores with other tests
WHEEL = f"holdfast-train @ file:///opt/wheels/holdfast_train-{holdfast.__version__}-py3-none-any.whl"


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_wheels(tmp_path_factory.mktemp("wheels"))


@pytest.fixture(scope="module")
def one_cloud(wheels: Path) -> Iterator[Cloud]:
    with cloud(wheels) as found:
        yield found


@pytest.fixture
def aws(one_cloud: Cloud) -> Cloud:
    """Each test makes a stack of its own in it."""
    one_cloud.begin_anew()
    return one_cloud


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    with overlay(tmp_path) as found:
        yield found


def set_up(machine: Machine) -> None:
    """As cloud-init does at the end of an instance's first boot."""
    machine.run("systemctl", "start", "--no-block", CLOUD_FINAL)
    try:
        wait_for(lambda: machine.show(CLOUD_FINAL, "ActiveState") in ("active", "failed"), "its end", patience=PATIENCE)
    except AssertionError:
        pytest.fail(f"the user data did not end:\n{machine.log(CLOUD_FINAL)}")


def until(machine: Machine, text: str, options: tuple[str, ...] = ()) -> None:
    """A unit that has failed writes no more."""

    def seen() -> bool:
        failed = machine.show(UNIT, "ActiveState") == "failed"
        found = text in machine.log(UNIT, *options)
        assert found or not failed, f"{text!r} is not in:\n{machine.log(UNIT)}"
        return found

    wait_for(seen, f"{text!r} in the unit's journal", patience=PATIENCE)


def until_it_ended(machine: Machine) -> None:
    try:
        ended = ("inactive", "failed")  # it deactivates while what follows its end still writes to the journal
        wait_for(lambda: machine.show(UNIT, "ActiveState") in ended, "the unit's end", patience=PATIENCE)
    except AssertionError:
        pytest.fail(machine.log(UNIT))


def judged(machine: Machine, aws: Cloud) -> dict[str, str]:
    """What the doctor finds on that machine, by its settings and its unit."""
    environment = [f"AWS_ENDPOINT_URL={aws.endpoint}", "AWS_DEFAULT_REGION=us-east-1"]
    words = ["/opt/holdfast/bin/holdfast", "doctor", "--run", "count", "--probe-size", "1", "--json"]
    found = json.loads(machine.run("env", *environment, *words))
    assert found["measured"]["unit"] == {"name": f"{UNIT}.service", "stop_seconds": 150.0, "watchdog_seconds": 60.0}
    wanted = ("stop", "watchdog", "metadata service", "store")
    return {finding["check"]: finding["level"] for finding in found["findings"] if finding["check"] in wanted}


def new_stack(aws: Cloud, **parameters: str) -> Stack:
    return aws.stack(Code=CODE, HoldfastRequirement=WHEEL, **parameters)


def test_a_new_machine_sets_itself_up_trains_and_after_two_more_boots_the_run_is_complete_and_left_alone(
    aws: Cloud, root: Path, tmp_path: Path
) -> None:
    stack = new_stack(aws, Training="env HOLD_AT=33 EVERY=1000 python train.py", MaxHours="12")
    aws.upload(stack, "digits/v1.tar.gz", ARCHIVE)
    furnish(root, aws, aws.ask(stack.user_data))
    with boot(root, tmp_path, aws) as machine:
        set_up(machine)
        assert machine.show(CLOUD_FINAL, "Result") == "success", machine.log(CLOUD_FINAL)
        assert machine.run("systemctl", "is-enabled", UNIT).strip() == "enabled"
        owners = machine.run("find", "/opt/holdfast", "-printf", "%u\n").split()
        assert set(owners) == {"holdfast-install"}, "what the training's role can write is not installed by root"
        assert (
            machine.path("/etc/systemd/system/holdfast@.service").read_text()
            == (UNITS / "holdfast@.service").read_text().rstrip("\n") + "\n"
        )
        assert machine.path("/etc/holdfast/count.env").read_text() == (
            "TRAINING=env HOLD_AT=33 EVERY=1000 python train.py\nAWS_DEFAULT_REGION=us-east-1\n"
        )
        until(machine, "from step 0")
        assert machine.show(UNIT, "ActiveState") == "active"
        assert machine.show(UNIT, "WorkingDirectory").endswith("/var/lib/holdfast/count/code")
        assert machine.show(UNIT, "OnFailure") == "holdfast-give-back.service"
        wait_for(lambda: "batch 13" in machine.show(UNIT, "StatusText"), "step 33", patience=PATIENCE)
        assert judged(machine, aws) == {"stop": "ok", "watchdog": "ok", "metadata service": "ok", "store": "ok"}
        machine.power_off()
    assert any("-00000033-" in key and key.endswith(".json") for key in aws.keys(stack)), "the drain is stored"
    assert aws.desired(stack) == 1
    with boot(root, tmp_path, aws) as machine:
        until(machine, "from step 33", ("--boot",))
        until_it_ended(machine)
        assert machine.show(UNIT, "Result") == "success"
        assert "exit 75: interrupted; the state is in the store" in machine.log(UNIT)
        assert "exit 0: the training is complete" in machine.log(UNIT)
    stored = aws.keys(stack)
    assert f"runs/{RUN}/complete.json" in stored
    assert aws.desired(stack) == 0, "the machine gave itself back"
    assert aws.state(stack) in ("shutting-down", "terminated")
    aws.metadata.documents["autoscaling/target-lifecycle-state"] = "InService"  # as if the machine had been kept
    with boot(root, tmp_path, aws) as machine:
        until(machine, "nothing to do", ("--boot",))
        until_it_ended(machine)
        assert "from step" not in machine.log(UNIT, "--boot")
    assert aws.keys(stack) == stored


@pytest.mark.parametrize(("on_failure", "machines"), [("scale-in", 0), ("none", 1)])
def test_code_that_does_not_exist_is_named_and_the_machine_stops_costing_unless_it_is_to_be_kept(
    aws: Cloud, root: Path, tmp_path: Path, on_failure: str, machines: int
) -> None:
    stack = new_stack(aws, OnFailure=on_failure)
    furnish(root, aws, aws.ask(stack.user_data))
    with boot(root, tmp_path, aws) as machine:
        set_up(machine)
        assert machine.show(CLOUD_FINAL, "Result") == "exit-code"
        log = machine.log(CLOUD_FINAL)
        assert f"holdfast: this machine could not be set up: fetching {CODE} failed" in log, log
        assert machine.run("systemctl", "is-enabled", UNIT, check=False).strip() != "enabled"
        assert machine.path("/var/log/sleep.log").read_text().split() == ["10", "30", "60", "120"], "it was patient"
    assert aws.desired(stack) == machines
    assert (aws.state(stack) == "running") is bool(machines)
    assert f"fetching {CODE} failed" in stored_log(aws, stack)


def test_a_set_up_that_is_not_the_given_one_is_not_run(aws: Cloud, root: Path, tmp_path: Path) -> None:
    stack = new_stack(aws)
    changed = {"Bucket": CODE_BUCKET, "Key": "set-up.tar.gz", "Body": b"of somebody else"}
    aws.ask(lambda: stack.client("s3").put_object(**changed))
    furnish(root, aws, aws.ask(stack.user_data))
    with boot(root, tmp_path, aws) as machine:
        set_up(machine)
        assert not machine.path("/opt/holdfast-set-up").exists()
    assert "holdfast: this machine could not be set up: checking s3://my-code/set-up.tar.gz failed" in stored_log(
        aws, stack
    )
    assert aws.desired(stack) == 0


def test_code_that_is_not_the_given_one_is_not_unpacked(aws: Cloud, root: Path, tmp_path: Path) -> None:
    stack = new_stack(aws, CodeSha256="0" * 64)
    aws.upload(stack, "digits/v1.tar.gz", ARCHIVE)
    furnish(root, aws, aws.ask(stack.user_data))
    with boot(root, tmp_path, aws) as machine:
        set_up(machine)
        assert list(machine.path("/opt/holdfast/code").iterdir()) == []
    assert f"holdfast: this machine could not be set up: checking {CODE} failed" in stored_log(aws, stack)
    assert aws.desired(stack) == 0


def stored_log(aws: Cloud, stack: Stack) -> str:
    """The log that a machine left in the store as it could not train."""
    key = f"runs/setup/count-{aws.metadata.documents['instance-id']}.txt"
    found = aws.ask(lambda: stack.client("s3").get_object(Bucket=stack.resources["Bucket"], Key=key)["Body"].read())
    return str(found.decode())


def test_a_run_that_is_in_the_store_outlives_an_index_that_is_away(aws: Cloud, root: Path, tmp_path: Path) -> None:
    stack = new_stack(aws)
    aws.upload(stack, "digits/v1.tar.gz", {**ARCHIVE, "train.py": WRITES + SCRIPT})
    begin(aws, stack)
    furnish(root, aws, aws.ask(stack.user_data))
    (root / "etc/pip.conf").rename(root / "etc/pip.conf.later")
    (root / "etc/pip.conf").write_text("[global]\nno-index = true\n")
    back = '#!/bin/sh\necho "$*" >>/var/log/sleep.log\n[ "$1" != 600 ] || mv /etc/pip.conf.later /etc/pip.conf\n'
    (root / "usr/local/bin/sleep").write_text(back)
    with boot(root, tmp_path, aws) as machine:
        set_up(machine)
        assert machine.show(CLOUD_FINAL, "Result") == "success", machine.log(CLOUD_FINAL)
        until(machine, "exit 0: the training is complete")
        assert "temporary files in /var/tmp" in machine.log(UNIT), "on disk, where /tmp is memory"
        slept = machine.path("/var/log/sleep.log").read_text().split()
        assert slept == ["10", "30", "60", "120", "300", "10", "30", "60", "120", "600"]
    assert f"runs/{RUN}/complete.json" in aws.keys(stack)


def test_a_wheel_that_is_broken_ends_the_machine_and_its_log_says_which(aws: Cloud, root: Path, tmp_path: Path) -> None:
    stack = new_stack(aws)
    files = {"requirements.txt": "./broken-1.0-py3-none-any.whl", "broken-1.0-py3-none-any.whl": "no wheel"}
    aws.upload(stack, "digits/v1.tar.gz", {**ARCHIVE, **files})
    furnish(root, aws, aws.ask(stack.user_data))
    with boot(root, tmp_path, aws) as machine:
        set_up(machine)
        assert machine.show(CLOUD_FINAL, "Result") == "exit-code"
        assert machine.path("/var/log/sleep.log").read_text().split() == ["10", "30", "60", "120"]
    assert aws.desired(stack) == 0
    log = stored_log(aws, stack)
    assert "broken-1.0-py3-none-any.whl" in log
    assert f"this machine could not be set up: installing {WHEEL} and the code's requirements failed" in log


def test_a_store_that_is_away_is_waited_for_although_it_cannot_be_asked_for_the_run(
    aws: Cloud, root: Path, tmp_path: Path
) -> None:
    stack = new_stack(aws)
    aws.upload(stack, "digits/v1.tar.gz", ARCHIVE)
    user_data = aws.ask(stack.user_data)
    furnish(root, aws, user_data)
    back = f"[ $1 != 600 ] || curl -s {aws.endpoint}/is-back\n"
    (root / "usr/local/bin/sleep").write_text(f'#!/bin/sh\necho "$*" >>/var/log/sleep.log\n{back}')
    away = True

    def refuse(call: Call) -> bool:
        nonlocal away
        away = away and call.service != "unsigned"
        return away and call.service == "s3"

    aws.door.watch = refuse
    with boot(root, tmp_path, aws) as machine:
        set_up(machine)
        assert machine.show(CLOUD_FINAL, "Result") == "success", machine.log(CLOUD_FINAL)
        until(machine, "exit 0: the training is complete")
        slept = machine.path("/var/log/sleep.log").read_text().split()
        assert slept == ["10", "30", "60", "120", "300", "10", "30", "60", "120", "600"]
    assert f"runs/{RUN}/complete.json" in aws.keys(stack)


def test_a_store_that_stays_away_ends_the_machine_after_five_hours_of_trying(
    aws: Cloud, root: Path, tmp_path: Path
) -> None:
    stack = new_stack(aws)
    furnish(root, aws, aws.ask(stack.user_data))
    aws.door.watch = lambda call: call.service == "s3"
    # The command of AWS takes a second of a core, forty times: after the first round, a line refuses in its place.
    refuses = """sed -i '2i [ "$1" != s3 ] || exit 1' /usr/local/bin/aws"""
    sleep = f'#!/bin/sh\necho "$*" >>/var/log/sleep.log\n[ "$1" != 300 ] || {refuses}\n'
    (root / "usr/local/bin/sleep").write_text(sleep)
    with boot(root, tmp_path, aws) as machine:
        set_up(machine)
        slept = [int(text) for text in machine.path("/var/log/sleep.log").read_text().split()]
        assert 5 * 3600 * 0.9 < sum(slept) < 5 * 3600 * 1.1
        log = machine.log(CLOUD_FINAL)
        assert f"fetching {SET_UP} failed" in log
        assert "the log could not be stored" in log
    assert aws.desired(stack) == 0


def test_a_second_machine_waits_while_the_first_still_drains_and_has_its_versions_without_an_index(
    aws: Cloud, root: Path, tmp_path: Path
) -> None:
    stack = new_stack(aws, Training="env HOLD_AT=33 EVERY=1000 python train.py")
    aws.upload(stack, "digits/v1.tar.gz", ARCHIVE)
    draining = False
    aws.door.watch = lambda call: draining and "/model-" in call.key and call.operation == "PutObject"
    user_data = aws.ask(stack.user_data)
    furnish(root, aws, user_data)
    (tmp_path / "second").mkdir()
    with overlay(tmp_path / "second") as other:
        furnish(other, aws, user_data)
        (other / "etc/pip.conf").write_text("[global]\nno-index = true\n")
        with boot(root, tmp_path, aws) as first:
            set_up(first)
            wait_for(lambda: "batch 13" in first.show(UNIT, "StatusText"), "step 33", patience=PATIENCE)
            draining = True
            first.run("systemctl", "stop", "--no-block", UNIT)
            with boot(other, tmp_path / "second", aws) as second:
                set_up(second)
                assert second.show(CLOUD_FINAL, "Result") == "success", second.log(CLOUD_FINAL)
                assert "the versions are those of the machine before" in second.log(CLOUD_FINAL)
                until(second, "waiting")
                assert first.show(UNIT, "ActiveState") == "deactivating"
                draining = False
                until(second, "from step 33")
                assert "exit 75" in first.log(UNIT)
    assert f"runs/setup/count-{aws.metadata.documents['instance-id']}.txt" not in aws.keys(stack)


WRITES = """\
import os, tempfile
os.makedirs("logs", exist_ok=True)
open("logs/x", "w").write("in the working directory")
print("temporary files in", tempfile.gettempdir(), flush=True)
"""


def begin(aws: Cloud, stack: Stack) -> None:
    """As an earlier machine left it: the run is in the store."""
    made = {"format": 1, "run": RUN, "created": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S+00:00}", "id": uuid.uuid4().hex}
    where = {"Bucket": stack.resources["Bucket"], "Key": f"runs/{RUN}/run.json"}
    aws.ask(lambda: stack.client("s3").put_object(**where, Body=json.dumps(made).encode()))


BROKEN = "[Service]\nExecStart=\nExecStart=/bin/false\nRestartSec=0.01\n"


def test_a_machine_whose_holdfast_cannot_start_is_given_back_unless_it_alone_holds_a_state(
    aws: Cloud, root: Path, tmp_path: Path
) -> None:
    """One machine tries all: its group does not take it away in truth, and starts another in the books each time."""
    stack = new_stack(aws)
    aws.upload(stack, "digits/v1.tar.gz", ARCHIVE)
    furnish(root, aws, aws.ask(stack.user_data))
    (root / "etc/systemd/system/holdfast@.service.d").mkdir()
    drop_in = root / "etc/systemd/system/holdfast@.service.d/zz-broken.conf"
    drop_in.write_text(BROKEN.replace("/bin/false", "/bin/sh -c 'exit 69'"))
    pair = root / "var/lib/private/holdfast/count" / RUN / "model-0001-00000033-4.9029-i1-q1.json"
    with boot(root, tmp_path, aws) as machine:
        set_up(machine)
        assert "the last state" not in gave_back(machine)
        assert aws.desired(stack) == 1, "the daemon's own end"

        machine.write(f"/etc/systemd/system/holdfast@.service.d/{drop_in.name}", BROKEN)
        machine.run("systemctl", "daemon-reload")
        written(machine, root, pair)
        try_again(machine)
        assert "the last state is on it alone, " in gave_back(machine)
        assert aws.desired(stack) == 1, "a state of its own"

        written(machine, root, pair.with_suffix(".stored"))
        try_again(machine)
        log = gave_back(machine)
        assert aws.desired(stack) == 0, log
        assert "Start request repeated too quickly" in stored_log(aws, stack)

        aws.start_another(stack)
        machine.run("rm", "-r", f"/{pair.parent.relative_to(root)}")
        try_again(machine)
        log = gave_back(machine)
        assert aws.desired(stack) == 0, f"no state: {log}"
        assert "Start request repeated too quickly" in stored_log(aws, stack)


def written(machine: Machine, root: Path, path: Path) -> None:
    machine.write(f"/{path.relative_to(root)}", "{}")


def try_again(machine: Machine) -> None:
    for unit in (UNIT, GIVE_BACK):
        machine.run("systemctl", "reset-failed", unit, check=False)
    machine.run("systemctl", "start", "--no-block", UNIT)


def gave_back(machine: Machine) -> str:
    """The log of the service that gives the machine back, once it has ended."""
    wait_for(lambda: machine.show(UNIT, "ActiveState") == "failed", "the start limit", patience=PATIENCE)
    failed = int(machine.show(UNIT, "StateChangeTimestampMonotonic"))
    wait_for(
        lambda: int(machine.show(GIVE_BACK, "ExecMainExitTimestampMonotonic") or 0) > failed,
        GIVE_BACK,
        patience=PATIENCE,
    )
    log = machine.log(GIVE_BACK)
    assert machine.show(GIVE_BACK, "Result") == "success", log
    return log


def test_where_nvidias_driver_is_the_training_sees_its_devices_and_they_are_made_before_it(
    aws: Cloud, root: Path, tmp_path: Path
) -> None:
    look = "import os; print('the training sees', sorted(n for n in os.listdir('/dev') if n.startswith('nvidia')))"
    stack = new_stack(aws, LogDays="7")
    aws.upload(stack, "digits/v1.tar.gz", {"train.py": look})
    furnish(root, aws, aws.ask(stack.user_data))
    agent = root / "opt/aws/amazon-cloudwatch-agent/bin/amazon-cloudwatch-agent-ctl"
    agent.parent.mkdir(parents=True)
    agent.write_text('#!/bin/sh\necho "$*" >>/var/log/agent.log\n')
    agent.chmod(0o755)
    for name, made in (("nvidia-smi", "/dev/nvidiactl /dev/nvidia0"), ("nvidia-modprobe", "/dev/nvidia-uvm")):
        (root / "usr/local/bin" / name).write_text(f'#!/bin/sh\necho "$0 $*" >>/var/log/nvidia.log\ntouch {made}\n')
        (root / "usr/local/bin" / name).chmod(0o755)
    with boot(root, tmp_path, aws) as machine:
        set_up(machine)
        until(machine, "the training sees ['nvidia-uvm', 'nvidia0', 'nvidiactl']")
        until_it_ended(machine)
        assert machine.show(UNIT, "PrivateDevices") == "no"
        assert "-c file:/etc/holdfast/cloudwatch.json" in machine.path("/var/log/agent.log").read_text()
        sent = json.loads(machine.path("/etc/holdfast/cloudwatch.json").read_text())
        files = sent["logs"]["logs_collected"]["files"]["collect_list"]
        assert {entry["log_group_name"] for entry in files} == {f"/holdfast/{stack.name}"}
        assert len(machine.run("sh", "-c", f"ls {' '.join(entry['file_path'] for entry in files[:2])}").split()) == 2
        assert machine.show(UNIT, "DevicePolicy") == "closed"
        assert "char-nvidia* rw" in machine.show(UNIT, "DeviceAllow").splitlines()
        assert [line.rpartition("/")[2] for line in machine.path("/var/log/nvidia.log").read_text().splitlines()] == [
            "nvidia-smi -L",
            "nvidia-modprobe -u -c 0",
        ]


_DOCKER = """\
#!/bin/sh
echo "$*" >>/var/log/docker.log
case $1 in
  login) grep -q . ;;
  run) code=$(head -n 1 /var/log/codes) && sed -i 1d /var/log/codes && exit "$code" ;;
esac
"""


def test_an_image_is_pulled_with_the_roles_rights_and_run_again_where_that_helps(
    aws: Cloud, root: Path, tmp_path: Path
) -> None:
    """``docker`` writes down what it is asked for; the image and its containers have tests of their own."""
    registry = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
    stack = aws.stack(Code=f"{registry}/digits:1", Training="python train.py")
    furnish(root, aws, aws.ask(stack.user_data))
    (root / "usr/local/bin/docker").unlink(missing_ok=True)
    (root / "usr/bin/docker").write_text(_DOCKER)
    (root / "usr/bin/docker").chmod(0o755)
    (root / "etc/systemd/system/docker.service").write_text(
        "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=true\n[Install]\nWantedBy=multi-user.target\n"
    )
    (root / "etc/systemd/system/holdfast@.service.d").mkdir()
    (root / "etc/systemd/system/holdfast@.service.d/zz-test.conf").write_text("[Service]\nRestartSec=0.1\n")
    (root / "var/log/codes").write_text("75\n74\n70\n")
    with boot(root, tmp_path, aws) as machine:
        set_up(machine)
        assert machine.show(CLOUD_FINAL, "Result") == "success", machine.log(CLOUD_FINAL)
        wait_for(lambda: machine.show(UNIT, "ActiveState") == "failed", "exit 70", patience=PATIENCE)
        assert machine.show(UNIT, "NRestarts") == "2", "after 75 and 74, and not after 70"
        assert machine.path("/var/log/docker.log").read_text().splitlines()[:4] == [
            f"login --username AWS --password-stdin {registry}",
            f"pull -q {registry}/digits:1",
            "rm --force holdfast-count",
            "run --rm --name holdfast-count --stop-timeout 120 --env AWS_DEFAULT_REGION --env HOLDFAST_STALL_TIMEOUT "
            "--volume holdfast:/runs --volume /etc/holdfast:/etc/holdfast:ro "
            f"{registry}/digits:1 --run count -- python train.py",
        ]


@pytest.mark.parametrize("code", [CODE, "registry.example/digits:1"])
def test_shellcheck_finds_nothing_in_the_user_data_and_the_set_up(aws: Cloud, tmp_path: Path, code: str) -> None:
    script = tmp_path / "user-data"
    script.write_text(aws.ask(aws.stack(Code=code).user_data))
    words = ["shellcheck", str(script), str(ROOT / "deploy/ec2/machine/set-up")]
    checked = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (checked.returncode, checked.stdout) == (0, "")
