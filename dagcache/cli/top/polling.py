"""The polling of endpoints: which ones, and their latest answers. No endpoint delays the others, or ends the view."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from dagcache.airflow.configuration_file import airflow_home, airflow_setting
from dagcache.cli.shared.endpoint import Endpoint
from dagcache.concurrency.time_limit import ended_within, start
from dagcache.metrics.file_sd import default_directory
from dagcache.metrics.scrape import scrape
from dagcache.metrics.snapshot import Samples, Snapshot, components, snapshot

_PATIENCE_SECONDS = 3.0
_LONGEST_REASON = 200


def targets_directory() -> Path:
    """The directory of announcements, by the environment of this process or else by its ``airflow.cfg``."""
    chosen = airflow_setting("dagcache", "metrics_targets")
    return Path(chosen) if chosen else default_directory(airflow_home())


class PolledEndpoint:
    """An endpoint with the snapshots of its latest answer, or the reason why there are none."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.url = endpoint.url
        self.shown = endpoint.shown
        self.snapshots: dict[str, Snapshot] | None = None
        """By component. None: it did not answer the latest request, or not with metrics that can be used."""
        self.fault = "no answer yet"
        self._request: threading.Thread | None = None

    def ask(self) -> threading.Thread:
        """Send a request in a thread, unless the last one is still unanswered. Returns the thread."""
        if self._request is None or not self._request.is_alive():
            self._request = start(self._ask, "dagcache-top")
        return self._request

    def give_up(self) -> None:
        """Count the endpoint as silent: its answer is late."""
        self.snapshots, self.fault = None, "no answer in time"

    def read(self, found: Samples) -> None:
        """Take an answer. With impossible figures the endpoint counts as silent, with that as the reason."""
        try:
            self.snapshots = {name: snapshot(found, name) for name in components(found)}
        except ValueError as error:
            self.snapshots, self.fault = None, _shortened(f"its metrics are not those of dagcache: {error}")

    def _ask(self) -> None:
        # In the thread of the request also the reading: an answer may be as long or as odd as its sender likes.
        try:
            self.read(scrape(self.url))
        except Exception as error:
            self.snapshots, self.fault = None, _reason(error)


def _reason(error: Exception) -> str:
    """The innermost reason, without urllib's wrapping."""
    reason = getattr(error, "reason", None)
    return _shortened(str(reason if isinstance(reason, OSError) else error) or type(error).__name__)


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}..."


class Endpoints:
    """The endpoints of a list that may grow. An endpoint that was listed once stays."""

    def __init__(self, listed: Callable[[], Iterable[Endpoint]]) -> None:
        self._listed = listed
        self._known: dict[str, PolledEndpoint] = {}

    def ask(self) -> list[PolledEndpoint]:
        """Ask all endpoints at the same time. One without an answer after three seconds counts as silent."""
        for endpoint in self._listed():
            if endpoint.url not in self._known:
                self._known[endpoint.url] = PolledEndpoint(endpoint)
        asked = list(self._known.values())
        ended = ended_within(_PATIENCE_SECONDS, [polled.ask() for polled in asked])
        for polled, has_ended in zip(asked, ended, strict=True):
            if not has_ended:
                polled.give_up()
        return asked
