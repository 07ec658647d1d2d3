"""A machine with a real systemd: systemd-nspawn over an overlay of this machine's root. It sees no network but its own
loopback, and what it writes is gone with it.

Inside, /opt/holdfast is a virtual environment as docs/systemd.md has users make one. It holds what the tests' own
environment holds, with the holdfast that is tested.
"""

from __future__ import annotations

import shutil
import site
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

import holdfast

ROOT = Path(__file__).parent.parent.parent
UNITS = ROOT / "deploy" / "systemd"
PATIENCE = 60.0
_PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"


class Machine:
    """``path`` shows the files of the machine from outside; ``run`` starts a command in it."""

    def __init__(self, root: Path, process: subprocess.Popen[bytes]) -> None:
        self._root = root
        self.process = process
        self._init = 0

    def path(self, inside: str) -> Path:
        return self._root / inside.lstrip("/")

    def write(self, inside: str, text: str) -> None:
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run(self, *words: str, check: bool = True) -> str:
        """What the command printed, on both streams."""
        enter = ["nsenter", "-t", str(self._init), "-a", *words]
        done = subprocess.run(
            enter, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE, check=False
        )
        assert not check or done.returncode == 0, f"{words} exited with {done.returncode}: {done.stdout}"
        return done.stdout

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", "--value", "--property", name, unit).strip()

    def log(self, unit: str, *options: str) -> str:
        return self.run("journalctl", "--no-pager", "--output=cat", "--unit", unit, *options)

    def booted(self) -> bool:
        """Asked until it is so: systemd answers, and nothing is left to start."""
        assert self.process.poll() is None, "systemd-nspawn ended; are its packages installed, and is this root?"
        children = psutil.Process(self.process.pid).children()
        self._init = children[0].pid if children else 0
        return bool(self._init) and self.run("systemctl", "is-system-running", check=False).strip() in (
            "running",
            "degraded",
        )

    def power_off(self) -> None:
        """As the power button does: an orderly end, waited for."""
        self.run("systemctl", "poweroff", check=False)
        self.process.wait(PATIENCE)


@contextmanager
def machine(folder: Path) -> Iterator[Machine]:
    """Booted, with the shipped unit installed."""
    with overlay(folder) as root:
        for unit in UNITS.glob("*.service"):
            shutil.copy(unit, root / "etc/systemd/system")
        with booted(root, folder, _environment(root), "--private-network") as found:
            found.run("ldconfig")
            yield found


@contextmanager
def booted(
    root: Path, folder: Path, binds: dict[str, Path], network: str, target: str = "basic.target"
) -> Iterator[Machine]:
    """A boot of ``root`` to ``target``; ``network`` is systemd-nspawn's option. Its console goes to ``folder``."""
    with ExitStack() as stack:
        log = stack.enter_context((folder / "nspawn.log").open("ab"))
        words = [
            *_in_cgroups(stack),
            *("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", network, "--resolv-conf=off"),
            *(f"--bind-ro={outside}:{inside}" for inside, outside in binds.items()),
            *("--directory", str(root), "--boot", "--console=read-only", f"systemd.unit={target}"),
        ]
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        stack.callback(_end, process)
        found = Machine(root, process)
        until = time.monotonic() + PATIENCE
        while not found.booted():
            assert time.monotonic() < until, (folder / "nspawn.log").read_text()
            time.sleep(0.05)
        yield found


@contextmanager
def overlay(folder: Path) -> Iterator[Path]:
    """This machine's root, to be written to in memory, as a machine of its own."""
    with ExitStack() as stack:
        root = _overlay(folder, stack)
        (root / "etc/machine-id").write_text(uuid.uuid4().hex + "\n")
        yield root


def _overlay(folder: Path, stack: ExitStack) -> Path:
    memory = folder / "memory"
    memory.mkdir()
    _mount(stack, memory, "-t", "tmpfs", "tmpfs")
    upper, work, root = memory / "upper", memory / "work", memory / "root"
    for path in (upper, work, root):
        path.mkdir()
    _mount(stack, root, "-t", "overlay", "overlay", "-o", f"lowerdir=/,upperdir={upper},workdir={work}")
    return root


def _mount(stack: ExitStack, target: Path, *words: str) -> None:
    subprocess.run(["mount", *words, str(target)], check=True, timeout=PATIENCE)
    stack.callback(subprocess.run, ["umount", "--lazy", str(target)], check=True, timeout=PATIENCE)


def _environment(root: Path) -> dict[str, Path]:
    """Lays out /opt in the machine; returns what is to be mounted there. The unit hides /root, /home and /tmp."""
    (packages,) = (Path(path) for path in site.getsitepackages() if path.startswith(sys.prefix))
    binds = {
        "/opt/python": Path(sys.base_prefix).resolve(),
        "/opt/packages": packages,
        "/opt/daemon": Path(holdfast.__file__).parent.parent,
        "/opt/scripts": ROOT / "tests" / "scripts",
    }
    for inside in binds:
        (root / inside.lstrip("/")).mkdir(parents=True, exist_ok=True)
    home = root / "opt/holdfast"
    bin_, lib = home / "bin", home / "lib" / _PYTHON / "site-packages"
    for path in (bin_, lib):
        path.mkdir(parents=True)
    (home / "pyvenv.cfg").write_text("home = /opt/python/bin\n")
    for name in ("python", "python3"):
        (bin_ / name).symlink_to(f"/opt/python/bin/{_PYTHON}")
    (bin_ / "holdfast").write_text("#!/opt/holdfast/bin/python\nfrom holdfast.cli.main import main\n\nmain()\n")
    (bin_ / "holdfast").chmod(0o755)
    (lib / "tested.pth").write_text("/opt/daemon\n/opt/packages\n")
    (root / "etc/ld.so.conf.d/python.conf").write_text("/opt/python/lib\n")
    return binds


def _in_cgroups(stack: ExitStack) -> list[str]:
    """The beginning of a command that runs in cgroups of its own: two machines must not share theirs."""
    joined, name = [], f"holdfast-{uuid.uuid4().hex}"
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        kind, option = ("cgroup2", "rw") if not controllers else ("cgroup", controllers)
        mounts = [entry.split() for entry in Path("/proc/self/mounts").read_text().splitlines()]
        points = [words[1] for words in mounts if words[2] == kind and option in words[3].split(",")]
        if points and (not controllers or controllers == "name=systemd"):
            group = Path(points[0]) / path.lstrip("/") / name
            group.mkdir()
            stack.callback(_remove_cgroup, group)
            joined.append(f"echo $$ >{group}/cgroup.procs")
    return ["/bin/sh", "-c", " && ".join([*joined, 'exec "$@"']), "sh"]


def _remove_cgroup(group: Path) -> None:
    """Its last processes may still be on their way out."""
    until = time.monotonic() + PATIENCE
    while group.exists():
        try:
            for path in sorted(group.glob("**/"), key=lambda path: len(path.parts), reverse=True):
                path.rmdir()
        except OSError:
            assert time.monotonic() < until, f"{group} is still in use"
            time.sleep(0.05)


def _end(process: subprocess.Popen[bytes]) -> None:
    """The machine's first process outlives systemd-nspawn; everything else dies with that first process."""
    if process.poll() is None:
        for init in psutil.Process(process.pid).children():
            init.kill()
        try:
            process.wait(PATIENCE)
        finally:
            process.kill()
            process.wait(PATIENCE)
