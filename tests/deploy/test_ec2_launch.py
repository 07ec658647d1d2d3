"""deploy/ec2/launch, in a clean clone: what it says without AWS, and what it makes on moto."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest

import holdfast
from fakes.aws import Call, Door
from fakes.rows import first_rows

from .stacks import KEY, create, properties, template

ROOT = Path(__file__).parents[2]
BUCKET = "holdfast-123456789012-us-east-1"  # without a policy: moto refuses all calls where one denies any
NOTHING_PACKED = ("Code=registry.example/digits:1", "SetUp=s3://mine/set-up.tar.gz", f"SetUpSha256={'0' * 64}")
WHEEL = f"holdfast_train-{holdfast.__version__}-py3-none-any.whl"


@dataclass(frozen=True)
class Clone:
    """A clean clone, a project beside it, and the endpoint of AWS."""

    folder: Path
    project: Path
    endpoint: str

    def launch(
        self, *words: str, endpoint: str | None = None, build: bool = False, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """With a wheel that is there already, unless it is to be built. A variable that is given empty is not set."""
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            "AWS_ENDPOINT_URL": endpoint or self.endpoint,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_MAX_ATTEMPTS": "1",
            "PIP_NO_BUILD_ISOLATION": "1",
            **variables,
        }
        environment = {name: value for name, value in environment.items() if value}
        command = [sys.executable, self.folder / "deploy/ec2/launch", self.project, *words]
        command += [] if build else ["--wheel", self.folder / WHEEL]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL
        )

    def client(self, service: str) -> Any:
        return boto3.client(service, endpoint_url=self.endpoint)  # type: ignore[call-overload]

    def stack(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
        return found

    def parameters(self, name: str) -> dict[str, str]:
        return {entry["ParameterKey"]: entry["ParameterValue"] for entry in self.stack(name)["Parameters"]}

    def archive(self, uri: str) -> dict[str, bytes]:
        """The files that the machine unpacks."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        body = self.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
        with tarfile.open(fileobj=io.BytesIO(body)) as tar:
            files = {entry.name: tar.extractfile(entry) for entry in tar.getmembers()}
            return {name: file.read() for name, file in files.items() if file is not None}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory, s3_server: str) -> Clone:
    folder = tmp_path_factory.mktemp("clone")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    project = tmp_path_factory.mktemp("project")
    (project / "train.py").write_text("print('training')\n")
    (project / "data").mkdir()
    (project / "data" / "x.csv").write_text("1,2\n")
    (project / "requirements.txt").write_text("Flask==3.0.0  # of our own\npandas\n")
    for left_out in (".git", "__pycache__", "runs"):
        (project / left_out).mkdir()
        (project / left_out / "large").write_text("x")
    (folder / WHEEL).write_bytes(b"PK of another build")
    return Clone(folder, project, s3_server)


@pytest.fixture
def clone(checkout: Clone) -> Clone:
    s3 = checkout.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key="others")  # so it is used as it is
    return checkout


@pytest.fixture
def run() -> str:
    return f"digits-{uuid.uuid4().hex[:8]}"


def test_a_dry_run_prints_every_call_that_a_launch_makes_and_makes_none(clone: Clone, run: str) -> None:
    words = (run, "--bucket", f"b-{run}", *NOTHING_PACKED)
    dry = clone.launch(*words, "--dry-run", endpoint="http://127.0.0.1:9")
    assert dry.returncode == 0, dry.stderr
    real = clone.launch(*words)
    assert real.returncode == 0, real.stderr

    def calls(text: str) -> list[str]:
        return [" ".join(line.split()[:2]) for line in text.splitlines() if line.startswith("  ") and "=" in line]

    assert calls(dry.stdout) == calls(real.stdout)
    assert "cloudformation create_stack" in calls(dry.stdout)
    assert "not made: a dry run" in dry.stdout


