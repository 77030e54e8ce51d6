"""Which network addresses the crawler may connect to: the public internet, and what the configuration allows."""

import asyncio
import ipaddress
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

from aiohttp.abc import AbstractResolver, ResolveResult

from catalog.errors import ConfigError

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
# is_global says True for these on Python 3.11, or they tunnel to an address that it never sees.
DENIED_V6 = tuple(map(ipaddress.IPv6Network, ("2001::/23", "2002::/16", "2001:db8::/32", "3fff::/20", "5f00::/16")))
DENIED_V4 = tuple(map(ipaddress.IPv4Network, ("192.0.0.0/24", "192.88.99.0/24", "224.0.0.0/3")))
LOOKUPS = 16  # names resolved side by side


class BlockedAddress(OSError):
    """A connection to an address that is neither public nor allowed was refused before it was made."""


def is_public(address: Address) -> bool:
    """Say whether an address is ordinary public internet, looking inside IPv4-mapped and NAT64 addresses."""
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not any(address in network for network in DENIED_V4)
    if address.ipv4_mapped is not None:
        return is_public(address.ipv4_mapped)
    if address in NAT64:
        return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return address in GLOBAL_UNICAST and address.is_global and not any(address in network for network in DENIED_V6)


@dataclass(frozen=True)
class Allowed:
    """One entry of allow_private_hosts: an address, network or host name, perhaps with a port."""

    network: Network | None
    name: str
    port: int | None

    @classmethod
    def parse(cls, entry: str) -> "Allowed":
        """Read '127.0.0.1', '[::1]:8000', 'localhost:8000' or '10.0.0.0/8'; raise ConfigError for anything else."""
        text, port = entry.strip(), None
        if text.startswith("[") or text.count(":") == 1:
            text, _, digits = text.rpartition(":") if not text.endswith("]") else (text, "", "")
            if digits and not digits.isdigit():
                raise ConfigError(f"network.allow_private_hosts: '{entry}' has no number as its port")
            port = int(digits) if digits else None
        text = text.strip("[]")
        try:
            return cls(ipaddress.ip_network(text, strict=False), "", port)
        except ValueError:
            if "/" in text or ":" in text or not text:
                raise ConfigError(
                    f"network.allow_private_hosts: '{entry}' is no address, network or host name"
                ) from None
            return cls(None, text.lower(), port)


@dataclass
class Guard:
    """Judges every address before a socket is opened to it."""

    entries: tuple[Allowed, ...]
    granted: set[tuple[str, int]] = field(default_factory=set)  # addresses that an allowed host name resolved to

    @classmethod
    def of(cls, entries: tuple[str, ...]) -> "Guard":
        """Build a guard from the configured entries."""
        return cls(tuple(map(Allowed.parse, entries)))

    def permits(self, address: str, port: int, by_name: bool = False) -> bool:
        """Say whether a connection to this numeric address may be made; `by_name` if an allowed name led there."""
        ip = ipaddress.ip_address(address)
        if is_public(ip) or (by_name and (address, port) in self.granted):
            return True
        plain = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped else ip
        return any(
            entry.network is not None and plain in entry.network and entry.port in (None, port)
            for entry in self.entries
        )

    def permits_literal(self, host: str, port: int) -> bool:
        """Say whether a URL's host is a name, or a numeric address that may be asked for as such."""
        try:
            return self.permits(host, port)
        except ValueError:
            return True

    def names(self, host: str, port: int) -> bool:
        """Say whether a host name itself is on the list."""
        return any(entry.name == host.lower() and entry.name and entry.port in (None, port) for entry in self.entries)

    def open_socket(self, info: tuple[int, int, int, str, tuple[str | int, ...]]) -> socket.socket:
        """Open a socket for exactly one judged address; raise BlockedAddress. This is aiohttp's socket_factory."""
        family, kind, proto, _, target = info
        address, port = str(target[0]), int(target[1])
        if not self.permits(address, port, by_name=True):  # which name, the resolver has judged
            raise BlockedAddress(f"{address} is not a public address; allow it in network.allow_private_hosts")
        return socket.socket(family=family, type=kind, proto=proto)


class GuardedResolver(AbstractResolver):
    """Resolves a name once and refuses it when any of its answers is forbidden.

    The lookups have threads of their own: names whose servers never answer shall not keep pages from being read.
    """

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._threads = ThreadPoolExecutor(LOOKUPS, thread_name_prefix="resolve")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the answers for `host`, all of them judged; raise BlockedAddress, or OSError where there are none."""
        look_up = partial(
            socket.getaddrinfo, host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        )
        answers = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        addresses = [str(answer[4][0]) for answer in answers]
        by_name = self._guard.names(host, port)
        if by_name:
            self._guard.granted.update((address, port) for address in addresses)
        for address in addresses:
            if not self._guard.permits(address, port, by_name):
                raise BlockedAddress(
                    f"{host} is at {address}, not a public address; allow it in network.allow_private_hosts"
                )
        return [
            ResolveResult(
                hostname=host, host=address, port=port, family=answer[0], proto=answer[2],
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address, answer in zip(addresses, answers, strict=True)
        ]  # fmt: skip

    async def close(self) -> None:
        """Wait for no lookup that is still under way."""
        self._threads.shutdown(wait=False, cancel_futures=True)
