"""podman with storage of its own, images made here, and containers whose console a test can wait for.

No image registry is asked: the base images are made from Debian's packages and from those of this environment.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import TypeVar

from packaging.requirements import Requirement

from integration.daemons import wait_for

ROOT = Path(__file__).parent.parent.parent
SCRIPTS = ROOT / "tests" / "scripts"
PATIENCE = 120.0
_CONFIGURATION = """\
[containers]
default_ulimits = ["nofile=1024:4096", "nproc=1024:4096"]
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
runtime = "runc"
events_logger = "file"
lock_type = "file"
tmp_dir = "{folder}/tmp"
"""
# What a slim image of Python's has, too.
_PACKAGES = "python3,python3-pip,python3-distutils,ca-certificates,passwd,libstdc++6"
_SITE = "/usr/local/lib/python3.11/dist-packages"
_OWN_SITE = metadata.distribution("tensorflow").locate_file("")
TENSORFLOW = f"--volume={_OWN_SITE}/tensorflow:{_SITE}/tensorflow:ro"
_CLOSED = ("--read-only", "--tmpfs=/tmp", "--cap-drop=all", "--security-opt=no-new-privileges")
T = TypeVar("T")


class Podman:
    """Images and containers in ``folder``, whose path has to be short. ``close`` leaves nothing behind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        configuration = folder / "containers.conf"
        configuration.write_text(_CONFIGURATION.format(folder=folder))
        self._environment = {
            **os.environ,
            "CONTAINERS_CONF": str(configuration),
            "BUILDAH_RUNTIME": shutil.which("runc", path="/usr/sbin:/usr/bin") or "runc",
        }
        self._words = ["podman", "--root", str(folder / "root"), "--runroot", str(folder / "run")]

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self._words, *words],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *words: str) -> tuple[int, str]:
        """The exit code, and what was printed."""
        process = self.start(*words)
        output, _ = process.communicate(timeout=600)
        return process.returncode, output

    def __call__(self, *words: str) -> str:
        code, output = self.run(*words)
        assert code == 0, f"podman {' '.join(words)}: exit {code}\n{output[-4000:]}"
        return "\n".join(line for line in output.splitlines() if not line.startswith("time=")).strip()

    def close(self) -> None:
        self("rm", "--all", "--force", "--time", "0")
        for line in reversed(Path("/proc/mounts").read_text().splitlines()):
            if (point := line.split()[1]).startswith(f"{self.folder}/"):
                subprocess.run(["umount", "--lazy", point], check=False)
        shutil.rmtree(self.folder)


@contextlib.contextmanager
def fresh_podman() -> Iterator[Podman]:
    podman = Podman(Path(tempfile.mkdtemp(prefix="hf-", dir="/var/tmp")))
    try:
        yield podman
    finally:
        podman.close()


# --- images --------------------------------------------------------------------------------------------------------


