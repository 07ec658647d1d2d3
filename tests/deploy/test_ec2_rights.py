"""The role's policy grants what the daemon calls, and nothing else.

The calls are found twice: in the code, by the names of the SDK's methods, and in what a real daemon sends.
"""

from __future__ import annotations

import ast
import fnmatch
import re
import signal
from pathlib import Path
from typing import Any

import boto3
import pytest

import holdfast
from fakes.aws import Call, Door
from holdfast.core.errors import Exit

from .conftest import Site
from .stacks import CODE, KEY, SET_UP, create, undecided

SOURCE = Path(holdfast.__file__).parent
ACTIONS = {
    ("s3", "AbortMultipartUpload"): "s3:AbortMultipartUpload",
    ("s3", "CompleteMultipartUpload"): "s3:PutObject",
    ("s3", "CopyObject"): "s3:PutObject",  # and s3:GetObject on its source
    ("s3", "CreateMultipartUpload"): "s3:PutObject",
    ("s3", "DeleteObject"): "s3:DeleteObject",
    ("s3", "GetObject"): "s3:GetObject",
    ("s3", "HeadObject"): "s3:GetObject",
    ("s3", "HeadBucket"): "s3:ListBucket",
    ("s3", "ListMultipartUploads"): "s3:ListBucketMultipartUploads",
    ("s3", "ListObjectsV2"): "s3:ListBucket",
    ("s3", "ListParts"): "s3:ListMultipartUploadParts",
    ("s3", "PutObject"): "s3:PutObject",
    ("s3", "UploadPart"): "s3:PutObject",
    ("s3", "UploadPartCopy"): "s3:PutObject",  # and s3:GetObject on its source
    ("autoscaling", "CompleteLifecycleAction"): "autoscaling:CompleteLifecycleAction",
    ("autoscaling", "TerminateInstanceInAutoScalingGroup"): "autoscaling:TerminateInstanceInAutoScalingGroup",
}
"""What IAM asks for each operation, from the Service Authorization Reference."""

TRANSFERS = {
    "upload_file": {
        "PutObject",
        "CreateMultipartUpload",
        "UploadPart",
        "CompleteMultipartUpload",
        "AbortMultipartUpload",
    },
    "download_file": {"HeadObject", "GetObject"},
    "download_fileobj": {"HeadObject", "GetObject"},
}
"""The SDK's own loops, by the operations that they are made of."""


def granted(policy: dict[str, Any]) -> dict[str, Any]:
    """Each action with the resource that it is granted on."""
    found = {}
    for statement in policy["Statement"]:
        assert statement["Effect"] == "Allow"
        actions, resource = statement["Action"], statement["Resource"]
        if isinstance(resource, list):  # moto keeps what AWS::NoValue leaves out
            resource = [arn for arn in resource if arn is not None]
        found |= dict.fromkeys([actions] if isinstance(actions, str) else actions, resource)
    return found


