"""Where interruption notices come from: one small protocol, and which source this machine has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from .hardware import is_azure, is_ec2, is_google
from .imds import ENDPOINT_VARIABLE as AWS_ENDPOINT

CHOICES = ("auto", "aws", "gcp", "azure", "none")


class NoticeSource(Protocol):
    """Reports NoticeStands and NoNotice of its ``name``, in a thread of its own.

    Its first look is always reported, by one of the two: nothing is started before it. Whatever trouble it has is a
    warning, and never an interruption.
    """

    @property
    def name(self) -> str: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...


def cloud_of(given: str, root: Path, environment: Mapping[str, str]) -> str | None:
    """``aws``, ``gcp`` or ``azure``; None where there is no metadata service to be asked.

    ``given`` is one of CHOICES. ``auto`` goes by the hardware, so that no question goes to the network of a machine
    that is no cloud's, and by the variable that names an endpoint. ``root`` is '/', or a likeness of it.
    """
    if given != "auto":
        return None if given == "none" else given
    if environment.get(AWS_ENDPOINT) or is_ec2(root):
        return "aws"
    if is_google(root):
        return "gcp"
    return "azure" if is_azure(root) else None
