"""The sources of notices that a start of ``holdfast run`` has."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ...core.machine.events import Event
from ...core.runs import RunId
from ...supervisor.notices.azure import DEFAULT_ENDPOINT, AzureMetadata
from ...supervisor.notices.azure import ENDPOINT_VARIABLE as AZURE_ENDPOINT
from ...supervisor.notices.google import GoogleMetadata, google_endpoint
from ...supervisor.notices.handed import HandedNotices, notice_file
from ...supervisor.notices.hardware import is_ec2
from ...supervisor.notices.imds import ENDPOINT_VARIABLE, MetadataClient
from ...supervisor.notices.imds_watcher import Watcher
from ...supervisor.notices.metadata_http import MetadataEndpoint
from ...supervisor.notices.polled import PolledSource
from ...supervisor.notices.source import NoticeSource, cloud_of
from ...supervisor.report.journal import Journal
from ...supervisor.report.view import announcing
from ...supervisor.settings import RunSettings

_ROOT = Path("/")
_HAND_EVERY = 1.0
_NO_CLOUD = (
    "this machine is none of EC2's, Google's or Azure's: only signals and 'holdfast notice' can announce an "
    "interruption (--notices asks a metadata service all the same)"
)
Report = Callable[[Event], None]


def notice_sources(
    given: str, client: MetadataClient | None, settings: RunSettings, journal: Journal
) -> Callable[[Report], list[NoticeSource]]:
    """Those of ``--notices``, and what ``holdfast notice`` hands in. Raises SettingsError for a bad endpoint."""
    cloud = cloud_of(given, _ROOT, os.environ)
    google = google_endpoint(os.environ) if cloud == "gcp" else None
    azure = MetadataEndpoint(os.environ.get(AZURE_ENDPOINT) or DEFAULT_ENDPOINT) if cloud == "azure" else None

    def say(kind: str, text: str) -> None:
        journal.event(kind, text, warning=kind == "metadata-warning", debug=kind == "metadata-refused")

    def make(report: Report) -> list[NoticeSource]:
        told, interval, drain_time = announcing(journal, report), settings.poll_interval, settings.rules.drain_time
        run = RunId.parse(settings.name)
        file = notice_file(settings.work_dir, settings.name if run is None else run.name)
        hand = PolledSource("hand", HandedNotices(file).ask, told, say, min(interval, _HAND_EVERY))
        if google is not None:
            return [PolledSource("gcp", GoogleMetadata(google).ask, told, say, interval), hand]
        if azure is not None:
            return [PolledSource("azure", AzureMetadata(azure, drain_time).ask, told, say, interval), hand]
        if cloud is None:
            journal.event("no-metadata", _NO_CLOUD, debug=True)
            return [hand]
        aws = Watcher(
            client=client,
            report=told,
            say=say,
            drain_time=drain_time,
            interval=interval,
            rebalance_stands=settings.rules.rebalance == "drain",
            expected=is_ec2(_ROOT) or ENDPOINT_VARIABLE in os.environ,
        )
        return [aws, hand]

    return make
