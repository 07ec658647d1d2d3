"""Whose machine is this? Its hardware says so, without a question to the network."""

from __future__ import annotations

from pathlib import Path

_AZURE = "7783-7084-3265-9085-8269-3286-77"


def is_ec2(root: Path) -> bool:
    """``root`` is '/', or a likeness of it."""
    return _text(root / "sys/class/dmi/id/sys_vendor").startswith("Amazon EC2") or _text(
        root / "sys/hypervisor/uuid"
    ).startswith("ec2")


def is_google(root: Path) -> bool:
    return _text(root / "sys/class/dmi/id/product_name").startswith("Google Compute Engine")


def is_azure(root: Path) -> bool:
    """By the asset tag that Azure gives its machines: Microsoft makes others, too."""
    return _text(root / "sys/class/dmi/id/chassis_asset_tag").strip() == _AZURE


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""
