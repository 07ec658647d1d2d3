"""How long a machine on EC2 is set up before its training starts, with TensorFlow: from a package index, from the
wheels that an earlier machine stored, and from an image that was baked.

    python benchmarks/ec2_set_up.py

The machine is a container with a real systemd that runs the template's user data (tests/real). Its disk is memory. The
index is a folder and S3 is moto on loopback, in Python: what the machine waited for it stands in a column of its own.
Needs root and the packages of tests/real/packages.txt.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from measure import machine, table

import holdfast
from real.ec2 import CLOUD_FINAL, CODE_BUCKET, Cloud, boot, cloud, furnish, make_wheels
from real.nspawn import ROOT, Machine, overlay

WHEEL = f"holdfast-train[tensorflow] @ file:///opt/wheels/holdfast_train-{holdfast.__version__}-py3-none-any.whl"
SCRIPT = (ROOT / "tests" / "scripts" / "count.py").read_text()
STARTED = "holdfast: starting holdfast@count"
PATIENCE = 600.0
TIMED = """#!/bin/bash
began=$EPOCHREALTIME
aws-itself "$@"
code=$?
awk "BEGIN { print $EPOCHREALTIME - $began }" >>/var/log/aws-seconds.log
exit $code
"""


def wheels_in(folder: Path) -> Path:
    words = [sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", str(folder)]
    pins = ["--constraint", str(ROOT / "constraints.txt")]
    subprocess.run([*words, *pins, f"{ROOT}[tensorflow]"], check=True, stdin=subprocess.DEVNULL)
    return make_wheels(folder)


def set_up(there: Machine) -> tuple[float, float, float]:
    """Seconds to the start of the training, of these in calls of S3, and to the end of all that follows it."""
    log, calls = there.path("/var/log/holdfast-setup.log"), there.path("/var/log/aws-seconds.log")
    log.unlink(missing_ok=True)
    calls.write_text("")
    calls.chmod(0o666)  # the packages' installer is not root
    began = time.monotonic()
    there.run("systemctl", "restart", "--no-block", CLOUD_FINAL)
    started = in_s3 = 0.0
    while time.monotonic() - began < PATIENCE:
        if not started and log.exists() and STARTED in log.read_text():
            started = time.monotonic() - began
            in_s3 = sum(map(float, calls.read_text().split()))
        if started and there.show(CLOUD_FINAL, "ActiveState") == "active":
            return started, in_s3, time.monotonic() - began
        time.sleep(0.1)
    raise SystemExit(f"the set-up did not end:\n{there.log(CLOUD_FINAL)}")


def measured(aws: Cloud, folder: Path) -> list[tuple[str, float, float, float]]:
    stack = aws.stack(
        Code=f"s3://{CODE_BUCKET}/v1.tar.gz",
        HoldfastRequirement=WHEEL,
        Training="env HOLD_AT=33 EVERY=1000 python train.py",
    )
    aws.upload(stack, "v1.tar.gz", {"train.py": SCRIPT})
    user_data = aws.ask(stack.user_data)
    found = []
    for name in ("the index", "the stored wheels"):
        place = folder / name.replace(" ", "-")
        place.mkdir()
        with overlay(place) as root:
            furnish(root, aws, user_data)
            (root / "usr/local/bin/aws").rename(root / "usr/local/bin/aws-itself")
            (root / "usr/local/bin/aws").write_text(TIMED)
            (root / "usr/local/bin/aws").chmod(0o755)
            if name != "the index":
                (root / "etc/pip.conf").write_text("[global]\nno-index = true\n")
            with boot(root, place, aws) as there:
                found.append((name, *set_up(there)))
                if name == "the stored wheels":
                    there.run("systemctl", "stop", "holdfast@count")
                    there.run("rm", "-r", "/opt/holdfast/code", "/opt/holdfast-set-up")
                    found.append(("an image with all of it", *set_up(there)))
    size = aws.ask(lambda: stack.client("s3").list_objects_v2(Bucket=stack.resources["Bucket"], Prefix="wheels/"))
    largest = max(entry["Size"] for entry in size["Contents"])
    print(f"The stored wheels are {largest / 1e6:.0f} MB.")
    return found


def main() -> None:
    os.environ |= {"AWS_DEFAULT_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    with tempfile.TemporaryDirectory() as wheels, tempfile.TemporaryDirectory() as places, ExitStack() as stack:
        aws = stack.enter_context(cloud(wheels_in(Path(wheels))))
        found = measured(aws, Path(places))
    print(machine())
    rows = [(name, *(f"{seconds:.0f}" for seconds in times)) for name, *times in found]
    table(
        ("packages come from", "s to the start of the training", "of these in S3", "s to the end of the set-up"), rows
    )


if __name__ == "__main__":
    main()
