"""A request to a cloud's metadata service: short, bounded, without a proxy."""

from __future__ import annotations

import http.client
import time
import urllib.parse
from collections.abc import Mapping

from ...core.errors import HoldfastError, SettingsError

_MOST_BODY = 1 << 16


class MetadataAbsent(HoldfastError):
    """Nothing answers: there is no such service here, or this is a container that the answers don't reach."""


class MetadataUnheard(MetadataAbsent):
    """It takes connections, and its answers do not arrive, as in a container behind EC2's hop limit of 1."""


class MetadataError(HoldfastError):
    """The service answered with something that is neither a document nor 404."""


class MetadataEndpoint:
    """``timeout`` in seconds bounds each wait, and each answer. A path in the address comes before all others.

    Raises SettingsError for what is no http://host[:port].
    """

    def __init__(self, endpoint: str, timeout: float = 2.0) -> None:
        try:
            parts = urllib.parse.urlsplit(endpoint)
            host, port = parts.hostname, parts.port or 80
        except ValueError:
            host, port = None, 80
        if not host or parts.scheme != "http":
            raise SettingsError(f"{endpoint!r} is no address of a metadata service: give http://host[:port]")
        self._host, self._port, self._timeout = host, port, timeout
        self._prefix = parts.path.rstrip("/")

    def get(self, path: str, headers: Mapping[str, str]) -> tuple[int, Mapping[str, str], str]:
        """Status, headers (names in lower case) and body. Raises as ``request`` does."""
        return self.request("GET", path, headers)

    def request(self, method: str, path: str, headers: Mapping[str, str]) -> tuple[int, Mapping[str, str], str]:
        """The same for any method. Raises MetadataAbsent, MetadataUnheard or MetadataError."""
        connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        connected = False
        try:
            connection.connect()
            connected = True
            connection.request(method, self._prefix + path, headers=dict(headers))
            answer = connection.getresponse()
            body = self._body(answer).decode("utf-8", "replace")
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, body
        except (OSError, UnicodeError) as error:
            unheard = connected and isinstance(error, TimeoutError)
            raise (MetadataUnheard if unheard else MetadataAbsent)(f"{self._host}:{self._port}: {error}") from None
        except http.client.HTTPException as error:
            raise MetadataError(f"{path}: {type(error).__name__}: {error}") from None
        finally:
            connection.close()

    def _body(self, answer: http.client.HTTPResponse) -> bytes:
        """The socket's timeout bounds each read; the one here bounds the whole body."""
        until, body = time.monotonic() + self._timeout, b""
        while len(body) < _MOST_BODY and (chunk := answer.read1(_MOST_BODY)):
            body += chunk
            if time.monotonic() > until:
                raise MetadataError("the metadata service answers too slowly")
        return body
