"""Which addresses may be connected to, judged on the very address."""

import asyncio
import ipaddress
import socket

import pytest

from catalog.errors import ConfigError
from ingest.addresses import Allowed, BlockedAddress, Guard, GuardedResolver, is_public

PRIVATE = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.254", "127.0.0.1",
    "127.255.255.255", "169.254.0.1", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.8",
    "192.0.0.170", "192.0.2.1", "192.88.99.1", "192.168.0.1", "192.168.255.255", "198.18.0.1", "198.19.255.255",
    "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "::", "::1",
    "::127.0.0.1", "::10.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1",
    "64:ff9b::a00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "64:ff9b:1::a00:1", "100::1", "2001::1",
    "2001:0:7f00:1::", "2001:db8::1", "2002:7f00:1::", "2002:a00:1::", "2002:808:808::", "3fff::1", "5f00::1",
    "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "ff0e::1",
]  # fmt: skip
PUBLIC = [
    "1.1.1.1", "8.8.8.8", "93.184.216.34", "151.101.1.69", "::ffff:8.8.8.8", "64:ff9b::808:808", "2606:4700::1111",
    "2a00:1450:4001::200e",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_private_and_special_addresses_are_refused(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_not(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    ("entry", "address", "port", "permitted"),
    [
        ("127.0.0.1", "127.0.0.1", 8000, True),
        ("127.0.0.1", "::ffff:127.0.0.1", 8000, True),
        ("127.0.0.1", "127.0.0.2", 8000, False),
        ("127.0.0.1:8000", "127.0.0.1", 8000, True),
        ("127.0.0.1:8000", "127.0.0.1", 8001, False),
        ("10.0.0.0/8", "10.9.8.7", 80, True),
        ("[::1]:8000", "::1", 8000, True),
        ("::1", "::1", 1, True),
        ("localhost", "127.0.0.1", 80, False),  # a name is granted when it is resolved, not before
    ],
)
def test_allow_list(entry: str, address: str, port: int, permitted: bool) -> None:
    assert Guard.of((entry,)).permits(address, port) is permitted


@pytest.mark.parametrize("entry", ["", "10.0.0.0/99", "host:port", "a/b"])
def test_nonsense_on_the_allow_list_is_refused(entry: str) -> None:
    with pytest.raises(ConfigError, match="allow_private_hosts"):
        Allowed.parse(entry)


def test_a_socket_is_only_opened_to_a_permitted_address() -> None:
    info = (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 9))
    with pytest.raises(BlockedAddress, match=r"127\.0\.0\.1 is not a public address"):
        Guard.of(()).open_socket(info)
    Guard.of(("127.0.0.1",)).open_socket(info).close()


def test_every_answer_of_a_name_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in ("93.184.216.34", "10.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers)

    async def resolve(guard: Guard) -> list[str]:
        return [answer["host"] for answer in await GuardedResolver(guard).resolve("rebind.example", 80)]

    with pytest.raises(BlockedAddress, match=r"rebind\.example is at 10\.0\.0\.1"):
        asyncio.run(resolve(Guard.of(())))
    assert asyncio.run(resolve(Guard.of(("rebind.example:80",)))) == ["93.184.216.34", "10.0.0.1"]


def test_a_granted_name_does_not_open_its_address_on_other_ports() -> None:
    guard = Guard.of(("localhost:8000",))
    guard.granted.add(("127.0.0.1", 8000))
    assert guard.permits("127.0.0.1", 8000, by_name=True)
    assert not guard.permits("127.0.0.1", 8001, by_name=True)
    assert not guard.permits("127.0.0.1", 8000)
    assert not guard.permits_literal("127.0.0.1", 8000)
    assert guard.permits_literal("other.example", 8000)
