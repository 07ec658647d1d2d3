"""What a notice of each source counts as, in the metrics and for ``--on-notice``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from holdfast.core.imds_paths import LIFECYCLE, MAINTENANCE, SPOT
from holdfast.core.machine.events import NoticeStands
from holdfast.core.view import NOTICE_KINDS, notice_kind
from holdfast.supervisor.notices.azure import EVENTS, NAME, AzureMetadata
from holdfast.supervisor.notices.google import GoogleMetadata
from holdfast.supervisor.notices.handed import Handed, HandedNotices
from holdfast.supervisor.notices.imds_watcher import interpret
from holdfast.supervisor.notices.metadata_http import MetadataEndpoint

NOW = datetime(2026, 11, 22, 16, 17, 6, tzinfo=UTC)


class Says(MetadataEndpoint):
    """Has these documents."""

    def __init__(self, documents: Mapping[str, str]) -> None:
        super().__init__("http://127.0.0.1")
        self._documents = documents

    def get(self, path: str, headers: Mapping[str, str]) -> tuple[int, Mapping[str, str], str]:
        return 200, {"metadata-flavor": "Google"}, self._documents[path]


def of_aws() -> Iterator[tuple[str, str]]:
    for action in ("terminate", "stop", "hibernate"):
        document = json.dumps({"action": action, "time": "2026-11-22T16:19:15Z"})
        yield f"spot {action}", said(interpret({SPOT: document}, NOW, 110.0).stands)
    event = {"Code": "instance-retirement", "State": "active", "NotBefore": "22 Nov 2026 16:18:00 GMT"}
    yield "maintenance", said(interpret({MAINTENANCE: json.dumps([event])}, NOW, 110.0).stands)
    for state in ("Terminated", "Warmed:Stopped"):
        yield "autoscaling", said(interpret({LIFECYCLE: state}, NOW, 110.0).stands)
    yield "rebalance", "rebalance recommendation"


def of_google() -> Iterator[tuple[str, str]]:
    begin = "/computeMetadata/v1/instance/"
    for kind, preempted, maintenance in (
        ("preemption", "TRUE", "NONE"),
        ("maintenance", "FALSE", "TERMINATE_ON_HOST_MAINTENANCE"),
    ):
        says = Says({f"{begin}preempted": preempted, f"{begin}maintenance-event": maintenance})
        yield kind, said(GoogleMetadata(says).ask())


def of_azure() -> Iterator[tuple[str, str]]:
    kinds = {"Preempt": "preemption", "Terminate": "deletion", "Reboot": "maintenance", "Redeploy": "maintenance"}
    for event, kind in kinds.items():
        for at in ("", "Sun, 22 Nov 2026 16:18:00 GMT"):
            listed = {"Events": [{"EventType": event, "Resources": ["mine"], "NotBefore": at}]}
            says = Says({EVENTS: json.dumps(listed), NAME: "mine"})
            yield kind, said(AzureMetadata(says, 110.0, lambda: NOW).ask())


def handed(folder: Path) -> Iterator[tuple[str, str]]:
    texts = {
        **{kind: kind for kind in NOTICE_KINDS},
        "Spot Terminate": "spot terminate",
        "spot": "preemption",
        "Slurm: preempted": "preemption",
        "eviction of the pod": "preemption",
        "scheduled maintenance": "maintenance",
        "notice": "other",
        "stop": "other",
        "the power goes at 18:30 today": "other",
    }
    for text, kind in texts.items():
        file = folder / "notice.json"
        file.write_bytes(Handed(text, None).to_json())
        yield kind, said(HandedNotices(file).ask())


def said(notice: NoticeStands | None) -> str:
    assert notice is not None
    return notice.what


@pytest.mark.parametrize("source", ["aws", "google", "azure", "hand"])
def test_a_notice_of_each_source_has_a_kind_of_the_list(source: str, tmp_path: Path) -> None:
    found = {"aws": of_aws, "google": of_google, "azure": of_azure}
    told = list(handed(tmp_path) if source == "hand" else found[source]())
    assert [(what, notice_kind(what)) for _, what in told] == [(what, kind) for kind, what in told]
    assert {kind for kind, _ in told} <= set(NOTICE_KINDS)


def test_the_list_is_in_the_documentation() -> None:
    text = (Path(__file__).parents[3] / "docs/watching.md").read_text()
    (line,) = (line for line in text.splitlines() if line.startswith("| `HOLDFAST_NOTICE_KIND`"))
    assert line == f"| `HOLDFAST_NOTICE_KIND` | {', '.join(f'`{kind}`' for kind in NOTICE_KINDS)} |"
