"""HTTP responses, as a function from the bytes of a request to the bytes of its response. No sockets."""

from __future__ import annotations

import gzip
import http.client
import io
import re
from collections.abc import Callable
from email.message import Message
from http import HTTPStatus
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder, gzip_accepted

from dagcache.log_limits import report

_PATH = "/metrics"
_METHODS = ("GET", "HEAD")
_REQUEST_LINE = re.compile(rb"([!-~]{1,20}) ([!-~]+) HTTP/1\.[01]\r?\n")


def response_to(request: bytes, registry: CollectorRegistry) -> bytes:
    """The whole response to the head of a request. An error while collecting is a 500, and one log line a minute."""
    line = _REQUEST_LINE.match(request)
    if line is None:
        return refusal(HTTPStatus.BAD_REQUEST)
    method, target = line[1].decode("ascii"), line[2].decode("ascii")
    try:
        path = urlsplit(target).path
        headers = http.client.parse_headers(io.BytesIO(request[line.end() :]))
    except (ValueError, http.client.HTTPException):
        return refusal(HTTPStatus.BAD_REQUEST)
    if path != _PATH:
        return refusal(HTTPStatus.NOT_FOUND)
    if method not in _METHODS:
        return refusal(HTTPStatus.METHOD_NOT_ALLOWED, f"Allow: {', '.join(_METHODS)}")
    try:
        response, body = _metrics(registry, headers)
    except Exception as error:
        report("scrape", "could not collect the metrics", error=error)
        return refusal(HTTPStatus.INTERNAL_SERVER_ERROR)
    return response if method == "HEAD" else response + body


def refusal(status: HTTPStatus, *headers: str) -> bytes:
    """A response with its status as its content."""
    body = f"{status} {status.phrase}\n".encode()
    return _head(status, len(body), "Content-Type: text/plain; charset=utf-8", *headers) + body


def _metrics(registry: CollectorRegistry, headers: Message) -> tuple[bytes, bytes]:
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