def operations_named_in(module: Path, service: str) -> set[tuple[str, str]]:
    """Every operation of ``service`` that the code of ``module`` names: as a method of anything, or in a string."""
    by_method = boto3.client(service).meta.method_to_api_mapping  # type: ignore[call-overload]
    nodes = list(ast.walk(ast.parse(module.read_text())))
    named = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    named |= {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    found = {by_method[method] for method in named & by_method.keys()}
    found |= {operation for method in named & TRANSFERS.keys() for operation in TRANSFERS[method]}
    return {(service, operation) for operation in found}


SPEAKERS = {
    "store/s3/s3_store.py": "s3",
    "store/s3/bulk.py": "s3",
    "store/s3/copies.py": "s3",
    "supervisor/ending/autoscaling.py": "autoscaling",
}
"""The modules that speak to AWS, with the service."""


def in_the_code() -> set[str]:
    calls = {call for module, service in SPEAKERS.items() for call in operations_named_in(SOURCE / module, service)}
    return {ACTIONS[call] for call in calls} | {"s3:GetObject" for _, operation in calls if "Copy" in operation}


def test_the_policy_grants_the_calls_that_are_in_the_code_and_no_others(s3_server: str) -> None:
    assert set(granted(undecided(s3_server).policies()["holdfast-daemon"])) == in_the_code()


def test_only_these_modules_speak_to_aws() -> None:
    sdk = re.compile(r"^\s*(?:import|from) (?:boto3|botocore)", re.MULTILINE)
    found = {str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*.py") if sdk.search(path.read_text())}
    assert found == set(SPEAKERS)


def test_a_call_is_seen_whatever_its_client_is_called(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text("def f(small):\n    small.copy_object()\n    getattr(small, 'delete_objects')()\n")
    assert operations_named_in(module, "s3") == {("s3", "CopyObject"), ("s3", "DeleteObjects")}


def test_the_policy_grants_every_call_that_a_daemon_makes_and_it_makes_all_of_these(site: Site) -> None:
    failed: list[Call] = []

    def break_one_part(call: Call) -> bool:
        if call.operation != "UploadPart" or failed:
            return False
        failed.append(call)
        return True

    site.door.watch = break_one_part
    hook = ("--lifecycle-hook", site.hook)
    large = {"SIZE": "2500000", "EVERY": "50"}  # 20 MB: several parts
    first = site.park.start("one", *hook, HOLD_AT="20", **large)
    site.park.until_step("one", 20, first)
    first.process.send_signal(signal.SIGTERM)
    assert first.wait() == Exit.STOPPED, first.text
    second = site.park.start("two", *hook, **large)
    assert second.wait() == Exit.COMPLETE, second.text
    third = site.park.start("two", *hook, "--extend", "--on-complete", "scale-in", STEPS="70", **large)
    third.until("given back")
    site.metadata.documents["autoscaling/target-lifecycle-state"] = "Terminated"
    assert third.wait() == Exit.COMPLETE, third.text
    rights = granted(site.stack.policies()["holdfast-daemon"])
    assert {ACTIONS[call.service, call.operation] for call in site.door.calls} == set(rights)
    assert outside(site.door, rights, site) == []


def outside(door: Door, rights: dict[str, str], site: Site) -> list[str]:
    """The calls on objects that the policy's resources leave out."""
    bucket = f"arn:aws:s3:::{site.stack.resources['Bucket']}"
    return [
        f"{call.operation} {call.key}"
        for call in door.made("s3")
        if not fnmatch.fnmatchcase(
            f"{bucket}/{call.key}" if call.key else bucket, rights[ACTIONS["s3", call.operation]]
        )
    ]


@pytest.mark.parametrize(("code", "read"), [(CODE, [SET_UP, CODE]), ("registry.example/digits:1", [SET_UP])])
def test_the_machine_reads_its_set_up_and_its_code_and_no_other_object_there(
    s3_server: str, code: str, read: list[str]
) -> None:
    policies = create(s3_server, Code=code).policies()
    assert set(policies) == {"holdfast-daemon", "holdfast-code"}
    arns = [uri.replace("s3://", "arn:aws:s3:::") for uri in read]
    (archives, wheels) = policies["holdfast-code"]["Statement"]
    assert granted({"Statement": [archives]}) == {"s3:GetObject": arns}
    assert set(granted({"Statement": [wheels]})) == {"s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject"}


def test_no_training_writes_what_the_machines_of_its_own_or_another_stack_are_set_up_from(s3_server: str) -> None:
    """Two stacks of one bucket, as launch makes them; what the role may write to, by all of its policies."""
    code = "s3://mine/code/digits/1.tar.gz"
    one = create(s3_server, ExistingBucket="mine", StorePrefix="stacks/one", Code=code)
    writes = [
        resource.replace("arn:aws:s3:::", "")
        for policy in one.policies().values()
        for statement in policy["Statement"]
        if {"s3:PutObject", "s3:DeleteObject"} & set(statement["Action"])
        for resource in [statement["Resource"]]
    ]
    assert writes == ["mine/stacks/one/*", "mine/wheels/stacks/one/*"]
    theirs = ("code/digits/1.tar.gz", "code/set-up/1.tar.gz", "stacks/one-more/setup/x-versions.txt", "stacks/two/x")
    cache = ("wheels/stacks/one-more/1.tar", "wheels/stacks/two/1.tar")
    for key in (*theirs, *cache):
        assert not any(fnmatch.fnmatchcase(f"mine/{key}", pattern) for pattern in writes), key


def test_a_key_of_ones_own_may_be_used_for_the_buckets_objects_alone(s3_server: str) -> None:
    """What S3 asks of KMS for uploads in one piece and in parts, copies and downloads."""
    (statement,) = create(s3_server, KmsKey=KEY).policies()["holdfast-key"]["Statement"]
    assert statement["Action"] == ["kms:Decrypt", "kms:GenerateDataKey"]
    assert statement["Resource"] == KEY
    assert statement["Condition"] == {"StringEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com"}}
    assert "holdfast-key" not in undecided(s3_server).policies()


def test_another_bucket_and_folder_get_the_rights_instead(s3_server: str) -> None:
    rights = granted(create(s3_server, ExistingBucket="mine", StorePrefix="a/b").policies()["holdfast-daemon"])
    assert rights["s3:PutObject"] == "arn:aws:s3:::mine/a/b/*"
    assert rights["s3:ListBucket"] == "arn:aws:s3:::mine"


def test_only_its_own_group_can_be_told(site: Site) -> None:
    rights = granted(site.stack.policies()["holdfast-daemon"])
    arn = site.stack.group()["AutoScalingGroupARN"]
    for action in ("autoscaling:CompleteLifecycleAction", "autoscaling:TerminateInstanceInAutoScalingGroup"):
        assert fnmatch.fnmatchcase(arn, rights[action])
        assert not fnmatch.fnmatchcase(arn + "-other", rights[action])
