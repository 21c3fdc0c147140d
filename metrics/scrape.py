"""Scrapes of an endpoint, for the commands."""

from __future__ import annotations

import http.client
from base64 import b64encode
from collections import defaultdict
from collections.abc import Iterable, Iterator
from urllib.error import HTTPError
from urllib.parse import SplitResult, unquote
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

from dagcache.redaction import shown_url, split_http_url

_MOST_BYTES = 16 * 1024 * 1024
"""The largest response. A component of dagcache takes some 20 KiB."""


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
    """Fetch and parse; no proxy, no redirect, no compression. ``timeout`` is in seconds, for each step.

    A user and a password in the URL are sent as Basic authentication. Errors never contain them.

    Raises:
        OSError: there is no connection, or the response is an error (urllib's errors are OSErrors).
        ValueError: the URL is not valid, or the response is too large, compressed, or not in Prometheus' text format.

    """
    parts = split_http_url(url)
    shown = shown_url(url)
    opener = OpenerDirector()
    for handler in (HTTPHandler(), HTTPSHandler(), HTTPErrorProcessor(), HTTPDefaultErrorHandler()):
        opener.add_handler(handler)
    try:
        response = opener.open(_request(parts), timeout=timeout)
        with response:
            body = _whole_body(response)
    except HTTPError as error:
        error.close()  # it holds the connection
        raise
    except http.client.HTTPException as error:
        raise ConnectionError(f"{shown} did not answer in HTTP: {error!r}") from error
    return parse(body.decode("utf-8", errors="replace"))


def _whole_body(response: http.client.HTTPResponse) -> bytes:
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        raise ValueError(f"a response in the encoding {encoding[:40]!r}, which was not requested")
    body = response.read(_MOST_BYTES + 1)
    if len(body) > _MOST_BYTES:
        raise ValueError(f"a response of more than {_MOST_BYTES} bytes")
    if response.length:  # the part that a read of a limited number of bytes leaves out without an error
        raise ConnectionError(f"the response ends {response.length} bytes early")
    return body


def _request(parts: SplitResult) -> Request:
    request = Request(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl())
    if parts.username is not None:
        secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        request.add_header("Authorization", f"Basic {b64encode(secret).decode('ascii')}")
    return request
