"""Asks the network what is there: which ports are free and who has the others, which endpoints answer. Never hangs."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from dagcache.metrics import file_sd
from dagcache.redaction import public_url

T = TypeVar("T")
R = TypeVar("R")

_SECONDS = 3.0  # for all that is asked at a time
_MOST_FILES = 64
_MOST_PORTS = 32


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a process is said to serve its metrics."""

    url: str
    component: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an endpoint said."""

    components: tuple[str, ...] = ()
    """Whose metrics these are; none: somebody else's."""
    error: str = ""
    unfrozen: int = 0
    """Values that had no frozen form, of all its components."""
    thaw_failures: int = 0
    """Frozen copies that did not give their value back."""


@dataclass(frozen=True, slots=True)
class Port:
    """One port of this machine."""

    number: int
    error: str = ""
    """Why it cannot be listened on; empty if it is free."""
    ours: bool = False
    """Whether it is taken by a cache's endpoint."""
    holder: str = ""
    """The process that has it, if that can be known."""


def announced(directory: Path) -> list[Endpoint]:
    """The endpoints in the ``file_sd`` files of a directory; what is unreadable in it is left out."""
    return list(dict.fromkeys(file_sd.announced(directory, _endpoint, most_files=_MOST_FILES)))


def _endpoint(target: Any, group: dict[str, Any]) -> Endpoint:
    return Endpoint(f"http://{target}/metrics", str(group.get("labels", {}).get("component", "")))


def ask_all(endpoints: Sequence[Endpoint]) -> list[Answer]:
    """What each endpoint says, all asked at once."""
    return _all_within(_SECONDS, [endpoint.url for endpoint in endpoints], ask, Answer(error="no answer in time"))


def ask(url: str) -> Answer:
    """What an endpoint says."""
    from dagcache.metrics.scrape import scrape

    try:
        found = scrape(url, timeout=_SECONDS)
    except (OSError, ValueError) as error:
        return Answer(error=str(error)[:200] or type(error).__name__)
    components = tuple(labels.get("component", "?") for labels in found.labels("dagcache_info"))
    counts = (int(found.total(name)) for name in ("dagcache_unfrozen_total", "dagcache_thaw_failures_total"))
    return Answer(components, "", *counts)


def look_at_ports(host: str, numbers: Sequence[int]) -> list[Port]:
    """Which of the first ports could be listened on, and who has those that could not."""
    numbers = numbers[:_MOST_PORTS]
    failures = _all_within(_SECONDS, [numbers], lambda them: [_failure(host, number) for number in them], None)[0]
    if failures is None:
        return [Port(number, f"the address {host!r} cannot be found in time") for number in numbers]
    taken = [number for number, failure in zip(numbers, failures, strict=True) if failure]
    answers = dict(zip(taken, ask_all([Endpoint(_local_url(host, number)) for number in taken]), strict=True))
    holders = _holders() if taken else {}
    return [
        Port(number, failure, bool(number in answers and answers[number].components), holders.get(number, ""))
        for number, failure in zip(numbers, failures, strict=True)
    ]


def _failure(host: str, number: int) -> str:
    """Why a port cannot be listened on; found out by listening on it, for an instant."""
    family, dual = (socket.AF_INET6, socket.has_dualstack_ipv6()) if ":" in host else (socket.AF_INET, False)
    try:
        (*_, address), *_ = socket.getaddrinfo(host, number, family, socket.SOCK_STREAM, 0, socket.AI_PASSIVE)
        socket.create_server(address, family=family, backlog=1, dualstack_ipv6=dual).close()
    except (OSError, UnicodeError, OverflowError) as error:
        return getattr(error, "strerror", None) or str(error)
    return ""


def _local_url(host: str, number: int) -> str:
    reachable = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{reachable}:{number}/metrics"


def _holders() -> dict[int, str]:
    """The processes that listen, by port; as far as psutil is there and this user may know."""
    found: dict[int, str] = {}
    with suppress(Exception):
        import psutil  # type: ignore[import-untyped]

        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.pid:
                with suppress(psutil.Error):
                    found[connection.laddr.port] = f"{psutil.Process(connection.pid).name()}, pid {connection.pid}"
    return found


def plain_url(url: str) -> str:
    """The URL of an endpoint, without what may be secret in one: user, password, query and fragment.

    Raises:
        ValueError: it is no http:// or https:// URL; the message shows nothing of it.

    """
    try:
        parts = public_url(url)
    except ValueError:
        raise ValueError("expected an http:// or https:// URL of an endpoint, found something else") from None
    path = parts.path if parts.path not in ("", "/") else "/metrics"
    return parts._replace(path=path).geturl()


def _all_within(seconds: float, arguments: Iterable[T], work: Callable[[T], R], late: R) -> list[R]:
    """The results of work that may hang, in threads of its own; ``late`` for what is not done in time."""
    results: dict[int, R] = {}

    def run(number: int, argument: T) -> None:
        results[number] = work(argument)

    threads = [
        threading.Thread(target=run, args=numbered, daemon=True, name="dagcache-doctor")
        for numbered in enumerate(arguments)
    ]
    for thread in threads:
        thread.start()
    end = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    return [results.get(number, late) for number in range(len(threads))]
