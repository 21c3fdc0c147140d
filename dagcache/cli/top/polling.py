"""The endpoints to watch: where they are, and what each one answers. None of them can hold the others up."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from configparser import Error as ConfigParserError
from configparser import RawConfigParser
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from dagcache.metrics import file_sd
from dagcache.metrics.scrape import Scrape, scrape
from dagcache.redaction import shown_url

_PATIENCE_SECONDS = 3.0
_LONGEST_REASON = 200


def with_path(url: str) -> str:
    """The URL to scrape: ``http://`` and ``/metrics`` may be left out.

    Raises:
        ValueError: it is no URL; the message does not show it, for there may be a password in it.

    """
    url = url if "://" in url else f"http://{url}"
    shown_url(url)
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path="/metrics" if parts.path in ("", "/") else parts.path))


def targets_directory() -> Path:
    """Where the Airflow of this environment announces its endpoints: as its variables say, or else its airflow.cfg."""
    home = Path(os.environ.get("AIRFLOW_HOME") or "~/airflow").expanduser()
    chosen = os.environ.get("AIRFLOW__DAGCACHE__METRICS_TARGETS")
    if chosen is None:
        chosen = _configured(Path(os.environ.get("AIRFLOW_CONFIG") or home / "airflow.cfg").expanduser())
    return Path(chosen.strip()) if chosen.strip() else home / "dagcache" / "targets"


def _configured(path: Path) -> str:
    """What a configuration file says of it, read without importing Airflow, which takes seconds."""
    parser = RawConfigParser(strict=False, inline_comment_prefixes=("#",))
    try:
        parser.read(path, encoding="utf-8")
        return parser.get("dagcache", "metrics_targets", fallback="")
    except (OSError, ValueError, ConfigParserError):  # it is Airflow's to complain
        return ""


def announced(directory: Path) -> list[str]:
    """The URLs that processes of this machine have announced; what cannot be read is left out."""
    return file_sd.announced(directory, lambda target, _: with_path(target), here=True)


class Endpoint:
    """One URL, and its latest answer or why there is none."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.shown = shown_url(url)
        self.scrape: Scrape | None = None
        """None: it has not answered to the latest question."""
        self.fault = "no answer yet"
        self._asking: threading.Thread | None = None

    def ask(self) -> None:
        """Ask, in a thread of its own, unless it is being asked still."""
        if self._asking is None or not self._asking.is_alive():
            self._asking = threading.Thread(target=self._ask, daemon=True)
            self._asking.start()

    def wait(self, seconds: float) -> None:
        """Wait for the answer, no longer than that."""
        if self._asking is not None:
            self._asking.join(max(0.0, seconds))
            if self._asking.is_alive():
                self.scrape, self.fault = None, "no answer in time"

    def _ask(self) -> None:
        try:
            self.scrape = scrape(self.url)
        except (OSError, ValueError) as error:
            self.scrape, self.fault = None, _reason(error)


def _reason(error: Exception) -> str:
    """The innermost reason, without urllib's wrapping."""
    reason = getattr(error, "reason", None)
    text = str(reason if isinstance(reason, OSError) else error) or type(error).__name__
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}..."


class Endpoints:
    """Those of a list that may grow; one that was seen once is asked for ever."""

    def __init__(self, urls: Callable[[], Iterable[str]]) -> None:
        self._urls = urls
        self._known: dict[str, Endpoint] = {}

    def ask(self) -> list[Endpoint]:
        """Ask all of them at the same time; what has not answered within three seconds counts as silent."""
        for url in self._urls():
            if url not in self._known:
                self._known[url] = Endpoint(url)
        for endpoint in self._known.values():
            endpoint.ask()
        end = time.monotonic() + _PATIENCE_SECONDS
        for endpoint in self._known.values():
            endpoint.wait(end - time.monotonic())
        return list(self._known.values())
