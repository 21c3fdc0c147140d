"""Listening sockets, on machines with and without IPv6."""

from __future__ import annotations

import errno
import socket
from typing import Any

import pytest

from dagcache.metrics.listening import listen, resolved


@pytest.mark.parametrize("reason", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
def test_without_ipv6_all_addresses_are_those_of_ipv4(reason: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default must work on a kernel without IPv6, and in a container without an IPv6 address."""
    create = socket.create_server

    def create_server(address: Any, *, family: int = socket.AF_INET, **options: Any) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(reason, "no IPv6")
        return create(address, family=family, **options)

    monkeypatch.setattr(socket, "create_server", create_server)
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    with listen("::", 0) as listener:
        assert listener.getsockname()[0] == "0.0.0.0"
    with pytest.raises(OSError, match="no IPv6"):
        listen("::1", 0)


def test_a_port_that_is_taken_is_not_a_reason_to_leave_ipv6_out() -> None:
    with socket.create_server(("0.0.0.0", 0)) as taken, pytest.raises(OSError, match="in use"):
        listen("::", taken.getsockname()[1])


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_brackets_around_an_address_are_accepted(host: str) -> None:
    with listen(host, 0) as listener:
        assert listener.getsockname()[0] == "::1"


@pytest.mark.parametrize(
    ("families", "expected"),
    [
        ({socket.AF_INET, socket.AF_INET6}, socket.AF_INET),
        ({socket.AF_INET}, socket.AF_INET),
        ({socket.AF_INET6}, socket.AF_INET6),
    ],
)
def test_a_name_leads_to_its_ipv4_address_or_else_to_its_ipv6_address(
    families: set[int], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def getaddrinfo(_host: str, port: int, family: int, *_: object) -> Any:
        if family not in families:
            raise socket.gaierror("no address of this family")
        return [(family, socket.SOCK_STREAM, 0, "", ("the address", port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert resolved("box", 80) == (expected, ("the address", 80))


def test_an_unknown_name_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*_: object) -> Any:
        raise socket.gaierror("unknown")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(OSError, match="unknown"):
        resolved("box", 80)
