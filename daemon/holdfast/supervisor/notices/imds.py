"""The EC2 instance metadata service, over IMDSv2.

404 means that there is no such document, 401 that the token must be renewed, which is done 15 s before its end anyway.
botocore's own fetcher is no help: it turns 'no notice' (404) into 'unreachable'.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ...core.errors import SettingsError
from .metadata_http import MetadataAbsent, MetadataEndpoint, MetadataError, MetadataUnheard

ENDPOINT_VARIABLE = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
DEFAULT_ENDPOINT = "http://169.254.169.254"
_TOKEN_SECONDS = 21600


class MetadataRefused(MetadataError):
    """It gives no token: it is disabled, or what answers at that address is no metadata service of EC2's."""


class MetadataClient:
    """The small part of IMDSv2 that notices need. One request at a time."""

    def __init__(self, endpoint: str, clock: Callable[[], float], timeout: float = 2.0) -> None:
        try:
            self._service = MetadataEndpoint(endpoint, timeout)
        except SettingsError as error:
            raise SettingsError(f"{ENDPOINT_VARIABLE}: {error}") from None
        self._clock = clock
        self._token = ""
        self._token_until = 0.0

    def read(self, path: str) -> str | None:
        """The document at ``/latest/meta-data/<path>``, None for 404.

        Raises MetadataAbsent or MetadataError, which is MetadataRefused where there is no token.
        """
        for _ in range(2):
            token = {"X-aws-ec2-metadata-token": self._fresh()}
            try:
                status, _, body = self._service.get(f"/latest/meta-data/{path}", token)
            except MetadataUnheard as error:  # its token arrived: this is no hop limit
                raise MetadataAbsent(str(error)) from None
            if status != 401:
                break
            self._token = ""
        if status == 404:
            return None
        if status != 200:
            raise MetadataError(f"{path}: the metadata service answered {status}")
        return body

    def _fresh(self) -> str:
        if not self._token or self._clock() >= self._token_until:
            lasts = {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_SECONDS)}
            status, _, body = self._service.request("PUT", "/latest/api/token", lasts)
            token = body.strip()
            if status != 200 or not token or not token.isascii() or not token.isprintable():
                raise MetadataRefused(f"the metadata service gave no token ({status})")
            self._token = token
            self._token_until = self._clock() + _TOKEN_SECONDS - 15
        return self._token


def client_from_environment(environment: Mapping[str, str], clock: Callable[[], float]) -> MetadataClient | None:
    """None where the AWS SDK's own variable disables the service. Raises SettingsError for a bad endpoint."""
    if environment.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        return None
    return MetadataClient(environment.get(ENDPOINT_VARIABLE) or DEFAULT_ENDPOINT, clock)