def test_from_a_clean_clone_it_makes_a_stack_that_installs_the_clones_wheel(clone: Clone, run: str) -> None:
    done = clone.launch(run, "--training", "python train.py --epochs 3", "MaxHours=12", build=True)
    assert done.returncode == 0, done.stderr
    given = clone.parameters(run)
    assert given["Training"] == "python train.py --epochs 3"
    assert given["MaxHours"] == "12"
    assert given["HoldfastRequirement"] == f"holdfast-train[tensorflow] @ file:///opt/holdfast/code/{WHEEL}"
    assert given["ExistingBucket"] == BUCKET
    files = clone.archive(given["Code"])
    assert set(files) == {f"./{n}" for n in ("train.py", "data/x.csv", "requirements.txt", "constraints.txt", WHEEL)}
    assert b"holdfast/cli/run.py" in files[f"./{WHEEL}"]
    assert f"holdfast ls s3://{given['ExistingBucket']}/stacks/{run}" in done.stdout
    assert f"--auto-scaling-group-name {run}" in done.stdout


def test_the_machine_gets_the_versions_that_holdfast_is_tested_with_but_for_those_of_the_code(
    clone: Clone, run: str
) -> None:
    assert clone.launch(run).returncode == 0
    pins = clone.archive(clone.parameters(run)["Code"])["./constraints.txt"].decode().splitlines()
    assert any(line.startswith("numpy==") for line in pins)
    assert not any(line.lower().startswith("flask==") for line in pins), "requirements.txt has its own"


