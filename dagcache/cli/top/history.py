"""Every component that was seen at some endpoint, and what it did lately; one that has gone is not forgotten."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from dagcache.cli.shared.snapshot import Figures, figures
from dagcache.cli.top.delta import Window
from dagcache.cli.top.polling import Endpoint
from dagcache.cli.top.verdict import Verdict, format_seconds, verdict

_WINDOW_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Seen:
    """One component at one endpoint."""

    component: str
    url: str
    """As it may be shown."""
    is_up: bool
    window: Window
    verdict: Verdict


class Watch:
    """Keeps the figures of the last half minute, for rates."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._histories: dict[tuple[str, str], deque[tuple[float, Figures]]] = {}

    def update(self, endpoints: Iterable[Endpoint]) -> list[Seen]:
        """Take up what they have answered; all components, in the order in which they were first seen."""
        now = self._clock()
        faults: dict[str, str] = {}
        answered: set[tuple[str, str]] = set()
        for endpoint in endpoints:
            found = endpoint.scrape
            if found is None:
                faults[endpoint.shown] = endpoint.fault
                continue
            for component in sorted({labels["component"] for labels in found.labels("dagcache_info")}):
                answered.add((endpoint.shown, component))
                self._note((endpoint.shown, component), now, figures(found, component))
        return [
            self._up(key, history) if key in answered else self._gone(key, history, now, faults.get(key[0], ""))
            for key, history in self._histories.items()
        ]

    def _note(self, key: tuple[str, str], now: float, found: Figures) -> None:
        history = self._histories.setdefault(key, deque())
        if history and found.lookups < history[-1][1].lookups:
            history.clear()  # the process was started anew
        history.append((now, found))
        while len(history) > 2 and now - history[1][0] >= _WINDOW_SECONDS:
            history.popleft()

    def _up(self, key: tuple[str, str], history: deque[tuple[float, Figures]]) -> Seen:
        (then, before), (now, newest) = history[0], history[-1]
        window = Window(newest, before if len(history) > 1 else None, now - then)
        return Seen(key[1], key[0], True, window, verdict(window))

    def _gone(self, key: tuple[str, str], history: deque[tuple[float, Figures]], now: float, fault: str) -> Seen:
        then, newest = history[-1]
        why = f": {fault}" if fault else ": it answers, but no longer for this component"
        text = f"gone, last seen {format_seconds(now - then)} ago{why}"
        return Seen(key[1], key[0], False, Window(newest), Verdict("bad", text))
