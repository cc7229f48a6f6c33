"""Refuses, before anything is decoded, what no action should see.

A browser that was lured to a hostile page could otherwise reach a server on this machine: by a name that resolves to
it (Host is checked: loopback names, IP addresses and the operator's own names pass), or from the page itself (an Origin
that isn't ours may not call anything that writes). Bodies are counted while they are read.
"""

import ipaddress
from collections.abc import AsyncGenerator, Iterable
from urllib.parse import urlsplit

from starlette.requests import Request

from modelyard.errors import GenericPermissionDeniedError, InvalidRequest, RequestTooLargeError
from modelyard.settings import Settings

LOOPBACK_NAMES = frozenset({"localhost", "ip6-localhost"})


class HostGuard:
    """Which Host names this server answers to."""

    def __init__(self, settings: Settings) -> None:
        own = (settings.host, urlsplit(settings.base_url).hostname or "", *settings.allowed_hosts)
        self._names = LOOPBACK_NAMES | {name.lower() for name in own if name}

    def check_host(self, request: Request) -> None:
        """Raises unless the request names this server by one of its own names or by address."""
        host = _host_in("//" + request.headers.get("host", ""))
        if host not in self._names and not _is_address(host):
            raise GenericPermissionDeniedError(
                f"This server does not answer to the host name {host[:100]!r}; see the setting allowed_hosts"
            )

    def check_origin(self, request: Request) -> None:
        """Raises for a call from a web page of another origin."""
        origin = request.headers.get("origin")
        if origin is not None and origin.lower().partition("://")[2] != request.headers.get("host", "").lower():
            raise GenericPermissionDeniedError("Calls that change anything are not taken from pages of other origins")
        if request.headers.get("sec-fetch-site") == "cross-site":
            raise GenericPermissionDeniedError("Calls that change anything are not taken from pages of other origins")


def _host_in(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def check_encoding(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Refuses a body that is compressed: nobody unpacks it, and its bytes would be taken for what is meant."""
    for name, value in headers:
        if name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            raise InvalidRequest(
                f"The body has the Content-Encoding {str(value[:40], 'latin-1')!r}, and no body is unpacked here: "
                "send it uncompressed"
            )


def check_length(request: Request, limit: int) -> None:
    """Refuses a body that says itself that it is too large, before any of it is read."""
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > limit:
        raise too_large(int(length), limit)


async def limited(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    """The body in chunks; raises as soon as it is longer than `limit` bytes."""
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise too_large(size, limit)
        yield chunk


def too_large(size: int, limit: int) -> RequestTooLargeError:
    """The error for a body of at least `size` bytes."""
    return RequestTooLargeError(f"The request's body has {size:,} bytes or more; at most {limit:,} are allowed")
