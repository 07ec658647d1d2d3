"""The template, made into a stack on moto, and what came of it."""

from __future__ import annotations

import ast
import base64
import functools
import hashlib
import json
import subprocess
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from cfnlint.decode import cfn_yaml

EC2 = Path(__file__).parents[2] / "deploy" / "ec2"
TEMPLATE = EC2 / "holdfast.yaml"
CODE = "s3://my-code/digits/v1.tar.gz"
KEY = "arn:aws:kms:us-east-1:123456789012:key/01234567-89ab-cdef-0123-456789abcdef"
SET_UP = "s3://my-code/set-up.tar.gz"


@dataclass(frozen=True)
class Stack:
    """A stack that was created, by its logical names."""

    endpoint: str
    name: str
    resources: Mapping[str, str]
    outputs: Mapping[str, str]

    def client(self, service: str) -> Any:
        return boto3.client(service, endpoint_url=self.endpoint)  # type: ignore[call-overload]

    def group(self) -> dict[str, Any]:
        """The Auto Scaling group as the service describes it."""
        answer = self.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[self.name])
        found: dict[str, Any] = answer["AutoScalingGroups"][0]
        return found

    def launch_data(self) -> dict[str, Any]:
        versions = self.client("ec2").describe_launch_template_versions(
            LaunchTemplateId=self.resources["LaunchTemplate"], Versions=["$Latest"]
        )
        data: dict[str, Any] = versions["LaunchTemplateVersions"][0]["LaunchTemplateData"]
        return data

    def user_data(self) -> str:
        return base64.b64decode(self.launch_data()["UserData"]).decode()

    def policies(self) -> dict[str, dict[str, Any]]:
        """The role's own policies, by name."""
        iam, role = self.client("iam"), self.resources["Role"]
        names = iam.list_role_policies(RoleName=role)["PolicyNames"]
        documents = [iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"] for name in names]
        # moto keeps those that came with a role as Python prints them.
        return {
            name: ast.literal_eval(document) if isinstance(document, str) else document
            for name, document in zip(names, documents, strict=True)
        }


def template() -> dict[str, Any]:
    """The template as a document."""
    document: dict[str, Any] = cfn_yaml.load(str(TEMPLATE))
    return document


def properties(resource: str) -> dict[str, Any]:
    found: dict[str, Any] = template()["Resources"][resource]["Properties"]
    return found


def packed_set_up() -> bytes:
    """As docs/ec2.md has it made by hand."""
    words = ["tar", "-cz", "--mtime=@0", "-C", str(EC2.parent), "ec2/machine", "systemd", "docker"]
    return subprocess.run(words, capture_output=True, check=True, timeout=60).stdout


@functools.cache
def undecided(endpoint: str) -> Stack:
    """A stack that leaves all to the template, made once: for tests that only look at it."""
    return create(endpoint)


def create(endpoint: str, **parameters: str) -> Stack:
    """Creates the stack in a network of its own; parameters as in the template."""

    def client(service: str) -> Any:
        return boto3.client(service, endpoint_url=endpoint)  # type: ignore[call-overload]

    ec2 = client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{i}.0/24", AvailabilityZone=f"us-east-1{zone}")["Subnet"]
        for i, zone in enumerate("abc")
    ]
    given = {
        "RunName": "count",
        "Code": CODE,
        "SetUp": SET_UP,
        "SetUpSha256": hashlib.sha256(packed_set_up()).hexdigest(),
        "Vpc": vpc,
        "Subnets": ",".join(subnet["SubnetId"] for subnet in subnets),
        **parameters,
    }
    name = f"holdfast-{uuid.uuid4().hex[:12]}"
    cloudformation = client("cloudformation")
    cloudformation.create_stack(
        StackName=name,
        TemplateBody=TEMPLATE.read_text(),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()],
        Capabilities=["CAPABILITY_IAM"],
    )
    found = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    assert found["StackStatus"] == "CREATE_COMPLETE", found
    resources = cloudformation.describe_stack_resources(StackName=name)["StackResources"]
    return Stack(
        endpoint,
        name,
        {
            resource["LogicalResourceId"]: resource["PhysicalResourceId"]
            for resource in resources
            if {"LogicalResourceId", "PhysicalResourceId"} <= resource.keys()
        },
        {output["OutputKey"]: output["OutputValue"] for output in found["Outputs"]},
    )


def evaluate(endpoint: str, expression: object, **parameters: str) -> str:
    """What CloudFormation makes of an expression of the template, for what moto leaves out of its resources."""
    whole = template()
    document = {
        **{section: whole[section] for section in ("Parameters", "Mappings", "Conditions")},
        "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
        "Outputs": {"It": {"Value": expression}},
    }
    given = {"RunName": "count", "Code": CODE, "SetUp": SET_UP, "SetUpSha256": "0" * 64, "Vpc": "v", "Subnets": "s"}
    client = boto3.client("cloudformation", endpoint_url=endpoint)
    name = f"expression-{uuid.uuid4().hex[:12]}"
    client.create_stack(
        StackName=name,
        TemplateBody=json.dumps(document),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in (given | parameters).items()],
    )
    (output,) = client.describe_stacks(StackName=name)["Stacks"][0]["Outputs"]
    return str(output["OutputValue"])
