"""This machine as a member of an EC2 Auto Scaling group: how it is given back.

Beside store/s3/ the only importer of boto3, and it loads it only when a call is due: at the end of ``holdfast run``.
The machine's name and region come from the metadata service. Every trouble is an AutoScalingError, one line for a
person; the caller makes a warning of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from ...core.errors import HoldfastError
from ...core.imds_paths import INSTANCE, LIFECYCLE, REGION


class AutoScalingError(HoldfastError):
    """A call to the group, or to the metadata service for it, failed."""


@dataclass(frozen=True)
class Hook:
    """A termination hook: the group waits with the machine's end until the hook's action is completed."""

    group: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Hook | None:
        """Reads GROUP/HOOK; None if ``text`` is something else."""
        group, _, name = text.rpartition("/")
        return cls(group, name) if group and name else None


class Metadata(Protocol):
    """The instance metadata service (notices/imds.py). ``read`` raises HoldfastError; None is for 404."""

    def read(self, path: str) -> str | None: ...


class Member:
    """Calls the Auto Scaling API for this machine. ``metadata`` is None where the service is disabled."""

    def __init__(self, metadata: Metadata | None) -> None:
        self._metadata = metadata

    def leaving(self) -> bool:
        """Is the group taking this machine away? Raises AutoScalingError."""
        return self._ask(LIFECYCLE).strip() == "Terminated"

    def give_back(self, decrement: bool) -> None:
        """Has the group terminate this machine; with ``decrement`` it also wants one less. Raises AutoScalingError."""
        self._call(
            "terminate_instance_in_auto_scaling_group",
            InstanceId=self._ask(INSTANCE),
            ShouldDecrementDesiredCapacity=decrement,
        )

    def complete_hook(self, hook: Hook) -> None:
        """Completes the hook's action: the group need not wait any longer. Raises AutoScalingError."""
        self._call(
            "complete_lifecycle_action",
            AutoScalingGroupName=hook.group,
            LifecycleHookName=hook.name,
            InstanceId=self._ask(INSTANCE),
            LifecycleActionResult="CONTINUE",
        )

    def _ask(self, path: str) -> str:
        if self._metadata is None:
            raise AutoScalingError("the metadata service is disabled (AWS_EC2_METADATA_DISABLED)")
        try:
            answer = self._metadata.read(path)
        except HoldfastError as error:
            raise AutoScalingError(f"no answer from the metadata service: {error}") from None
        if not answer:
            raise AutoScalingError(f"the metadata service knows no {path}: is this machine in an Auto Scaling group?")
        return answer

    def _call(self, operation: str, **arguments: Any) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            getattr(self._client(), operation)(**arguments)
        except (ClientError, BotoCoreError, ValueError) as error:
            raise AutoScalingError(str(error)) from None

    def _client(self) -> Any:
        import boto3
        from botocore.config import Config

        config = Config(connect_timeout=3, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 4})
        return boto3.session.Session().client("autoscaling", region_name=self._ask(REGION), config=config)
