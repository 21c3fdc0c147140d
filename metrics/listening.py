"""Listening sockets: one way to open them, for the endpoint and for the check of its ports."""

from __future__ import annotations

import socket


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on an address or a name, IPv4 or IPv6; port 0 is any free port.

    ``::`` serves IPv4 as well, where the system can do that. A name server may delay the call.

    Raises:
        OSError: the address is unknown or not of this machine, or the port is taken or not permitted.
        UnicodeError: the name is not a host name.
        OverflowError: there is no such port.

    """
    family, dual = (socket.AF_INET6, socket.has_dualstack_ipv6()) if ":" in host else (socket.AF_INET, False)
    (*_, address), *_ = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, 0, socket.AI_PASSIVE)
    return socket.create_server(address, family=family, backlog=128, dualstack_ipv6=dual)
