"""A stack, and the environment of the machine that its group started."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fakes.aws import Call, Door
from holdfast.drill.fake_imds import MetadataService
from integration.daemons import Machines, machines

from .stacks import Stack, create


@dataclass(frozen=True)
class Site:
    """A stack, the metadata service of its machine, and the door that its calls go through."""

    stack: Stack
    metadata: MetadataService
    door: Door
    park: Machines
    instance: str

    @property
    def hook(self) -> str:
        return f"{self.stack.name}/holdfast-drain"

    def desired(self) -> int:
        return int(self.stack.group()["DesiredCapacity"])

    def state(self) -> str:
        """The machine's, as EC2 has it."""
        found = self.stack.client("ec2").describe_instances(InstanceIds=[self.instance])
        return str(found["Reservations"][0]["Instances"][0]["State"]["Name"])


@pytest.fixture
def site(s3_server: str, tmp_path: Path) -> Iterator[Site]:
    stack = create(s3_server)
    instance = stack.group()["Instances"][0]["InstanceId"]
    with MetadataService() as metadata:
        metadata.documents |= {"instance-id": instance, "placement/region": "us-east-1"}

        def leave(call: Call) -> bool:
            """As EC2 does, the metadata service says so when the group takes the machine away."""
            if call.operation == "TerminateInstanceInAutoScalingGroup":
                metadata.documents["autoscaling/target-lifecycle-state"] = "Terminated"
            return False

        with Door(s3_server, leave) as door:
            environment = {
                "HOLDFAST_ENDPOINT_URL": door.endpoint,
                "AWS_ENDPOINT_URL_AUTO_SCALING": door.endpoint,
                "AWS_EC2_METADATA_DISABLED": "false",
                "AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata.endpoint,
            }
            with machines(stack.outputs["Store"], tmp_path / "machines", environment) as park:
                yield Site(stack, metadata, door, park, instance)
