"""Who may be connected to: a name is resolved first, the address is judged, and that very address is connected to.

Without this a caller could have the server fetch what only the server can reach: a cloud's metadata service, an admin
page on loopback, a database of the neighbours. Addresses that are not public are refused unless the operator opened
their network (setting `allowed_networks`) or named that very host and port in a connector on the server's command line.
How an address is written does not matter (decimal, hexadecimal, IPv6 around IPv4): what it resolves to is judged.
"""

import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import NamedTuple

from modelyard.errors import InvalidParameterError
from modelyard.settings import Settings

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,252}[A-Za-z0-9_])?\.?|[0-9A-Fa-f:.]{2,45}")
#: Translates IPv4 addresses for networks without any. Source: RFC 6052.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
#: Public by their number, but they reach what stands in them. Source: RFC 3056, RFC 4380, RFC 8215.
_CARRIERS = tuple(ipaddress.IPv6Network(each) for each in ("2002::/16", "2001::/32", "64:ff9b:1::/48"))


class Endpoint(NamedTuple):
    """A host and port as a connector names them."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Egress:
    """The rule for one connector or location."""

    networks: tuple[Network, ...] = ()
    #: Named by the operator, so allowed whatever they resolve to.
    trusted: frozenset[Endpoint] = frozenset()
    timeout_s: float = 30.0

    @classmethod
    def of(cls, settings: Settings, *trusted: Endpoint) -> "Egress":
        """The operator's rule, and what else is trusted."""
        networks = tuple(ipaddress.ip_network(each, strict=False) for each in settings.allowed_networks)
        return cls(networks, frozenset(trusted), settings.connector_timeout_s)

    def resolve(self, host: str, port: int) -> str:
        """An address of the host that may be connected to; InvalidParameterError if there is none."""
        return str(self._addresses(host, port)[0])

    def connect(self, host: str, port: int) -> socket.socket:
        """A connection to one of the host's allowed addresses; OSError if none answers."""
        failure: OSError | None = None
        for address in self._addresses(host, port):
            try:
                return socket.create_connection((str(address), port), self.timeout_s)
            except OSError as error:
                failure = error
        raise failure or OSError("no address")

    def is_opened(self, host: str, port: int) -> bool:
        """Whether the operator opened all of the host's addresses by name or network, public or not."""
        if Endpoint(host, port) in self.trusted:
            return True
        return all(self._in_networks(address) for address in self._addresses(host, port))

    def _addresses(self, host: str, port: int) -> list[Address]:
        found = _resolve(host, port)
        if Endpoint(host, port) in self.trusted:
            return found
        allowed = [address for address in found if self._in_networks(address) or _is_public(address)]
        if not allowed:
            raise InvalidParameterError(
                f"The host {host[:200]} can't be reached from here: it has a {_kind(found[0])} address. The operator "
                "may open its network with the setting allowed_networks"
            )
        return allowed

    def _in_networks(self, address: Address) -> bool:
        inner = _inner(address)
        return any(inner in network for network in self.networks if network.version == inner.version)


def _resolve(host: str, port: int) -> list[Address]:
    if not _HOST.fullmatch(host) or not 0 < port < 65536:
        raise InvalidParameterError(f"{host[:200]!r} with port {port} is no address of a host")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise InvalidParameterError(f"The host {host[:200]} is not known") from None
    return [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]


def _inner(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for, where it does."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64 or (int(address) >> 32 == 0 and int(address) > 1):
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _is_public(address: Address) -> bool:
    inner = _inner(address)
    if any(inner in carrier for carrier in _CARRIERS if inner.version == 6):
        return False
    return inner.is_global and not inner.is_multicast and not inner.is_reserved and not inner.is_unspecified


def _kind(address: Address) -> str:
    inner = _inner(address)
    if inner.is_loopback:
        return "loopback"
    return "link-local" if inner.is_link_local else "private or reserved"
