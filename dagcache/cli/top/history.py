"""The recent snapshots of every component, by endpoint. Components that stop answering stay in it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from dagcache.cli.top.polling import PolledEndpoint
from dagcache.metrics.delta import Delta
from dagcache.metrics.snapshot import Snapshot, components, snapshot
from dagcache.metrics.verdict import Verdict, format_seconds, verdict

_KEPT_SECONDS = 30.0

_Key = tuple[str, str]
"""An endpoint's URL as it may be shown, and the name of a component."""
_Snapshots = deque[tuple[float, Snapshot]]
"""The oldest first, each with the time of its scrape."""


@dataclass(frozen=True, slots=True)
class Component:
    """One component at one endpoint."""

    name: str
    url: str
    """Without user, password and query."""
    is_up: bool
    delta: Delta
    verdict: Verdict


class History:
    """The snapshots of the last half minute, for rates."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[_Key, _Snapshots] = {}

    def update(self, endpoints: Iterable[PolledEndpoint]) -> list[Component]:
        """Add the latest scrapes of the endpoints. Returns all components, in the order of their first answers."""
        now = self._clock()
        faults: dict[str, str] = {}
        answered: set[_Key] = set()
        for endpoint in endpoints:
            found = _read(endpoint)
            if endpoint.scrape is None:
                faults[endpoint.shown] = endpoint.fault
            for name, figures in found.items():
                answered.add((endpoint.shown, name))
                self._add((endpoint.shown, name), now, figures)
        return [
            _up(key, kept) if key in answered else _gone(key, kept, now, faults.get(key[0], ""))
            for key, kept in self._kept.items()
        ]

    def _add(self, key: _Key, now: float, found: Snapshot) -> None:
        kept = self._kept.setdefault(key, deque())
        if kept and found.lookups < kept[-1][1].lookups:
            kept.clear()  # the process was restarted
        kept.append((now, found))
        while len(kept) > 2 and now - kept[1][0] >= _KEPT_SECONDS:
            kept.popleft()


def _read(endpoint: PolledEndpoint) -> dict[str, Snapshot]:
    """The components of an endpoint. One that exposes impossible figures counts as silent, with that as the reason."""
    if endpoint.scrape is None:
        return {}
    try:
        return {name: snapshot(endpoint.scrape, name) for name in components(endpoint.scrape)}
    except ValueError as error:
        endpoint.give_up(f"its metrics are not those of dagcache: {error}")
        return {}


def _up(key: _Key, kept: _Snapshots) -> Component:
    (then, before), (now, newest) = kept[0], kept[-1]
    delta = Delta(newest, before if len(kept) > 1 else None, now - then)
    return Component(key[1], key[0], True, delta, verdict(delta))


def _gone(key: _Key, kept: _Snapshots, now: float, fault: str) -> Component:
    then, newest = kept[-1]
    reason = fault or "the endpoint answers, but no longer for this component"
    text = f"gone, last seen {format_seconds(now - then)} ago: {reason}"
    return Component(key[1], key[0], False, Delta(newest), Verdict("bad", text))
