"""The EC2 instance metadata service, over IMDSv2.

404 means that there is no such document, 401 that the token must be renewed, which is done 15 s before its end anyway.
botocore's own fetcher is no help: it turns 'no notice' (404) into 'unreachable'.
"""

from __future__ import annotations

import http.client
import time
import urllib.parse
from collections.abc import Callable, Mapping

from ...core.errors import HoldfastError, SettingsError

ENDPOINT_VARIABLE = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
DEFAULT_ENDPOINT = "http://169.254.169.254"
_TOKEN_SECONDS = 21600
_MAX_BODY = 1 << 16


class MetadataAbsent(HoldfastError):
    """Nothing answers: this is not EC2, or a container that the answers don't reach."""


class MetadataUnheard(MetadataAbsent):
    """It takes connections, and its answers do not arrive: the mark of a container behind a hop limit of 1."""


class MetadataError(HoldfastError):
    """The service answered with something that is neither a document nor 404."""


class MetadataRefused(MetadataError):
    """It gives no token: it is disabled, or what answers at that address is no metadata service of EC2's."""


class MetadataClient:
    """The small part of IMDSv2 that notices need. One request at a time."""

    def __init__(self, endpoint: str, clock: Callable[[], float], timeout: float = 2.0) -> None:
        try:
            parts = urllib.parse.urlsplit(endpoint)
            host, port = parts.hostname, parts.port or 80
        except ValueError:
            host = None
        if not host or parts.scheme != "http":
            raise SettingsError(f"{ENDPOINT_VARIABLE} {endpoint!r}: give http://host[:port]")
        self._host, self._port = host, port
        self._prefix = parts.path.rstrip("/")
        self._clock = clock
        self._timeout = timeout
        self._token = ""
        self._token_until = 0.0

    def read(self, path: str) -> str | None:
        """The document at ``/latest/meta-data/<path>``, None for 404.

        Raises MetadataAbsent or MetadataError, which is MetadataRefused where there is no token.
        """
        for _ in range(2):
            status, body = self._request(
                "GET", f"/latest/meta-data/{path}", {"X-aws-ec2-metadata-token": self._fresh()}
            )
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
            status, body = self._request(
                "PUT", "/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_SECONDS)}
            )
            token = body.strip()
            if status != 200 or not token or not token.isascii() or not token.isprintable():
                raise MetadataRefused(f"the metadata service gave no token ({status})")
            self._token = token
            self._token_until = self._clock() + _TOKEN_SECONDS - 15
        return self._token

    def _request(self, method: str, path: str, headers: Mapping[str, str]) -> tuple[int, str]:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        connected = False
        try:
            connection.connect()
            connected = True
            connection.request(method, self._prefix + path, headers=dict(headers))
            answer = connection.getresponse()
            return answer.status, self._body(answer).decode("utf-8", "replace")
        except (OSError, UnicodeError) as error:
            unheard = connected and method == "PUT" and isinstance(error, TimeoutError)
            raise (MetadataUnheard if unheard else MetadataAbsent)(f"{self._host}:{self._port}: {error}") from None
        except http.client.HTTPException as error:
            raise MetadataError(f"{path}: {type(error).__name__}: {error}") from None
        finally:
            connection.close()

    def _body(self, answer: http.client.HTTPResponse) -> bytes:
        """The socket's timeout bounds each read; the one here bounds the whole body."""
        until, body = time.monotonic() + self._timeout, b""
        while len(body) < _MAX_BODY and (chunk := answer.read1(_MAX_BODY)):
            body += chunk
            if time.monotonic() > until:
                raise MetadataError("the metadata service answers too slowly")
        return body


def client_from_environment(environment: Mapping[str, str], clock: Callable[[], float]) -> MetadataClient | None:
    """None where the AWS SDK's own variable disables the service. Raises SettingsError for a bad endpoint."""
    if environment.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        return None
    return MetadataClient(environment.get(ENDPOINT_VARIABLE) or DEFAULT_ENDPOINT, clock)
