"""The user at the other end of a Unix socket, as the kernel knows it."""

from __future__ import annotations

import socket
import struct

_CREDENTIALS = struct.Struct("iII")  # struct ucred: pid, uid, gid


def peer_user(connection: socket.socket) -> int | None:
    """The user id of the process at the other end, of a listener at the time of its ``listen``. None: not on Linux.

    Raises:
        OSError: the socket is not connected.

    """
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    _, user, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size))
    return int(user)
