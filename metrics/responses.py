"""HTTP responses, as a function from the bytes of a request to the bytes of its response. No sockets."""

from __future__ import annotations

import functools
import gzip
import http.client
import io
import re
from collections.abc import Callable, Mapping
from email.message import Message
from http import HTTPStatus
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder, gzip_accepted

from dagcache.log_limits import report
from dagcache.metrics.status_page import StatusPage

_Response = tuple[bytes, bytes]
"""The head, and the body."""

_METHODS = ("GET", "HEAD")
_REQUEST_LINE = re.compile(rb"([!-~]{1,20}) ([!-~]+) HTTP/1\.[01]\r?\n")


_POLICY = "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"


class Responder:
    """The pages of an endpoint: ``/metrics``, the status page at ``/``, and ``/-/healthy``. Not thread-safe."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._status = StatusPage(registry)
        self._pages: dict[str, Callable[[Message], _Response]] = {
            "/metrics": functools.partial(_metrics, registry),
            "/": self._status_page,
            "/-/healthy": _healthy,
        }

    def response_to(self, request: bytes) -> bytes:
        """The whole response to the head of a request. An error of a page is a 500, and one log line a minute."""
        return _response_to(request, self._pages)

    def _status_page(self, _headers: Message) -> _Response:
        body = self._status.html().encode()
        headers = "Content-Type: text/html; charset=utf-8", _POLICY, "Cache-Control: no-store"
        return _head(HTTPStatus.OK, len(body), *headers), body


def _response_to(request: bytes, pages: Mapping[str, Callable[[Message], _Response]]) -> bytes:
    line = _REQUEST_LINE.match(request)
    if line is None:
        return refusal(HTTPStatus.BAD_REQUEST)
    method, target = line[1].decode("ascii"), line[2].decode("ascii")
    try:
        path = urlsplit(target).path
        headers = http.client.parse_headers(io.BytesIO(request[line.end() :]))
    except (ValueError, http.client.HTTPException):
        return refusal(HTTPStatus.BAD_REQUEST)
    page = pages.get(path)
    if page is None:
        return refusal(HTTPStatus.NOT_FOUND)
    if method not in _METHODS:
        return refusal(HTTPStatus.METHOD_NOT_ALLOWED, f"Allow: {', '.join(_METHODS)}")
    try:
        response, body = page(headers)
    except Exception as error:
        report("scrape", "could not collect the metrics", error=error)
        return refusal(HTTPStatus.INTERNAL_SERVER_ERROR)
    return response if method == "HEAD" else response + body


def refusal(status: HTTPStatus, *headers: str) -> bytes:
    """A response with its status as its content."""
    body = f"{status} {status.phrase}\n".encode()
    return _head(status, len(body), "Content-Type: text/plain; charset=utf-8", *headers) + body


def _healthy(_headers: Message) -> _Response:
    """The thread of the endpoint answers. Collects nothing, so that a probe is quick."""
    body = b"dagcache answers\n"
    return _head(HTTPStatus.OK, len(body), "Content-Type: text/plain; charset=utf-8"), body


def _metrics(registry: CollectorRegistry, headers: Message) -> _Response:
    encode, content_type = _encoder(_value(headers, "Accept"))
    body = encode(registry)
    described = [f"Content-Type: {content_type}", "Vary: Accept, Accept-Encoding"]
    if gzip_accepted(_value(headers, "Accept-Encoding")):
        body = gzip.compress(body, compresslevel=6, mtime=0)
        described.append("Content-Encoding: gzip")
    return _head(HTTPStatus.OK, len(body), *described), body


def _encoder(accept: str) -> tuple[Callable[[CollectorRegistry], bytes], str]:
    """The encoder that prometheus_client chooses, without a version that it cannot parse or would copy to a header."""
    if re.search(r"version=(?![0-9]{1,4}(\.[0-9]{1,4}){0,3}\s*(;|,|$))", accept):
        accept = ""
    return choose_encoder(accept)


def _value(headers: Message, name: str) -> str:
    return ",".join(map(str, headers.get_all(name, [])))


def _head(status: HTTPStatus, length: int, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} {status.phrase}", *headers, f"Content-Length: {length}", "Connection: close", "", ""]
    return "\r\n".join(lines).encode("latin-1")
