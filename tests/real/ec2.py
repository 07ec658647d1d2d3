"""A likeness of EC2 for user data: a stack on moto, the metadata service at its own address, and machines that boot.

A network namespace holds all three. What a machine of Amazon Linux has and this one lacks stands in its
/usr/local/bin: ``dnf`` gives a Python 3.11, ``aws`` is the real one told where S3 is, and ``sleep`` is short. pip is
the real one, with a folder of wheels as its index, among them holdfast's own.
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from deploy.stacks import Stack, create, packed_set_up
from fakes.aws import Call, Door
from fakes.moto import moto_server
from holdfast.drill.fake_imds import MetadataService

from .nspawn import ROOT, Machine, booted
from .podman import METADATA_ADDRESS, inside, metadata_network

T = TypeVar("T")
CODE_BUCKET = "my-code"
USER_DATA = "/var/lib/cloud/instance/scripts/part-001"
CLOUD_FINAL = "cloud-final.service"
_CREDENTIALS = "iam/security-credentials/"
_LIFECYCLE = "autoscaling/target-lifecycle-state"

# As cloud-init ships it, but for the command and its number of attempts at a call: its last stage is what runs the
# user data, on an instance's first boot.
_CLOUD_FINAL = f"""\
[Service]
Type=oneshot
Environment=AWS_MAX_ATTEMPTS=1
ExecStart={USER_DATA}
RemainAfterExit=yes
KillMode=process
StandardOutput=journal+console
"""
_DNF = """\
#!/bin/sh
echo "$*" >>/var/log/dnf.log
for word; do
  case $word in
    install | -y | -q | python3.11-pip | amazon-cloudwatch-agent) ;;
    python3.11) printf '#!/bin/sh\\nexec /opt/python/bin/python3.11 "$@"\\n' >/usr/local/bin/python3.11 ;;
    *) echo "no package $word" >&2 && exit 1 ;;
  esac
done
chmod +x /usr/local/bin/python3.11
"""
_SLEEP = '#!/bin/sh\necho "$*" >>/var/log/sleep.log\n'


@dataclass(frozen=True)
class Cloud:
    """A stack, and what its machines see of EC2. All of it is within the network; ``door`` is before moto."""

    network: str
    door: Door
    metadata: MetadataService
    wheels: Path

    @property
    def endpoint(self) -> str:
        return self.door.endpoint

    def begin_anew(self) -> None:
        """Nobody watches the calls, and the next stack's machine is in service."""
        self.door.watch = self.take_away
        self.metadata.documents.clear()
        self.metadata.documents[_LIFECYCLE] = "InService"

    def take_away(self, call: Call) -> bool:
        """As EC2 does, the metadata service says so when the group takes the machine away."""
        if call.operation == "TerminateInstanceInAutoScalingGroup":
            self.metadata.documents[_LIFECYCLE] = "Terminated"
        return False

    def ask(self, call: Callable[[], T]) -> T:
        """What ``call`` returns where moto can be reached."""
        return inside(self.network, call)

    def stack(self, **parameters: str) -> Stack:
        """Created, its set-up where it says, and the metadata service speaks for the machine that its group started."""
        stack = self.ask(lambda: create(self.endpoint, **parameters))
        self.ask(lambda: self._fill(stack.client("s3")))
        self._be_its_machine(stack)
        self.metadata.documents |= {
            "placement/region": "us-east-1",
            _CREDENTIALS: "holdfast",
            f"{_CREDENTIALS}holdfast": _credentials(),
        }
        return stack

    def _fill(self, s3: Any) -> None:
        """The bucket of code, with nothing in it but the set-up."""
        s3.create_bucket(Bucket=CODE_BUCKET)
        for entry in s3.list_objects_v2(Bucket=CODE_BUCKET).get("Contents", ()):
            s3.delete_object(Bucket=CODE_BUCKET, Key=entry["Key"])
        s3.put_object(Bucket=CODE_BUCKET, Key="set-up.tar.gz", Body=packed_set_up())

    def start_another(self, stack: Stack) -> None:
        """Its group wants a machine again, and gets one."""
        wanted = {"AutoScalingGroupName": stack.name, "DesiredCapacity": 1}
        self.ask(lambda: stack.client("autoscaling").set_desired_capacity(**wanted))
        self._be_its_machine(stack)

    def _be_its_machine(self, stack: Stack) -> None:
        (machine,) = self.ask(stack.group)["Instances"]
        self.metadata.documents |= {"instance-id": machine["InstanceId"], _LIFECYCLE: "InService"}

    def upload(self, stack: Stack, key: str, files: dict[str, str]) -> None:
        """An archive of code, as ``tar -czf`` makes it."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w:gz") as tar:
            for name, text in files.items():
                entry = tarfile.TarInfo(f"./{name}")
                entry.size = len(text.encode())
                entry.mode = 0o600  # as a careful umask leaves it; the training runs as somebody else
                tar.addfile(entry, io.BytesIO(text.encode()))
        self.ask(lambda: stack.client("s3").put_object(Bucket=CODE_BUCKET, Key=key, Body=archive.getvalue()))

    def keys(self, stack: Stack) -> set[str]:
        """The objects of the stack's bucket."""
        bucket = stack.resources["Bucket"]
        listed = self.ask(lambda: stack.client("s3").list_objects_v2(Bucket=bucket))
        return {entry["Key"] for entry in listed.get("Contents", ())}

    def desired(self, stack: Stack) -> int:
        return int(self.ask(stack.group)["DesiredCapacity"])

    def state(self, stack: Stack) -> str:
        """The machine's, as EC2 has it."""
        wanted = [self.metadata.documents["instance-id"]]
        found = self.ask(lambda: stack.client("ec2").describe_instances(InstanceIds=wanted))
        return str(found["Reservations"][0]["Instances"][0]["State"]["Name"])


