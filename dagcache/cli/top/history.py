"""The recent snapshots of every component, by endpoint. Components that stop answering stay in it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from dagcache.cli.top.polling import PolledEndpoint
from dagcache.metrics.delta import Delta
from dagcache.metrics.verdict import Verdict, format_seconds, verdict
from dagcache.metrics.window import Window

_Key = tuple[str, str]
"""An endpoint's URL as it may be shown, and the name of a component."""


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
        self._windows: dict[_Key, Window] = {}

    def update(self, endpoints: Iterable[PolledEndpoint]) -> list[Component]:
        """Add the latest answers of the endpoints. Returns all components, in the order of their first answers."""
        now = self._clock()
        faults: dict[str, str] = {}
        answered: set[_Key] = set()
        for endpoint in endpoints:
            found = endpoint.snapshots
            if found is None:
                faults[endpoint.shown] = endpoint.fault
                continue
            for name, figures in found.items():
                answered.add((endpoint.shown, name))
                self._windows.setdefault((endpoint.shown, name), Window()).add(now, figures)
        return [
            _up(key, window) if key in answered else _gone(key, window, now, faults.get(key[0], ""))
            for key, window in self._windows.items()
        ]


def _up(key: _Key, window: Window) -> Component:
    delta = window.delta
    return Component(key[1], key[0], True, delta, verdict(delta))


def _gone(key: _Key, window: Window, now: float, fault: str) -> Component:
    then, newest = window.newest
    reason = fault or "the endpoint answers, but no longer for this component"
    text = f"gone, last seen {format_seconds(now - then)} ago: {reason}"
    return Component(key[1], key[0], False, Delta(newest), Verdict("bad", text))
