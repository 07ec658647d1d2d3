"""A real Ceph on one node with its S3 gateway: a monitor, one disk in memory, radosgw. Debian's packages."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from real.servers import S3Server, free_port, listens, running, wait_until

_CONF = """
[global]
fsid = {fsid}
mon host = v2:127.0.0.1:{mon}/0
public addr = 127.0.0.1
cluster addr = 127.0.0.1
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 2000
mon data avail crit = 1
mon data avail warn = 2
mon warn on pool no redundancy = false
run dir = {folder}/run
admin socket = {folder}/run/$name.$pid.asok
log file = {folder}/log/$name.log
keyring = {folder}/keyring
[mon.a]
mon data = {folder}/mon
[osd.0]
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = 4294967296
osd op num shards = 2
[client.admin]
rgw frontends = beast endpoint=127.0.0.1:{gateway}
rgw enable usage log = false
rgw run sync thread = false
rgw gc obj min wait = 1
rgw gc processor period = 5
"""


@contextlib.contextmanager
def ceph() -> Iterator[S3Server]:
    """Starts it in about ten seconds on free ports; what it leaves on the disk goes with it."""
    with tempfile.TemporaryDirectory(prefix="ceph-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        gateway = free_port()
        conf = _configure(folder, mon=free_port(), gateway=gateway)
        stack.enter_context(running(["ceph-mon", "-i", "a", "-c", conf, "-f"], folder / "log" / "mon.out"))
        _add_disk(folder, conf)
        stack.enter_context(running(["ceph-osd", "-i", "0", "-c", conf, "-f"], folder / "log" / "osd.out"))
        log = folder / "log" / "radosgw.out"
        radosgw = stack.enter_context(running(["radosgw", "-n", "client.admin", "-c", conf, "-f"], log))
        server = S3Server(f"http://127.0.0.1:{gateway}")
        _admin(
            "radosgw-admin", "-c", conf, "-n", "client.admin", "user", "create", "--uid=t", "--display-name=t",
            f"--access-key={server.access_key}", f"--secret-key={server.secret_key}",
        )  # fmt: skip
        wait_until(lambda: listens(gateway), radosgw, log)
        yield server


def _configure(folder: Path, mon: int, gateway: int) -> str:
    for part in ("mon", "osd", "log", "run"):
        (folder / part).mkdir()
    conf, keyring, fsid = str(folder / "ceph.conf"), str(folder / "keyring"), str(uuid.uuid4())
    Path(conf).write_text(_CONF.format(folder=folder, fsid=fsid, mon=mon, gateway=gateway))
    _admin("ceph-authtool", "--create-keyring", keyring, "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
    every = [word for service in ("mon", "osd", "mds", "mgr") for word in ("--cap", service, "allow *")]
    _admin("ceph-authtool", keyring, "--gen-key", "-n", "client.admin", *every)
    monmap = str(folder / "monmap")
    _admin("monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v2:127.0.0.1:{mon}]", monmap)
    _admin("ceph-mon", "-i", "a", "--mkfs", "--monmap", monmap, "--keyring", keyring, "-c", conf)
    return conf


def _add_disk(folder: Path, conf: str) -> None:
    disk = str(uuid.uuid4())
    _admin("ceph", "-c", conf, "--connect-timeout", "60", "osd", "create", disk)
    key = _admin(
        "ceph", "-c", conf, "auth", "get-or-create", "osd.0", "mon", "allow profile osd", "osd", "allow *",
    )  # fmt: skip
    with (folder / "keyring").open("a") as keyring:
        keyring.write(key)
    _admin("ceph-osd", "-i", "0", "--mkfs", "-c", conf, "--osd-uuid", disk)
    _admin("ceph", "-c", conf, "osd", "crush", "add", "osd.0", "1.0", "host=here", "root=default")


def _admin(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, "CEPH_ARGS": ""})
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stderr[-2000:]}"
    return done.stdout