def make_slim_base(podman: Podman) -> str:
    """Debian with its Python and pip, and with what pip needs on this machine to reach its index."""
    archive, settings = podman.folder / "slim.tar", podman.folder / "pip.conf"
    settings.write_text(_pip_settings())
    bundle = "/etc/ssl/certs/ca-certificates.crt"
    target = ["--format", "$(SITE)", "Created-By: Packages", "Component: main", "Codename: bookworm"]
    mirror = subprocess.run(["apt-get", "indextargets", *target], check=True, capture_output=True, text=True).stdout
    made = subprocess.run(
        [
            *("mmdebstrap", "--mode=root", "--variant=essential", f"--include={_PACKAGES}", "--quiet"),
            *("--dpkgopt=force-unsafe-io", "--dpkgopt=path-exclude=/usr/share/doc/*"),
            f"--customize-hook=upload {bundle} {bundle}",
            f"--customize-hook=upload {settings} /etc/pip.conf",
            *("bookworm", str(archive), mirror.split()[0]),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr[-4000:]
    podman("import", "--quiet", str(archive), "localhost/slim")
    archive.unlink()
    return "localhost/slim"


def make_tensorflow_base(podman: Podman, slim: str) -> str:
    """An image that brings its own TensorFlow, as TensorFlow's GPU images do: this environment's packages, copied.

    The 1.9 GB of the folder ``tensorflow`` are mounted into each container instead (TENSORFLOW).
    """
    assert sys.version_info[:2] == (3, 11), "Debian 12's Python 3.11 cannot load packages of another version"
    folder = podman.folder / "tensorflow"
    folder.mkdir()
    packages = _packages_of("tensorflow", "keras", "h5py") - {"tensorflow"}
    (folder / "packages").write_text("\n".join(sorted(packages)))
    copy = f"cd /from && xargs cp -rt {_SITE} </list/packages && mkdir {_SITE}/tensorflow"
    (folder / "Containerfile").write_text(f"FROM {slim}\nRUN {copy}\n")
    volumes = ["--volume", f"{_OWN_SITE}:/from:ro", "--volume", f"{folder}:/list:ro"]
    podman("build", "--quiet", "--network=none", *volumes, "--tag", "localhost/tensorflow", str(folder))
    return "localhost/tensorflow"


def make_image(podman: Podman, base: str, name: str) -> str:
    """The real Dockerfile on ``base``, without an extra. Docker's format: OCI's knows no health check."""
    arguments = ["--build-arg", f"BASE={base}", "--build-arg", "EXTRA="]
    podman("build", "--network=host", "--format=docker", *arguments, "--tag", f"localhost/{name}", str(ROOT))
    return f"localhost/{name}"


def _pip_settings() -> str:
    """This machine's own, but for what names its files."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True)
    wanted = re.findall(r"^(?:global|:env:)\.(index-url|cert|trusted-host|proxy)='(.*)'$", listed.stdout, re.MULTILINE)
    return "\n".join(["[global]", *(f"{key} = {value}" for key, value in dict(wanted).items()), ""])


def _packages_of(*names: str) -> set[str]:
    """The top-level files and folders of these distributions and of all that they need."""
    tops: set[str] = set()
    done: set[str] = set()
    waiting = list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name not in done:
            done.add(name)
            found = metadata.distribution(name)
            needs = (Requirement(text) for text in found.requires or [])
            waiting += [need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
            tops |= {file.parts[0] for file in found.files or [] if file.parts[0] != ".."}
    return tops


# --- containers ----------------------------------------------------------------------------------------------------


class Container:
    """One container, in the foreground. ``lines`` is what its console shows."""

    def __init__(self, podman: Podman, name: str, *words: str) -> None:
        self.podman = podman
        self.name = name
        self._process = podman.start(*words)
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def until(self, text: str) -> None:
        wait_for(lambda: text in self.text, f"{text!r}; console:\n{self.text}", self._process, PATIENCE)

    def wait(self) -> int:
        code = self._process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code

    def stop(self, seconds: int = 120) -> int:
        self.podman("stop", "--time", str(seconds), self.name)
        return self.wait()

    def kill(self, signal: str = "KILL") -> None:
        self.podman("kill", "--signal", signal, self.name)

    def state(self) -> str:
        return self.podman("inspect", "--format", "{{.State.Status}}", self.name)

    def execute(self, *words: str) -> str:
        return self.podman("exec", self.name, *words)

    def close(self) -> None:
        if self._process.poll() is None:
            self.podman("rm", "--force", "--time", "0", self.name)
        self.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.rstrip("\n"))


class Fleet:
    """Containers of one image that share a store. Each is as closed as docs/containers.md says that it may be."""

    def __init__(self, podman: Podman, image: str, store: Path) -> None:
        self.podman = podman
        self.image = image
        self.store = store
        self._containers: list[Container] = []
        store.mkdir(mode=0o777)
        store.chmod(0o777)

    def start(self, *arguments: str, options: tuple[str, ...] = (), volume: str = "", **environment: str) -> Container:
        """``arguments`` are what stands after the image's name."""
        name = f"hf-{secrets.token_hex(4)}"
        passed = {key: value for key, value in os.environ.items() if key.startswith("OPENBLAS_")}  # the CPU's own needs
        variables = [f"--env={key}={value}" for key, value in {**passed, **environment}.items()]
        words = [
            *("run", "--name", name, *_CLOSED),
            *(f"--volume={volume or name}:/runs", f"--volume={self.store}:/store", f"--volume={SCRIPTS}:/scripts:ro"),
            TENSORFLOW,
            *variables,
            *(() if any(option.startswith("--network") for option in options) else ("--network=none",)),
            *options,
            self.image,
        ]
        return self._keep(Container(self.podman, name, *words, *arguments))

    def train(self, *arguments: str, script: str = "count.py", **settings: str) -> Container:
        """``holdfast run`` of one of tests/scripts; ``settings`` are start's own, and environment."""
        words = ["--store", "/store", "--run", "count", "--poll-interval", "0.2", *arguments]
        return self.start(*words, "--", "python", f"/scripts/{script}", **settings)

    def again(self, container: Container) -> Container:
        """The same container, started once more after its end."""
        return self._keep(Container(self.podman, container.name, "start", "--attach", container.name))

    def work_dir(self, container: Container) -> Path:
        """Where this machine keeps the container's volume."""
        return Path(self.podman("volume", "inspect", "--format", "{{.Mountpoint}}", container.name))

    def close(self) -> None:
        for container in self._containers:
            container.close()

    def _keep(self, container: Container) -> Container:
        self._containers.append(container)
        return container


# --- a network namespace with EC2's address ------------------------------------------------------------------------

METADATA_ADDRESS = ("169.254.169.254", 80)


@contextlib.contextmanager
def metadata_network() -> Iterator[str]:
    """The name of a network namespace where the metadata service's address is nobody's but ours."""
    name = f"hf-{secrets.token_hex(4)}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        subprocess.run(["ip", "-n", name, "addr", "add", f"{METADATA_ADDRESS[0]}/32", "dev", "lo"], check=True)
        yield name
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


def inside(network: str, make: Callable[[], T]) -> T:
    """What ``make`` returns when a thread in ``network`` calls it: a socket made there stays there."""
    made: list[T] = []

    def enter() -> None:
        import ctypes

        descriptor = os.open(f"/run/netns/{network}", os.O_RDONLY)
        try:
            assert ctypes.CDLL(None, use_errno=True).setns(descriptor, 0) == 0, os.strerror(ctypes.get_errno())
        finally:
            os.close(descriptor)
        made.append(make())

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert made, "the namespace could not be entered, or the call in it failed"
    return made[0]


def silent_service() -> socket.socket:
    """Takes connections and answers nothing, as the metadata service behind a hop limit of 1."""
    return socket.create_server(METADATA_ADDRESS)