@contextmanager
def cloud(wheels: Path) -> Iterator[Cloud]:
    with ExitStack() as stack:
        network = stack.enter_context(metadata_network())
        moto = inside(network, lambda: stack.enter_context(moto_server()))
        metadata = inside(network, lambda: stack.enter_context(MetadataService(address=METADATA_ADDRESS)))

        door = inside(network, lambda: stack.enter_context(Door(moto)))
        yield Cloud(network, door, metadata, wheels)


def make_wheels(folder: Path) -> Path:
    """holdfast's own wheel, and those of all that it and the tests' scripts need."""
    assert sys.version_info[:2] == (3, 11), "the user data installs a Python 3.11"
    words = [sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", str(folder)]
    pins = ["--constraint", str(ROOT / "constraints.txt")]
    subprocess.run([*words, *pins, str(ROOT), "numpy", "h5py"], check=True, timeout=600, stdin=subprocess.DEVNULL)
    folder.chmod(0o755)  # as of an index, its files can be read by everybody
    return folder


def furnish(root: Path, cloud: Cloud, user_data: str) -> None:
    """Makes of ``root`` a machine that was never booted."""
    for folder in ("etc/systemd/system/multi-user.target.wants", "lib/systemd/system/multi-user.target.wants"):
        shutil.rmtree(root / folder)
        (root / folder).mkdir()
    for settings in ("etc/pip.conf", "etc/xdg/pip", "root/.pip", "root/.config/pip"):
        _remove(root / settings)
    here = f'export AWS_ENDPOINT_URL={cloud.endpoint}\nexec /usr/bin/aws --endpoint-url "$AWS_ENDPOINT_URL" "$@"\n'
    for name, text in (("dnf", _DNF), ("sleep", _SLEEP), ("aws", f"#!/bin/sh\n{here}")):
        _write(root / "usr/local/bin" / name, text, 0o755)
    _write(root / "etc/pip.conf", "[global]\nno-index = true\nfind-links = /opt/wheels\n")
    _write(root / "etc/ld.so.conf.d/python.conf", "/opt/python/lib\n")
    # Where AWS is; nothing that the user data writes is touched.
    _write(
        root / "etc/systemd/system.conf.d/aws.conf",
        f"[Manager]\nDefaultEnvironment=AWS_ENDPOINT_URL={cloud.endpoint}\n",
    )
    _write(root / "etc/systemd/system" / CLOUD_FINAL, _CLOUD_FINAL)
    _write(root / USER_DATA.lstrip("/"), user_data, 0o700)
    for inside_ in ("opt/python", "opt/wheels"):
        (root / inside_).mkdir(parents=True, exist_ok=True)


@contextmanager
def boot(root: Path, folder: Path, cloud: Cloud) -> Iterator[Machine]:
    """To the end of the start, with all that is enabled by then."""
    binds = {"/opt/python": Path(sys.base_prefix).resolve(), "/opt/wheels": cloud.wheels}
    network = f"--network-namespace-path=/run/netns/{cloud.network}"
    with booted(root, folder, binds, network, "multi-user.target") as machine:
        machine.run("ldconfig")
        yield machine


def _credentials() -> str:
    now = datetime.now(UTC)
    return json.dumps(
        {
            "Code": "Success",
            "Type": "AWS-HMAC",
            "LastUpdated": f"{now:%Y-%m-%dT%H:%M:%SZ}",
            "AccessKeyId": "ASIAIOSFODNN7EXAMPLE",
            "SecretAccessKey": "of-the-role",
            "Token": "of-the-role",
            "Expiration": f"{now + timedelta(hours=6):%Y-%m-%dT%H:%M:%SZ}",
        }
    )


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
