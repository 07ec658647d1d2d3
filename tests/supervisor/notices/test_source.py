from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.supervisor.notices.source import cloud_of

DMI = "sys/class/dmi/id"


@pytest.mark.parametrize(
    ("file", "text", "cloud"),
    [
        (f"{DMI}/sys_vendor", "Amazon EC2\n", "aws"),
        ("sys/hypervisor/uuid", "ec2e1916-9099-7caf-fd21-012345abcdef\n", "aws"),
        (f"{DMI}/product_name", "Google Compute Engine\n", "gcp"),
        (f"{DMI}/chassis_asset_tag", "7783-7084-3265-9085-8269-3286-77\n", "azure"),
        (f"{DMI}/sys_vendor", "Microsoft Corporation\n", None),
        (f"{DMI}/sys_vendor", "LENOVO\n", None),
    ],
)
def test_the_hardware_says_whose_machine_it_is(tmp_path: Path, file: str, text: str, cloud: str | None) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert cloud_of("auto", tmp_path, {}) == cloud


def test_a_machine_that_is_no_clouds_asks_nobody_unless_it_is_given(tmp_path: Path) -> None:
    assert cloud_of("auto", tmp_path, {}) is None
    assert cloud_of("auto", tmp_path, {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1"}) == "aws"
    for given in ("aws", "gcp", "azure"):
        assert cloud_of(given, tmp_path, {}) == given
    assert cloud_of("none", tmp_path, {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1"}) is None
