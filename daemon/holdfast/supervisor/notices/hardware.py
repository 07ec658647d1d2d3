"""Is this machine an EC2 instance? Its hardware says so, without a question to the network."""

from __future__ import annotations

from pathlib import Path


def is_ec2(root: Path) -> bool:
    """``root`` is '/', or a likeness of it."""
    return _text(root / "sys/class/dmi/id/sys_vendor").startswith("Amazon EC2") or _text(
        root / "sys/hypervisor/uuid"
    ).startswith("ec2")


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""
