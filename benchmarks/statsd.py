"""Timers that a process sends by StatsD: each sample, where a StatsD server keeps an aggregate of ten seconds."""

from __future__ import annotations

import math
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

_LARGEST = 65_536  # bytes of a UDP packet


def timings(packet: bytes, name: str) -> list[float]:
    """The samples of one timer in a packet, in milliseconds. Lines of any other form are left out.

    StatsD's form is ``name:value|ms``, with ``|@rate`` or tags behind it, one or several lines to a packet.
    """
    found = []
    for line in packet.decode("utf-8", "replace").splitlines():
        bucket, _, rest = line.partition(":")
        value, *kind = rest.split("|")
        if bucket == name and kind[:1] == ["ms"]:
            try:
                found.append(float(value))
            except ValueError:
                continue
    return found


def percentile(samples: Sequence[float], percent: float) -> float:
    """The smallest sample that is not exceeded by at least so many of a hundred (nearest rank).

    Raises:
        ValueError: the samples are empty.

    """
    if not samples:
        raise ValueError("a percentile of no samples")
    rank = math.ceil(len(samples) * percent / 100)
    return sorted(samples)[max(0, rank - 1)]


@contextmanager
def listening(name: str, on_sample: Callable[[float], None]) -> Iterator[int]:
    """Listen on a free UDP port of 127.0.0.1, which is given, and hand over each sample of a timer, in milliseconds.

    ``on_sample`` is called in a thread of the listener's own, as soon as a packet is there.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as received:
        received.bind(("127.0.0.1", 0))
        port = received.getsockname()[1]
        thread = threading.Thread(target=_receive, args=(received, name, on_sample), name="statsd")
        thread.start()
        try:
            yield port
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"", ("127.0.0.1", port))
            thread.join()


def _receive(received: socket.socket, name: str, on_sample: Callable[[float], None]) -> None:
    while packet := received.recv(_LARGEST):
        for sample in timings(packet, name):
            on_sample(sample)
