"""Scrapes of an endpoint, for the commands."""

from __future__ import annotations

import http.client
import re
from base64 import b64encode
from collections import defaultdict
from collections.abc import Iterable, Iterator
from urllib.error import HTTPError
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPSHandler,
    OpenerDirector,
    Request,
)

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

_MOST_BYTES = 64 * 1024 * 1024


class Scrape:
    """The samples of one scrape."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._samples: defaultdict[str, list[Sample]] = defaultdict(list)
        for sample in samples:
            self._samples[sample.name].append(sample)

    def value(self, name: str, **labels: str) -> float | None:
        """The first sample with that name and at least these labels; None without one."""
        return next((sample.value for sample in self._matching(name, labels)), None)

    def total(self, name: str, **labels: str) -> float:
        """The sum of all samples with that name and at least these labels; 0.0 without any."""
        return float(sum(sample.value for sample in self._matching(name, labels)))

    def labels(self, name: str, **labels: str) -> list[dict[str, str]]:
        """The labels of each sample with that name and at least these labels."""
        return [dict(sample.labels) for sample in self._matching(name, labels)]

    def _matching(self, name: str, labels: dict[str, str]) -> Iterator[Sample]:
        wanted = labels.items()
        return (sample for sample in self._samples.get(name, ()) if wanted <= sample.labels.items())


def parse(text: str) -> Scrape:
    """The samples in a text of Prometheus' format.

    Raises:
        ValueError: the text has another format.

    """
    try:
        return Scrape(sample for family in text_string_to_metric_families(text) for sample in family.samples)
    except Exception as error:  # the parser raises errors of many types
        raise ValueError(f"not in Prometheus' text format: {error}") from error


def scrape(url: str, timeout: float = 2.0) -> Scrape:
    """Fetch and parse; no proxy, no redirect. ``timeout`` is in seconds, for each step.

    A user and a password in the URL are sent as Basic authentication. Errors never contain them.

    Raises:
        OSError: there is no connection, or the response is an error (urllib's errors are OSErrors).
        ValueError: the URL is not valid, or the response is not in Prometheus' text format.

    """
    parts = _split(url)
    shown = shown_url(url)
    opener = OpenerDirector()
    for handler in (HTTPHandler(), HTTPSHandler(), HTTPErrorProcessor(), HTTPDefaultErrorHandler()):
        opener.add_handler(handler)
    try:
        response = opener.open(_request(parts), timeout=timeout)
        with response:
            body = response.read(_MOST_BYTES)
    except HTTPError as error:
        error.close()  # it holds the connection
        raise
    except http.client.HTTPException as error:
        raise ConnectionError(f"{shown} did not answer in HTTP: {error!r}") from error
    return parse(body.decode("utf-8", errors="replace"))


def shown_url(url: str) -> str:
    """A URL as it may be shown: without user, password, query and fragment.

    Raises:
        ValueError: it is no http:// or https:// URL; the message does not show it.

    """
    parts = _split(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}{'?...' if parts.query else ''}"


def _split(url: str) -> SplitResult:
    # What the standard library says of a bad URL shows parts of it, which may be a password.
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or re.search(r"[\x00-\x20\x7f]", url):
        raise ValueError("not an http:// or https:// URL with a host and, after a colon, a port")
    return parts


def _request(parts: SplitResult) -> Request:
    request = Request(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl())
    if parts.username is not None:
        secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        request.add_header("Authorization", f"Basic {b64encode(secret).decode('ascii')}")
    return request
