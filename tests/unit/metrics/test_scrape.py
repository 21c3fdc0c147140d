"""Reading an endpoint back."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from urllib.error import HTTPError

import pytest

from dagcache.metrics.scrape import parse, scrape
from tests.support.patience import PATIENCE

TEXT = """
# TYPE hits counter
hits_total{component="a",tier="live"} 3
hits_total{component="a",tier="frozen"} 4
hits_total{component="b",tier="live"} 10
"""


@pytest.fixture
def replies() -> Iterator[list[bytes]]:
    """A server that says the first of these to the first connection; the list is given its URL."""
    said: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        said.append(f"http://127.0.0.1:{listener.getsockname()[1]}/metrics".encode())

        def reply() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(said[-1])

        thread = threading.Thread(target=reply, daemon=True)
        thread.start()
        yield said
        thread.join(PATIENCE)


def test_a_value_is_told_by_name_and_some_labels() -> None:
    """None where there is none."""
    got = parse(TEXT)
    assert got.value("hits_total", component="a", tier="frozen") == 4
    assert got.value("hits_total", component="b") == 10
    assert got.value("hits_total", component="c") is None
    assert got.value("misses_total") is None


def test_a_total_is_the_sum_over_what_matches() -> None:
    """0 where nothing does."""
    got = parse(TEXT)
    assert got.total("hits_total") == 17
    assert got.total("hits_total", component="a") == 7
    assert got.total("misses_total") == 0.0


def test_the_labels_are_those_of_what_matches() -> None:
    """In the order of the text."""
    assert parse(TEXT).labels("hits_total", component="a") == [
        {"component": "a", "tier": "live"},
        {"component": "a", "tier": "frozen"},
    ]


@pytest.mark.parametrize("text", ["<html>no</html>", "hits_total{component=", "hits_total x", "a{b='c'} 1"])
def test_something_else_than_metrics_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="not in Prometheus' text format"):
        parse(text)


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://localhost/x", "metrics", "", "http://[x"])
def test_only_http_is_fetched(url: str) -> None:
    with pytest.raises(ValueError, match=r"URL|url"):
        scrape(url)


@pytest.mark.parametrize(
    "reply",
    [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 503 Busy\r\n\r\n", b"HTTP/1.1 302 Go\r\nLocation: http://localhost:1/\r\n\r\n"],
)
def test_an_endpoint_that_does_not_serve_is_an_os_error(replies: list[bytes], reply: bytes) -> None:
    """Gone, of another protocol, out of order, or pointing elsewhere."""
    url = replies[0].decode()
    replies.append(reply)
    with pytest.raises(OSError, match=r"did not answer|Busy|Go|end|reset|closed"):
        scrape(url, timeout=10)


@pytest.mark.parametrize("status", [b"404 No", b"503 Busy"])
def test_an_error_response_is_closed(replies: list[bytes], status: bytes) -> None:
    """It would hold its connection until it is collected, with a ResourceWarning."""
    url = replies[0].decode()
    replies.append(b"HTTP/1.1 %s\r\nContent-Length: 4\r\n\r\ntext" % status)
    with pytest.raises(HTTPError) as raised:
        scrape(url, timeout=10)
    assert raised.value.fp is not None
    assert raised.value.fp.closed


def test_nobody_there_is_an_os_error() -> None:
    """As every failure to connect."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(OSError, match="refused"):
        scrape(f"http://127.0.0.1:{port}/metrics")