@pytest.mark.whole
def test_constraints_of_ones_own_are_taken_instead(clone: Clone, run: str, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(clone.project, project)
    (project / "constraints.txt").write_text("numpy==1.26.4\n")
    mine = Clone(clone.folder, project, clone.endpoint)
    assert mine.launch(run).returncode == 0
    assert mine.archive(mine.parameters(run)["Code"])["./constraints.txt"] == b"numpy==1.26.4\n"


def updates(done: subprocess.CompletedProcess[str]) -> dict[str, str | None]:
    """The parameters of the update that it asked for; None for what keeps its value.

    moto cannot do it: it knows no previous value of a parameter that had its default.
    """
    (call,) = [line for line in done.stdout.splitlines() if line.startswith("  cloudformation update_stack ")]
    text = call.partition(" Parameters=")[2].partition(" StackName=")[0]
    return {entry["ParameterKey"]: entry.get("ParameterValue") for entry in json.loads(text)}


def test_a_second_launch_updates_what_was_given_and_keeps_the_rest_and_the_checkpoints_place(
    clone: Clone, run: str, tmp_path: Path
) -> None:
    assert clone.launch(run, "MaxHours=12").returncode == 0
    before = clone.parameters(run)
    project = tmp_path / "project"
    shutil.copytree(clone.project, project)
    (project / "train.py").write_text("print('better')\n")
    asked = updates(Clone(clone.folder, project, clone.endpoint).launch(run, "DiskGiB=80"))
    assert set(asked) == set(template()["Parameters"])
    changed = {name: value for name, value in asked.items() if value not in (None, before[name])}
    assert set(changed) == {"DiskGiB", "Code", "CodeSha256"}
    assert asked["EndAt"] is None
    same = updates(clone.launch(run))
    assert same["Code"] == before["Code"], "the same code is the same archive"
    moved = clone.launch(run, "--bucket", "elsewhere")
    assert moved.returncode == 1
    assert f"keeps its checkpoints in s3://{BUCKET}/stacks/{run}" in moved.stderr


@pytest.mark.whole
def test_the_group_ends_the_machine_an_hour_after_the_runs_own_end_whatever_is_on_it(clone: Clone, run: str) -> None:
    begin = datetime.now(UTC)
    assert clone.launch(run, "MaxHours=12", "Code=registry.example/digits:1").returncode == 0
    end = datetime.fromisoformat(clone.parameters(run)["EndAt"])
    assert timedelta(hours=12.9) < end - begin < timedelta(hours=13.1)


def test_each_new_stack_has_a_folder_of_its_own_and_one_that_has_another_keeps_it(clone: Clone, run: str) -> None:
    older = ("--stack", f"{run}-older", "StorePrefix=runs")
    assert clone.launch(run, *NOTHING_PACKED).returncode == 0
    assert clone.launch(run, *NOTHING_PACKED, *older).returncode == 0
    assert clone.parameters(run)["StorePrefix"] == f"stacks/{run}"
    assert clone.parameters(f"{run}-older")["StorePrefix"] == "runs"
    again = clone.launch(run, *NOTHING_PACKED, *older[:2])
    assert updates(again)["StorePrefix"] is None
    assert f"holdfast ls s3://{BUCKET}/runs " in again.stdout


def test_the_code_has_its_digest_with_it_and_other_code_has_none(clone: Clone, run: str) -> None:
    assert clone.launch(run).returncode == 0
    given = clone.parameters(run)
    bucket, _, key = given["Code"].removeprefix("s3://").partition("/")
    packed = clone.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    assert given["CodeSha256"] == hashlib.sha256(packed).hexdigest()
    asked = updates(clone.launch(run, "Code=registry.example/digits:1"))
    assert asked["CodeSha256"] == "", "an update must not keep the other one's"


@pytest.mark.whole
def test_a_stack_with_a_bucket_of_its_own_keeps_it(clone: Clone) -> None:
    stack = create(clone.endpoint)
    asked = updates(clone.launch("count", "--stack", stack.name))
    assert asked["ExistingBucket"] is None
    assert str(asked["Code"]).startswith(f"s3://{stack.resources['Bucket']}/code/count/")


@pytest.mark.whole
def test_its_bucket_is_like_the_one_that_the_template_makes(clone: Clone, run: str) -> None:
    """Read from the template, as moto makes its bucket without most of these."""
    given = ("NoncurrentDays=9", f"KmsKey={KEY}")
    assert clone.launch(run, "--bucket", f"b-{run}", *NOTHING_PACKED, *given).returncode == 0
    s3, bucket, theirs = clone.client("s3"), {"Bucket": f"b-{run}"}, properties("Bucket")
    access = s3.get_public_access_block(**bucket)["PublicAccessBlockConfiguration"]
    assert access == theirs["PublicAccessBlockConfiguration"]
    assert s3.get_bucket_versioning(**bucket)["Status"] == theirs["VersioningConfiguration"]["Status"]
    assert s3.get_bucket_ownership_controls(**bucket)["OwnershipControls"] == theirs["OwnershipControls"]
    unfinished, wheels, noncurrent = s3.get_bucket_lifecycle_configuration(**bucket)["Rules"]
    wanted, cache, old = theirs["LifecycleConfiguration"]["Rules"]
    assert wheels["Filter"]["Prefix"] == cache["Prefix"] == "wheels/"
    assert wheels["Expiration"]["Days"] == cache["ExpirationInDays"]
    assert unfinished["AbortIncompleteMultipartUpload"] == wanted["AbortIncompleteMultipartUpload"]
    assert noncurrent["NoncurrentVersionExpiration"] == {"NoncurrentDays": 9}
    assert old["NoncurrentVersionExpiration"] == {"NoncurrentDays": {"Ref": "NoncurrentDays"}}
    (encrypted,) = s3.get_bucket_encryption(**bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert encrypted["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEY}
    assert encrypted["BucketKeyEnabled"]
    assert noncurrent["Expiration"] == {"ExpiredObjectDeleteMarker": old["ExpiredObjectDeleteMarker"]}
    (statement,) = json.loads(s3.get_bucket_policy(**bucket)["Policy"])["Statement"]
    (same,) = properties("BucketPolicy")["PolicyDocument"]["Statement"]
    assert {**statement, "Resource": ""} == {**same, "Resource": ""}
    arn = f"arn:aws:s3:::b-{run}"
    assert statement["Resource"] == [arn, f"{arn}/*"]


def test_an_image_is_launched_as_it_is_and_the_set_up_alone_is_packed(clone: Clone, run: str) -> None:
    done = clone.launch(run, "Code=registry.example/digits:1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("s3 put_object") == 1
    given = clone.parameters(run)
    assert given["Code"] == "registry.example/digits:1"
    assert "./ec2/machine/set-up" in clone.archive(given["SetUp"])


@pytest.mark.whole
def test_the_machine_is_set_up_by_the_files_of_the_clone_and_by_no_others(clone: Clone, run: str) -> None:
    assert clone.launch(run, "Code=registry.example/digits:1").returncode == 0
    given = clone.parameters(run)
    deploy = clone.folder / "deploy"
    files = [*deploy.glob("ec2/machine/*"), *deploy.glob("systemd/*"), *deploy.glob("docker/*")]
    assert clone.archive(given["SetUp"]) == {f"./{path.relative_to(deploy)}": path.read_bytes() for path in files}
    bucket, _, key = given["SetUp"].removeprefix("s3://").partition("/")
    packed = clone.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    assert given["SetUpSha256"] == hashlib.sha256(packed).hexdigest()


def failing_at(number: int, behind: str) -> Door:
    """Answers the ``number``-th call with an error of AWS, and passes the others on."""
    made: list[Call] = []

    def watch(call: Call) -> bool:
        made.append(call)
        return len(made) == number

    return Door(behind, watch)


def interrupted(clone: Clone, bucket: str, *words: str, at: int) -> bool:
    """Was there such a call? A launch to which it fails is launched again, and all must be as if it had not."""
    words = (*words, "--bucket", bucket, *NOTHING_PACKED, f"KmsKey={KEY}")
    with failing_at(at, clone.endpoint) as door:
        first = clone.launch(*words, endpoint=door.endpoint)
    if first.returncode == 0:
        return False
    assert first.returncode == 1, first.stdout + first.stderr
    assert first.stderr.startswith("launch: "), first.stderr
    assert "Traceback" not in first.stderr
    again = clone.launch(*words)
    assert again.returncode == 0, again.stderr
    s3, of_it = clone.client("s3"), {"Bucket": bucket}
    assert s3.get_bucket_versioning(**of_it)["Status"] == "Enabled"
    assert all(s3.get_public_access_block(**of_it)["PublicAccessBlockConfiguration"].values())
    (encrypted,) = s3.get_bucket_encryption(**of_it)["ServerSideEncryptionConfiguration"]["Rules"]
    assert encrypted["ApplyServerSideEncryptionByDefault"]["KMSMasterKeyID"] == KEY
    assert len(s3.get_bucket_lifecycle_configuration(**of_it)["Rules"]) == 3
    assert "aws:SecureTransport" in s3.get_bucket_policy(**of_it)["Policy"]
    return True


def test_a_bucket_that_an_interrupted_launch_left_half_made_is_completed_by_the_next_one(
    clone: Clone, run: str
) -> None:
    versioning = 8  # the 6th is create_bucket
    assert interrupted(clone, f"b-{run}", run, at=versioning)


@pytest.mark.whole
def test_whichever_call_fails_the_next_launch_completes_what_is_there(clone: Clone, run: str) -> None:
    """Every third call is tried, from a random one on: each takes two launches."""
    number = random.SystemRandom().randint(1, 3)
    while interrupted(clone, f"b{number}-{run}", f"{run}-{number}", at=number):
        number += 3
    assert number > 10


@pytest.mark.whole
def test_a_bucket_that_has_objects_is_used_as_it_is_and_what_it_lacks_is_said(clone: Clone, run: str) -> None:
    done = clone.launch(run, *NOTHING_PACKED, f"KmsKey={KEY}")
    assert done.returncode == 0, done.stderr
    (said,) = [line for line in done.stdout.splitlines() if line.startswith("the bucket ")]
    assert said.startswith(f"the bucket {BUCKET} is used as it is: ")
    for lack in ("has no versions", "not encrypted with KmsKey", "unfinished uploads", "without TLS"):
        assert lack in said
    assert "s3 put_bucket" not in done.stdout


def test_an_update_moves_the_end_with_max_hours_and_refuses_one_that_is_past(clone: Clone, run: str) -> None:
    assert clone.launch(run, *NOTHING_PACKED).returncode == 0
    made = clone.stack(run)["CreationTime"]
    asked = updates(clone.launch(run, *NOTHING_PACKED, "MaxHours=200"))
    assert timedelta(hours=200.9) < datetime.fromisoformat(str(asked["EndAt"])) - made < timedelta(hours=201.1)
    over = create(clone.endpoint, EndAt="2026-01-31T12:00:00Z").name
    same = clone.launch("count", "--stack", over, *NOTHING_PACKED)
    assert same.returncode == 1
    assert "EndAt would be 2026-01-31T12:00:00Z, which is past" in same.stderr
    assert "update_stack" not in same.stdout
    begin = datetime.now(UTC)
    new = updates(clone.launch(run, "--stack", over, *NOTHING_PACKED))
    assert datetime.fromisoformat(str(new["EndAt"])) > begin + timedelta(hours=72), "another run begins now"
    none = create(clone.endpoint).name
    assert updates(clone.launch("count", "--stack", none, *NOTHING_PACKED, "MaxHours=9"))["EndAt"] is None


@pytest.mark.whole
def test_an_update_that_leaves_the_group_without_a_machine_says_how_to_start_one(clone: Clone) -> None:
    """All parameters are given, as moto knows no previous value of one that had its default."""
    defaults = {name: str(entry["Default"]) for name, entry in template()["Parameters"].items() if "Default" in entry}
    stack = create(clone.endpoint, **defaults)
    words = ("count", "--stack", stack.name, *NOTHING_PACKED)
    assert "a machine that runs keeps its code and settings" in clone.launch(*words).stdout
    stack.client("autoscaling").set_desired_capacity(AutoScalingGroupName=stack.name, DesiredCapacity=0)
    done = clone.launch(*words)
    command = f"aws autoscaling set-desired-capacity --auto-scaling-group-name {stack.name} --desired-capacity 1"
    assert f"wants no machine: the run is complete, paused, or failed. To start one: {command}" in done.stdout, (
        done.stderr
    )


@pytest.mark.whole
def test_an_update_keeps_the_extra_and_the_image_that_the_stack_has(clone: Clone, run: str) -> None:
    assert clone.launch(run, "--extra", "gpu").returncode == 0
    asked = updates(clone.launch(run))
    assert str(asked["HoldfastRequirement"]).startswith("holdfast-train[gpu] @ ")
    assert clone.launch(f"{run}-image", "Code=registry.example/digits:1").returncode == 0
    done = clone.launch(f"{run}-image", "DiskGiB=80")
    assert updates(done)["Code"] is None
    assert "the stack trains the image registry.example/digits:1" in done.stdout


def test_links_within_the_folder_stay_and_what_is_not_packed_is_said(clone: Clone, run: str, tmp_path: Path) -> None:
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    shutil.copytree(clone.project, project)
    elsewhere.mkdir()
    (elsewhere / "x").write_text("x")
    (project / "train.sh").write_text("true")
    (project / "train.sh").chmod(0o700)
    (project / "a 'name'\nof two lines").write_text("x")
    (project / "same").symlink_to(project / "data")
    (project / "data" / "link.py").symlink_to("../train.py")
    for name, target in (("other", elsewhere), ("other.x", elsewhere / "x"), ("none", "nowhere"), ("loop", "loop")):
        (project / name).symlink_to(target)
    for secret in (".env", ".env.local", "data/.netrc"):
        (project / secret).write_text("TOKEN=1")
    (project / ".env.example").write_text("TOKEN=")
    os.mkfifo(project / "pipe")
    (project / "logs").mkdir()
    mine = Clone(clone.folder, project, clone.endpoint)
    done = mine.launch(run)
    assert done.returncode == 0, done.stderr
    bucket, _, key = mine.parameters(run)["Code"].removeprefix("s3://").partition("/")
    body = mine.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        entries = {entry.name: entry for entry in tar}
    assert entries["./same"].linkname == "data"
    assert entries["./data/link.py"].linkname == "../train.py"
    assert entries["./train.sh"].mode == 0o755
    assert entries["./logs"].isdir(), "the script may write to it"
    assert {"./.env.example", "./a 'name'\nof two lines"} < set(entries)
    assert not any(
        name in entries for name in ("./.env", "./.env.local", "./data/.netrc", "./pipe", "./other", "./none")
    )
    assert "left out, as they may hold secrets: .env, .env.local, data/.netrc" in done.stdout
    assert "left out, no files: pipe" in done.stdout
    (links,) = [line for line in done.stdout.splitlines() if "symbolic links to what is not packed" in line]
    assert all(f"{name} -> " in links for name in ("other", "other.x", "none", "loop"))


def test_a_folder_without_the_script_that_the_training_starts_is_refused(clone: Clone, run: str) -> None:
    done = clone.launch(run, "--training", "python -u trian.py --epochs 3")
    assert done.returncode == 0, "an option before it is not looked at"
    done = clone.launch(f"{run}-2", "--training", "env X=1 python3 trian.py --epochs 3")
    assert done.returncode == 1
    assert "has no trian.py" in done.stderr
    assert "create_" not in done.stdout


@pytest.mark.whole
def test_too_much_is_refused_before_it_is_read(clone: Clone, run: str, tmp_path: Path) -> None:
    (tmp_path / "train.py").touch()
    (tmp_path / "data").touch()
    os.truncate(tmp_path / "data", 5 * 1024**3 + 1)  # it takes no room
    done = Clone(clone.folder, tmp_path, clone.endpoint).launch(run)
    assert done.returncode == 1
    assert "holds more than 5 GiB of files" in done.stderr
    assert "create_" not in done.stdout


@pytest.mark.whole
def test_a_bucket_of_another_account_is_refused(clone: Clone, run: str) -> None:
    def refuse(call: Call, headers: dict[str, str]) -> tuple[int, str, str] | None:
        return (403, "AccessDenied", "no") if call.operation == "HeadBucket" else None

    with Door(clone.endpoint, refuse=refuse) as door:
        done = clone.launch(run, *NOTHING_PACKED, endpoint=door.endpoint)
    assert done.returncode == 1
    assert f"is {BUCKET} another account's, or in another region? then choose one with --bucket" in done.stderr
    assert "create_" not in done.stdout


def test_the_region_is_said_and_a_dry_run_says_that_it_pretends_one(clone: Clone, run: str, tmp_path: Path) -> None:
    (tmp_path / "config").write_text("[default]\nregion = eu-west-1\n")
    unset = {"AWS_DEFAULT_REGION": "", "AWS_CONFIG_FILE": os.devnull, "AWS_EC2_METADATA_DISABLED": "true"}
    words = (run, "--dry-run", *NOTHING_PACKED)
    assert clone.launch(*words, **unset).stdout.startswith(
        "region us-east-1, as none is set: a launch needs AWS_REGION"
    )
    configured = clone.launch(*words, **{**unset, "AWS_CONFIG_FILE": str(tmp_path / "config")})
    assert configured.stdout.startswith("region eu-west-1\n")
    assert "holdfast-123456789012-eu-west-1" in configured.stdout
    real = clone.launch(run, *NOTHING_PACKED, **unset)
    assert (real.returncode, real.stderr) == (1, "launch: no region: set AWS_REGION, or region in ~/.aws/config\n")


def test_instance_types_of_several_sizes_are_refused_before_anything_is_made(clone: Clone, run: str) -> None:
    mixed = clone.launch(run, *NOTHING_PACKED, "InstanceType1=m7i.xlarge", "InstanceType2=r7i.xlarge")
    assert mixed.returncode == 1
    assert "m7i.xlarge: 16 GiB, 4 vCPUs; r7i.xlarge: 32 GiB, 4 vCPUs" in mixed.stderr
    assert "create_" not in mixed.stdout
    assert clone.launch(run, *NOTHING_PACKED, "InstanceType1=r7i.xlarge", "InstanceType2=r7iz.xlarge").returncode == 0
    added = clone.launch(run, *NOTHING_PACKED, "InstanceType3=m7i.xlarge")
    assert added.returncode == 1, "an update adds it to those that the stack has"
    assert "m7i.xlarge: 16 GiB, 4 vCPUs; r7i.xlarge: 32 GiB, 4 vCPUs; r7iz.xlarge: 32 GiB, 4 vCPUs" in added.stderr


@pytest.mark.parametrize(
    ("types", "named"),
    first_rows(
        2,
        [
            (["InstanceType2=m7i.xlarge"], "need an InstanceType1"),
            (["Gpu=yes", "DiskGiB=100"], "give types that have a GPU"),
            (["Gpu=yes", "InstanceType1=g6.xlarge"], "give DiskGiB=100 or more"),
            (["Gpu=yes", "DiskGiB=100", "InstanceType1=m7i.xlarge"], "m7i.xlarge has no GPU"),
            (["Gpu=yes", "DiskGiB=100", "InstanceType1=g6.xlarge", "InstanceType2=g5.xlarge"], "1 A10G; g6.xlarge: 16"),
        ],
    ),
)
def test_machines_that_do_not_fit_are_refused_before_anything_is_made(
    clone: Clone, run: str, types: list[str], named: str
) -> None:
    done = clone.launch(run, *NOTHING_PACKED, *types)
    assert done.returncode == 1
    assert named in done.stderr
    assert "create_" not in done.stdout


@pytest.mark.whole
def test_cpus_of_several_makers_or_generations_are_said(clone: Clone, run: str) -> None:
    done = clone.launch(run, *NOTHING_PACKED, "InstanceType1=m7i.xlarge", "InstanceType2=m7a.xlarge")
    assert done.returncode == 0, done.stderr
    assert "m7a.xlarge: AMD, generation 7; m7i.xlarge: Intel, generation 7. A training that resumes" in done.stdout
    one = clone.launch(f"{run}-2", *NOTHING_PACKED, "InstanceType1=m7i.xlarge", "InstanceType2=m7i-flex.xlarge")
    assert "the CPUs differ" not in one.stdout
    large = clone.launch(f"{run}-3", *NOTHING_PACKED, "InstanceType1=c7i.48xlarge")
    assert "one busy core is 0.5 % of these machines" in large.stdout


@pytest.mark.parametrize(
    ("words", "named"),
    first_rows(
        8,
        [
            (["Nonsense=1"], "Nonsense"),
            (["MaxHours"], "MaxHours"),
            (["--stack", "1_x"], "1_x"),
            (["--what"], "--what"),
            (["MaxHours=abc"], "a number from 1 to 8760"),
            (["NoncurrentDays=0"], "a whole number from 1 to 365"),
            (["DiskGiB=40.5"], "a whole number from 16 to 16384"),
            (["ManagedPolicies=AmazonSSMManagedInstanceCore"], "ARNs of policies"),
            (["Vpc=vpc-1", "Subnets=subnet-1;subnet-2"], "subnets' ids"),
            (["InstanceType1=m7g.xlarge"], "Graviton"),
            (["InstanceType1=a1.xlarge"], "Graviton"),
            (["HoldfastRequirement=holdfast"], "a name and a wheel's URL"),
            (["LogDays=2"], "one of 0, 1, 3"),
            (["--training", "python 'a b'"], "plain words"),
            (["--training", "python tr\u00e4in.py\n"], "plain words"),
            (["--training", "python a.py", "Training=python b.py"], "given twice"),
            (["RunName=other"], "given twice"),
            (["--bucket", "My_Bucket"], "a bucket's name"),
            (["--extra", "x] @ "], "--extra"),
            (["EndAt=2020-01-31T12:00:00Z"], "is past"),
            (["EndAt=2030-06-31T12:00:00Z"], "there is no such time"),
            (["StorePrefix=code"], "not in code/ or wheels/"),
            (["Vpc=vpc-1"], "Vpc needs Subnets"),
            (["SetUp=s3://mine/set-up.tar.gz"], "SetUp needs SetUpSha256"),
        ],
    ),
)
def test_wrong_arguments_are_named_before_anything_is_done(clone: Clone, words: list[str], named: str) -> None:
    done = clone.launch("digits", "--dry-run", *words)
    assert done.returncode == 78
    assert named in done.stderr
    assert done.stdout == ""


def test_a_refusal_of_aws_is_one_line(clone: Clone, run: str) -> None:
    done = clone.launch(run, endpoint="http://127.0.0.1:9")
    assert done.returncode == 1
    assert done.stderr.startswith("launch: sts get_caller_identity: ")
    assert "Traceback" not in done.stderr


def test_the_parameters_that_it_sets_are_the_templates(clone: Clone) -> None:
    assert {"RunName", "Code", "Training", "HoldfastRequirement", "SetUp", "Vpc", "Subnets"} <= set(
        template()["Parameters"]
    )
