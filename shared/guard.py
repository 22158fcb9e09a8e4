"""Calls to addresses that somebody else chose never reach our own networks.

Each host is resolved here, its addresses are checked, and the connection goes to the very address that was checked: a
name that answers differently the second time gains nothing. Redirects are the caller's to refuse, or to check again.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult

from shared.errors import DragomanError, Rejected, Unavailable

RESOLVE_WITHIN = 5.0
# Never another host's business to say where in our networks something is: what `is_global` of some Python versions
# leaves out, and forms that carry an IPv4 address inside.
CLOSED = [
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15", "240.0.0.0/4",
        "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16",
        "fc00::/7", "fe80::/10", "fec0::/10",
    )
]  # fmt: skip
NAT64 = ipaddress.ip_network("64:ff9b::/96")
Addresses = ipaddress.IPv4Address | ipaddress.IPv6Address
Origin = tuple[str, str, int]


def is_public(address: str) -> bool:
    """Whether the address lies in the open internet, also inside an IPv6 form that wraps it."""
    try:
        ip: Addresses = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped:
            ip = ip.ipv4_mapped
        elif ip in NAT64:
            ip = ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
        elif int(ip) < 1 << 32:
            return False
    if any(ip in network for network in CLOSED if network.version == ip.version):
        return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_loopback or ip.is_unspecified)


def origin(url: SplitResult) -> Origin:
    """Scheme, host and port."""
    return url.scheme, (url.hostname or "").lower(), url.port or (443 if url.scheme == "https" else 80)


@dataclass(frozen=True, slots=True)
class Trusted:
    """Origins that our own configuration names: they may be near, and without TLS."""

    origins: frozenset[Origin] = frozenset()

    @classmethod
    def of(cls, urls: Iterable[str]) -> "Trusted":
        """Raises Rejected for a text that is no address."""
        return cls(frozenset(origin(parsed(url)) for url in urls))

    def check_url(self, url: SplitResult) -> None:
        """Raises Rejected for an address without TLS (`not_https`) or in our own networks (`private_address`)."""
        if origin(url) in self.origins:
            return
        if url.scheme != "https":
            raise Rejected("the address is not https", code="not_https")
        host, port = url.hostname or "", origin(url)[2]
        # The connector asks nobody about a host that is an address, in whatever way it is written.
        with suppress(OSError):
            self.check(host, port, socket.inet_ntoa(socket.inet_aton(host)))
        if ":" in host:
            self.check(host, port, host)

    def check(self, host: str, port: int, address: str) -> None:
        """Raises Rejected for an address that is neither in the open internet nor of a named origin."""
        if any(named[1:] == (host.lower(), port) for named in self.origins):
            return
        if not is_public(address):
            raise Rejected("the address is not in the open internet", code="private_address")


class Guard(AbstractResolver):
    """Gives the connector only addresses that were checked."""

    def __init__(self, trusted: Trusted) -> None:
        self._trusted = trusted

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        try:
            async with asyncio.timeout(RESOLVE_WITHIN):
                found = await asyncio.get_running_loop().getaddrinfo(
                    host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
                )
        except (OSError, UnicodeError, TimeoutError):
            raise Unavailable("the host's name does not resolve", code="no_such_host") from None
        addresses = list(dict.fromkeys((str(at[0]), number) for number, _, _, _, at in found))
        for address, _ in addresses:
            self._trusted.check(host, port, address)
        return [
            ResolveResult(hostname=host, host=address, port=port, family=number, proto=0, flags=socket.AI_NUMERICHOST)
            for address, number in addresses
        ]

    async def close(self) -> None:
        """Holds nothing."""


def raised_inside(error: BaseException) -> DragomanError | None:
    """What the guard raised inside a library that calls it."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, DragomanError):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None


def parsed(text: str) -> SplitResult:
    """Raises Rejected (`bad_address`) for what is no address of http or https."""
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise Rejected("it is no usable address", code="bad_address") from None
    if url.scheme not in ("http", "https") or not url.hostname or port == 0:
        raise Rejected("it is no usable address", code="bad_address")
    return url
