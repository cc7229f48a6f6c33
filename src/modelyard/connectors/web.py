"""One file from the web: `https://host/path`. No connector is needed, so nothing of ours is sent along.

Every hop of a redirect is resolved and judged anew. `http:` is for hosts that the operator opened (`allowed_networks`),
where nobody on the way can change what is read.
"""

import http.client
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple
from urllib.parse import unquote, urljoin, urlsplit

from modelyard.connectors.egress import Egress
from modelyard.connectors.files import File, refused
from modelyard.errors import InvalidParameterError

_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 5
_CHUNK = 1024**2
_PORTS = {"https": 443, "http": 80}


class _Hop(NamedTuple):
    scheme: str
    host: str
    port: int
    target: str


class _Connection(http.client.HTTPConnection):
    """A connection whose socket comes from the guard."""

    def __init__(self, egress: Egress, hop: _Hop) -> None:
        super().__init__(hop.host, hop.port, timeout=egress.timeout_s)
        self._egress, self._hop = egress, hop

    def connect(self) -> None:
        plain = self._egress.connect(self._hop.host, self._hop.port)
        if self._hop.scheme == "https":
            self.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=self._hop.host)
        else:
            self.sock = plain


class Web:
    """An `https:` location."""

    def __init__(self, location: str, egress: Egress, limit: int) -> None:
        self._location, self._egress, self._limit = location, egress, limit
        self._first = self._hop(location)

    def files(self) -> list[File]:
        """The one file; its size is known when it is read."""
        return [File(self._location, None)]

    def read(self, file: File) -> Iterator[bytes]:
        """Its bytes, up to the limit; InvalidParameterError past it, and where they end too early."""
        read = 0
        try:
            with self._answer() as answer:
                if answer.length is not None and answer.length > self._limit:
                    raise self._too_large()
                while chunk := answer.read(_CHUNK):
                    read += len(chunk)
                    if read > self._limit:
                        raise self._too_large()
                    yield chunk
                if answer.length:
                    raise refused(file.name, f"the answer broke off after {read:,} bytes")
        except (OSError, http.client.HTTPException) as error:
            raise refused(self._location, f"the host does not answer as it should ({type(error).__name__})") from error

    def write(self, name: str, chunks: Iterable[bytes], *, overwrite: bool = True) -> str:  # noqa: ARG002 - as every place
        """Nothing is written to the web."""
        raise self._unwritable()

    def names(self) -> list[str]:
        """Nobody can tell."""
        raise self._unwritable()

    def remove(self, name: str) -> None:  # noqa: ARG002 - as every place
        """Nothing is removed from the web."""
        raise self._unwritable()

    def _unwritable(self) -> InvalidParameterError:
        return refused(self._location, "nothing can be written to a web address; name a bucket or a folder")

    @contextmanager
    def _answer(self) -> Iterator[http.client.HTTPResponse]:
        hop = self._first
        for _ in range(_MOST_REDIRECTS + 1):
            connection = _Connection(self._egress, hop)
            try:
                connection.request("GET", hop.target, headers={"Accept-Encoding": "identity", "Accept": "*/*"})
                answer = connection.getresponse()
                if answer.status == 200:
                    yield answer
                    return
                if answer.status not in _REDIRECTS or not (target := answer.getheader("Location")):
                    raise refused(self._location, f"the host answered with status {answer.status}")
                hop = self._hop(urljoin(f"{hop.scheme}://{connection.host}:{hop.port}{hop.target}", target))
            finally:
                connection.close()
        raise refused(self._location, f"it leads over more than {_MOST_REDIRECTS} redirects")

    def _hop(self, url: str) -> _Hop:
        """Where a URL leads; InvalidParameterError where it must not."""
        if any(ord(char) <= 32 or ord(char) > 126 for char in url) or "\\" in url or len(url) > 8192:
            raise refused(self._location, "it is not a URL; percent-encode what is not plain ASCII")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
        except ValueError:
            raise refused(self._location, "it is not a URL") from None
        if parts.scheme not in _PORTS or "@" in parts.netloc:
            raise refused(self._location, "it leads to what is no plain https: address")
        if parts.scheme == "http" and not self._egress.is_opened(host, port):
            raise InvalidParameterError(
                "http: is read only from hosts whose network the operator opened (allowed_networks); use https:"
            )
        return _Hop(parts.scheme, host, port, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))

    def _too_large(self) -> InvalidParameterError:
        return refused(self._location, f"it has more than the limit of {self._limit:,} bytes (location_limit)")


def name_of(location: str) -> str:
    """What the file at a URL is called."""
    return unquote(urlsplit(location).path).rpartition("/")[2]
