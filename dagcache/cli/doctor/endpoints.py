"""The network of an installation: which ports are free, which process has the others, which endpoints answer.

No function hangs: each waits a few seconds at most.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from dagcache.cli.shared.endpoint import Endpoint, parse_endpoint
from dagcache.concurrency.time_limit import results_within
from dagcache.metrics.listening import listen
from dagcache.metrics.scrape import scrape
from dagcache.metrics.snapshot import components, snapshot

_SECONDS = 3.0  # for all queries of one kind
MOST_FILES = 64
_MOST_PORTS = 32
_NOT_FROZEN = ("unfrozen", "thaw_failures")


@dataclass(frozen=True, slots=True)
class Response:
    """The response of an endpoint."""

    components: tuple[str, ...] = ()
    """The components in the metrics; none: the endpoint is not of a cache."""
    error: str = ""
    unfrozen: int = 0
    """Values without a frozen form, in all components."""
    thaw_failures: int = 0
    """Frozen copies that could not be thawed."""


@dataclass(frozen=True, slots=True)
class Port:
    """One port of this machine."""

    number: int
    error: str = ""
    """Why it cannot be listened on; empty if it is free."""
    ours: bool = False
    """Whether an endpoint of a cache has it."""
    holder: str = ""
    """The process that has it; empty if unknown."""


def query_all(endpoints: Sequence[Endpoint]) -> list[Response]:
    """The responses of all endpoints, which are queried at the same time."""
    calls = [partial(query, endpoint.url) for endpoint in endpoints]
    return results_within(_SECONDS, calls, Response(error="no answer in time"), "dagcache-doctor")


def query(url: str) -> Response:
    """The response of one endpoint."""
    try:
        found = scrape(url, timeout=_SECONDS)
        seen = {name: snapshot(found, name) for name in components(found)}
    except Exception as error:  # also of an answer with impossible figures
        return Response(error=str(error)[:200] or type(error).__name__)
    unfrozen, thaw_failures = (sum(getattr(each, name) for each in seen.values()) for name in _NOT_FROZEN)
    return Response(tuple(seen), "", unfrozen, thaw_failures)


def check_ports(host: str, numbers: Sequence[int]) -> list[Port]:
    """The state of the first ports: free, or taken and by which process."""
    numbers = numbers[:_MOST_PORTS]
    failures = _failures(host, numbers)
    if failures is None:
        return [Port(number, f"the address {host!r} cannot be found in time") for number in numbers]
    taken = [number for number, failure in zip(numbers, failures, strict=True) if failure]
    responses = query_all([parse_endpoint(_local_address(host, number)) for number in taken]) if taken else []
    ours = {number for number, response in zip(taken, responses, strict=True) if response.components}
    holders = _holders() if taken else {}
    return [
        Port(number, failure, number in ours, holders.get(number, ""))
        for number, failure in zip(numbers, failures, strict=True)
    ]


def _failures(host: str, numbers: Sequence[int]) -> list[str] | None:
    """Why each port cannot be listened on; None if a name server does not answer in time."""
    calls: list[Callable[[], list[str] | None]] = [lambda: [_failure(host, number) for number in numbers]]
    return results_within(_SECONDS, calls, None, "dagcache-doctor")[0]


def _failure(host: str, number: int) -> str:
    """Why a port cannot be listened on, found by listening for an instant; empty if it is free."""
    try:
        listen(host, number).close()
    except (OSError, UnicodeError, OverflowError) as error:
        return getattr(error, "strerror", None) or str(error)
    return ""


def _local_address(host: str, number: int) -> str:
    reachable = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(host, f"[{host}]" if ":" in host else host)
    return f"{reachable}:{number}"


def _holders() -> dict[int, str]:
    """The processes that listen, by port, as far as psutil is installed and this user may see them."""
    found: dict[int, str] = {}
    with suppress(Exception):
        import psutil  # type: ignore[import-untyped]

        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.pid:
                with suppress(psutil.Error):
                    address: Any = connection.laddr
                    found[address.port] = f"{psutil.Process(connection.pid).name()}, pid {connection.pid}"
    return found
