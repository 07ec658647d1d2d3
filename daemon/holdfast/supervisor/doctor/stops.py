"""Findings about what ends a training: whether notices are heard, and what kills during a drain."""

from __future__ import annotations

import math

from .facts import DoctorFacts, Finding, Unit, seconds

DOCKER_GRACE, KUBERNETES_GRACE, SYSTEMD_GRACE = 10, 30, 90
_LEAST_WATCHDOG = 10
_MARGIN = 10


def metadata(facts: DoctorFacts) -> Finding:
    found, check = facts.metadata, "metadata service"
    missed = "spot notices will not be seen"
    if found.state == "disabled":
        return Finding(check, "ok", "disabled (AWS_EC2_METADATA_DISABLED): only signals can announce an interruption")
    if found.state == "answers":
        if found.notice:
            return Finding(check, "warning", f"a notice stands: {found.notice}", "train on another machine")
        return Finding(check, "ok", "answers with a token (IMDSv2); no notice stands")
    text = {"error": found.text, "silent": f"no answer to the request for a token ({found.text})"}.get(
        found.state, f"none here ({found.text})"
    )
    if not facts.host.ec2:
        if found.state == "silent" and facts.host.container:
            remedy = "if this container is on EC2, the answer needs a hop limit of 2 (docs/containers.md)"
            return Finding(check, "warning", f"{text}: {missed}", remedy)
        return Finding(check, "ok", "none, and this is no EC2 instance: signals and 'holdfast notice' are heard")
    modify = "aws ec2 modify-instance-metadata-options --instance-id ID"
    remedy = f"enable it: {modify} --http-endpoint enabled"
    if found.state == "silent":
        remedy = f"in a container the answer needs a hop limit of 2: {modify} --http-put-response-hop-limit 2"
    return Finding(check, "problem", f"{text}: {missed}", remedy)


def stop_timeout(facts: DoctorFacts) -> Finding:
    """A unit's is known. What docker and Kubernetes were told cannot be seen from inside; their defaults are known."""
    needed, drain = math.ceil(facts.drain_time) + _MARGIN, f"a drain may take {seconds(facts.drain_time)}"
    if facts.store_time is not None:
        drain += f" (storing the newest pair takes about {seconds(facts.store_time)})"
    if facts.unit is not None:
        return _of_unit(facts.unit, facts.drain_time, drain, f"TimeoutStopSec={needed} in {facts.unit.name}")
    if facts.host.kubernetes:
        grace, who, remedy = KUBERNETES_GRACE, "Kubernetes", f"terminationGracePeriodSeconds: {needed}"
    elif facts.host.container:
        grace, who, remedy = (
            DOCKER_GRACE,
            "docker stop",
            f"docker run --stop-timeout {needed} (docker stop -t {needed})",
        )
    elif facts.host.systemd:
        grace, who, remedy = SYSTEMD_GRACE, "systemd", f"TimeoutStopSec={needed}"
    else:
        return Finding("stop", "ok", "neither a container nor a unit: nothing known kills during a drain")
    if facts.drain_time < grace:
        return Finding("stop", "ok", f"{who} kills after {grace} s by default; {drain}")
    text = f"{who} kills after {grace} s, unless told otherwise, which cannot be seen from inside; {drain}"
    return Finding("stop", "warning", text, f"unless it is set already: {remedy}")


def _of_unit(unit: Unit, drain_time: float, drain: str, remedy: str) -> Finding:
    killed = "systemd waits without end" if math.isinf(unit.stop) else f"systemd kills after {seconds(unit.stop)}"
    text = f"{unit.name}: {killed} (TimeoutStopSec); {drain}"
    if unit.kill_mode != "mixed":
        what = f"{unit.name}: KillMode={unit.kill_mode}, so a stop does not go to holdfast alone"
        return Finding("stop", "warning", what, f"KillMode=mixed in {unit.name}")
    if unit.stop > drain_time:
        return Finding("stop", "ok", text)
    if unit.notify:
        return Finding("stop", "ok", f"{text}, and holdfast asks for more time while it drains")
    return Finding("stop", "problem", text, remedy)


def watchdog(facts: DoctorFacts) -> Finding | None:
    """Only a unit has one."""
    unit = facts.unit
    if unit is None:
        return None
    if not unit.notify or not 0 < unit.watchdog < math.inf:
        remedy = f"Type=notify and WatchdogSec=60 in {unit.name}"
        return Finding("watchdog", "warning", f"{unit.name} has none: a supervisor that hangs stays so", remedy)
    text = f"{unit.name}: a supervisor that hangs is restarted after {seconds(unit.watchdog)}"
    if unit.watchdog < _LEAST_WATCHDOG:
        return Finding("watchdog", "warning", f"{text}, as is one on a busy machine", f"WatchdogSec=60 in {unit.name}")
    return Finding("watchdog", "ok", text)
