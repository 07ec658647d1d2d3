"""What facts amount to, all of them together. How they are gathered is in the tests of the probes."""

from __future__ import annotations

from holdfast.supervisor.doctor import (
    CHECKS,
    DoctorFacts,
    HostFacts,
    MetadataFacts,
    StoreFacts,
    Unit,
    WorkFacts,
    examine,
)

from .facts import GB, GOOD


def test_a_good_machine_has_findings_and_all_are_ok() -> None:
    findings = examine(GOOD)
    assert {finding.level for finding in findings} == {"ok"}
    assert len(findings) == len(CHECKS) - 2
    assert all(not finding.remedy for finding in findings)


def test_whatever_is_not_ok_has_a_remedy() -> None:
    bad = DoctorFacts(
        store=StoreFacts(
            "s3://bucket/runs", ("list", "put"), {"put": "no"}, ("x",), None, "no", 1.0, 1.0, 1.0, 9999.0, True
        ),
        work=WorkFacts("runs", "read-only", free=1),
        metadata=MetadataFacts("error", "403"),
        host=HostFacts(ec2=True, container=True, files=10, memory=1, shm=None, gpus=1),
        drain_time=110.0,
        pair=GB,
        unit=Unit("holdfast@digits.service", 90.0, 0.0, notify=False, kill_mode="mixed"),
    )
    findings = examine(bad)
    assert len(findings) == len(CHECKS)
    assert [finding for finding in findings if finding.level == "ok" or not finding.remedy] == []
