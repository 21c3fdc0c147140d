"""Listening sockets: one way to open them, for the endpoint and for the check of its ports."""

from __future__ import annotations

import errno
import socket
from typing import Any

_WITHOUT_IPV6 = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on an address or a name, IPv4 or IPv6; port 0 is any free port.

    ``::`` serves IPv4 as well, where the system can do that, and IPv4 only on a system without IPv6. Brackets around an
    IPv6 address are accepted. A name server may delay the call.

    Raises:
        OSError: the address is unknown or not of this machine, or the port is taken or not permitted.
        UnicodeError: the name is not a host name.
        OverflowError: there is no such port.

    """
    host = host.strip("[]")
    try:
        return _listen(host, port)
    except OSError as error:
        if host == "::" and error.errno in _WITHOUT_IPV6:
            return _listen("0.0.0.0", port)
        raise


def _listen(host: str, port: int) -> socket.socket:
    family, address = resolved(host, port)
    dual = family == socket.AF_INET6 and socket.has_dualstack_ipv6()
    return socket.create_server(address, family=family, backlog=128, dualstack_ipv6=dual)


def resolved(host: str, port: int) -> tuple[socket.AddressFamily, Any]:
    """The family and the address of a host, IPv4 if it has both. A name server may delay the call.

    Raises:
        OSError: the name is unknown.
        UnicodeError: the name is not a host name.
        OverflowError: there is no such port.

    """
    if ":" in host:
        return _look_up(host, port, socket.AF_INET6)
    try:
        return _look_up(host, port, socket.AF_INET)
    except OSError:
        return _look_up(host, port, socket.AF_INET6)


def _look_up(host: str, port: int, family: socket.AddressFamily) -> tuple[socket.AddressFamily, Any]:
    (*_, address), *_ = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, 0, socket.AI_PASSIVE)
    return family, address
