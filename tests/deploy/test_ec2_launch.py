"""deploy/ec2/launch, in a clean clone: what it says without AWS, and what it makes on moto."""

from __future__ import annotations

import hashlib
import io
import json
import os
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

    def launch(self, *words: str, endpoint: str | None = None, build: bool = False) -> subprocess.CompletedProcess[str]:
        """With a wheel that is there already, unless it is to be built."""
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            "AWS_ENDPOINT_URL": endpoint or self.endpoint,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "PIP_NO_BUILD_ISOLATION": "1",
        }
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
    checkout.client("s3").create_bucket(Bucket=BUCKET)
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
    assert f"holdfast ls s3://{given['ExistingBucket']}/runs" in done.stdout
    assert f"--auto-scaling-group-name {run}" in done.stdout


def test_the_machine_gets_the_versions_that_holdfast_is_tested_with_but_for_those_of_the_code(
    clone: Clone, run: str
) -> None:
    assert clone.launch(run).returncode == 0
    pins = clone.archive(clone.parameters(run)["Code"])["./constraints.txt"].decode().splitlines()
    assert any(line.startswith("numpy==") for line in pins)
    assert not any(line.lower().startswith("flask==") for line in pins), "requirements.txt has its own"


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
    assert set(changed) == {"DiskGiB", "Code"}
    assert asked["EndAt"] is None
    same = updates(clone.launch(run))
    assert same["Code"] == before["Code"], "the same code is the same archive"
    moved = clone.launch(run, "--bucket", "elsewhere")
    assert moved.returncode == 1
    assert f"keeps its checkpoints in s3://{BUCKET}/runs" in moved.stderr


def test_the_group_ends_the_machine_an_hour_after_the_runs_own_end_whatever_is_on_it(clone: Clone, run: str) -> None:
    begin = datetime.now(UTC)
    assert clone.launch(run, "MaxHours=12", "Code=registry.example/digits:1").returncode == 0
    end = datetime.fromisoformat(clone.parameters(run)["EndAt"])
    assert timedelta(hours=12.9) < end - begin < timedelta(hours=13.1)


def test_a_stack_with_a_bucket_of_its_own_keeps_it(clone: Clone) -> None:
    stack = create(clone.endpoint)
    asked = updates(clone.launch("count", "--stack", stack.name))
    assert asked["ExistingBucket"] is None
    assert str(asked["Code"]).startswith(f"s3://{stack.resources['Bucket']}/code/count/")


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
    assert wheels["Filter"]["Prefix"] == cache["Prefix"]["Fn::Sub"].replace("${StorePrefix}", "runs")
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


def test_the_machine_is_set_up_by_the_files_of_the_clone_and_by_no_others(clone: Clone, run: str) -> None:
    assert clone.launch(run, "Code=registry.example/digits:1").returncode == 0
    given = clone.parameters(run)
    deploy = clone.folder / "deploy"
    files = [*deploy.glob("ec2/machine/*"), *deploy.glob("systemd/*"), *deploy.glob("docker/*")]
    assert clone.archive(given["SetUp"]) == {f"./{path.relative_to(deploy)}": path.read_bytes() for path in files}
    bucket, _, key = given["SetUp"].removeprefix("s3://").partition("/")
    packed = clone.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    assert given["SetUpSha256"] == hashlib.sha256(packed).hexdigest()


def test_instance_types_of_several_sizes_are_refused_before_anything_is_made(clone: Clone, run: str) -> None:
    mixed = clone.launch(run, *NOTHING_PACKED, "InstanceType1=m7i.xlarge", "InstanceType2=r7i.xlarge")
    assert mixed.returncode == 1
    assert "m7i.xlarge: 16 GiB, 4 vCPUs; r7i.xlarge: 32 GiB, 4 vCPUs" in mixed.stderr
    assert "create_" not in mixed.stdout
    assert clone.launch(run, *NOTHING_PACKED, "InstanceType1=r7i.xlarge", "InstanceType2=r7iz.xlarge").returncode == 0


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["Nonsense=1"], "Nonsense"),
        (["MaxHours"], "MaxHours"),
        (["--stack", "1_x"], "1_x"),
        (["--what"], "--what"),
        (["MaxHours=abc"], "a number from 1 to 8760"),
        (["NoncurrentDays=0"], "a number from 1 to 365"),
        (["InstanceType1=m7g.xlarge"], "Graviton"),
        (["InstanceType1=a1.xlarge"], "Graviton"),
        (["HoldfastRequirement=holdfast"], "a name and a wheel's URL"),
        (["LogDays=2"], "one of 0, 1, 3"),
    ],
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
