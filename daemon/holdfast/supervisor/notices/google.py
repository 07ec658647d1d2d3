"""Google Compute Engine's metadata server: preemption of a spot machine, and maintenance that ends one.

Values as Google documents them: ``instance/preempted`` is TRUE or FALSE, ``instance/maintenance-event`` is NONE,
MIGRATE_ON_HOST_MAINTENANCE or TERMINATE_ON_HOST_MAINTENANCE. They have no deadline: a preempted machine has 30 s, one
that maintenance ends has 60 s or more.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...core.machine.events import NoticeStands
from .metadata_http import MetadataEndpoint, MetadataError

HOST_VARIABLE = "GCE_METADATA_HOST"  # the variable of Google's own libraries
_PREEMPTION, _MAINTENANCE = 30.0, 60.0
_FLAVOR = {"Metadata-Flavor": "Google"}


class GoogleMetadata:
    def __init__(self, endpoint: MetadataEndpoint) -> None:
        self._endpoint = endpoint

    def ask(self) -> NoticeStands | None:
        """Raises MetadataAbsent or MetadataError."""
        if self._read("instance/preempted") == "TRUE":
            return NoticeStands("spot preemption (Google Compute Engine)", _PREEMPTION)
        if self._read("instance/maintenance-event") == "TERMINATE_ON_HOST_MAINTENANCE":
            return NoticeStands("host maintenance (Google Compute Engine ends this machine)", _MAINTENANCE)
        return None

    def _read(self, path: str) -> str:
        status, headers, body = self._endpoint.get(f"/computeMetadata/v1/{path}", _FLAVOR)
        if status != 200 or headers.get("metadata-flavor") != "Google":
            raise MetadataError(f"{path}: what answers is no metadata server of Google's, or refuses ({status})")
        return body.strip()


def google_endpoint(environment: Mapping[str, str]) -> MetadataEndpoint:
    return MetadataEndpoint(f"http://{environment.get(HOST_VARIABLE) or '169.254.169.254'}")
