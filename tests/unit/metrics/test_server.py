"""The endpoint against the well-behaved, the slow and the hostile."""

from __future__ import annotations

import gzip
import logging
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from dagcache.metrics import server as server_module
from dagcache.metrics.collector import CacheCollector
from dagcache.metrics.responses import Responder
from dagcache.metrics.scrape import scrape
from dagcache.metrics.server import MetricsServer
from tests.support.caches import MIB, make_cache
from tests.support.patience import PATIENCE

GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
HALF = b"GET /metrics HTTP/1.1\r\nHos"


def registry_of_one_cache() -> CollectorRegistry:
    """The metrics of a scheduler."""
    registry = CollectorRegistry()
    registry.register(CacheCollector([make_cache(max_bytes=MIB, name="scheduler")[0]]))
    return registry


Serve = Callable[..., MetricsServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts servers on loopback and closes them afterwards."""
    servers: list[MetricsServer] = []

    def start(registry: CollectorRegistry | None = None, **settings: Any) -> MetricsServer:
        settings = {"host": "127.0.0.1", "ports": (0,), "timeout": 60.0, **settings}
        server = MetricsServer(registry or registry_of_one_cache(), **settings)
        servers.append(server)
        assert server.start()
        return server

    yield start
    for server in servers:
        server.close()


def connect(server: MetricsServer) -> socket.socket:
    """A client that gives up some day."""
    return socket.create_connection(("127.0.0.1", server.port or 0), timeout=PATIENCE)


def read_all(client: socket.socket) -> bytes:
    """Everything until the server hangs up, however it does."""
    got = b""
    try:
        while received := client.recv(65536):
            got += received
    except ConnectionError:
        pass
    return got


def talk(server: MetricsServer, request: bytes) -> bytes:
    """The answer to these bytes."""
    with connect(server) as client:
        with suppress(ConnectionError):
            client.sendall(request)
        return read_all(client)


def url(server: MetricsServer) -> str:
    """Where it is."""
    return f"http://127.0.0.1:{server.port}/metrics"


def endpoint_threads() -> int:
    """How many threads all endpoints of this process have."""
    return sum(thread.name == "dagcache-metrics" for thread in threading.enumerate())


# ---- the well-behaved ----


def test_a_scrape_gets_the_metrics(serve: Serve) -> None:
    """In the format that `scrape` reads."""
    assert scrape(url(serve())).value("dagcache_max_bytes", component="scheduler") == MIB


def test_a_head_request_gets_the_headers_of_the_get(serve: Serve) -> None:
    """And no body."""
    server = serve()
    got, head = talk(server, GET), talk(server, GET.replace(b"GET", b"HEAD"))
    assert head.endswith(b"\r\n\r\n")
    assert re.sub(rb"Content-Length: \d+", b"", got).startswith(re.sub(rb"Content-Length: \d+", b"", head))
    assert len(got) > 10 * len(head)


def test_openmetrics_and_gzip_are_served_to_whoever_accepts_them(serve: Serve) -> None:
    """As Prometheus itself asks."""
    accepted = {
        "Accept": "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.2",
        "Accept-Encoding": "gzip",
    }
    with urllib.request.urlopen(urllib.request.Request(url(serve()), headers=accepted)) as response:
        assert response.headers["Content-Encoding"] == "gzip"
        assert response.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
        text = gzip.decompress(response.read()).decode()
    assert "dagcache_hits" in {family.name for family in text_string_to_metric_families(text)}  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("version", ["x", "1.x", "1..0", "9" * 5000, "1.0.0é", "1.0.0\r\n X-Evil: 1", ""])
def test_an_accept_header_that_cannot_be_read_counts_as_none(version: str) -> None:
    """Neither an error nor a header of the client's making."""
    accept = f"Accept: application/openmetrics-text;version={version},text/plain;version={version}"
    request = f"GET /metrics HTTP/1.1\r\n{accept}\r\n\r\n".encode("latin-1")
    got = Responder(registry_of_one_cache()).response_to(request)
    assert got.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4")
    assert b"Evil" not in got


def test_nothing_is_told_of_the_server_but_the_metrics(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """No banner, no clock, no access log."""
    caplog.set_level(logging.DEBUG)
    head, _, _ = talk(serve(), GET).partition(b"\r\n\r\n")
    names = [line.partition(b":")[0] for line in head.split(b"\r\n")[1:]]
    assert names == [b"Content-Type", b"Vary", b"Content-Length", b"Connection"]
    assert caplog.text == ""


# ---- the hostile ----

REQUESTS = {
    "the root": (b"GET / HTTP/1.1\r\n\r\n", 200),
    "the root, changed": (b"POST / HTTP/1.1\r\n\r\n", 405),
    "health": (b"GET /-/healthy HTTP/1.1\r\n\r\n", 200),
    "health of another kind": (b"GET /-/ready HTTP/1.1\r\n\r\n", 404),
    "another path": (b"GET /admin HTTP/1.1\r\n\r\n", 404),
    "a path below": (b"GET /metrics/x HTTP/1.1\r\n\r\n", 404),
    "a slash too many": (b"GET /metrics/ HTTP/1.1\r\n\r\n", 404),
    "two slashes": (b"GET //metrics HTTP/1.1\r\n\r\n", 404),
    "a traversal": (b"GET /metrics/../../etc/passwd HTTP/1.1\r\n\r\n", 404),
    "an encoded traversal": (b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\n\r\n", 404),
    "an encoded null": (b"GET /metrics%00 HTTP/1.1\r\n\r\n", 404),
    "another letter case": (b"GET /METRICS HTTP/1.1\r\n\r\n", 404),
    "no path": (b"OPTIONS * HTTP/1.1\r\n\r\n", 404),
    "a proxy's connect": (b"CONNECT example.org:443 HTTP/1.1\r\n\r\n", 404),
    "a target that is not a URL": (b"GET http://[x/metrics HTTP/1.1\r\n\r\n", 400),
    "a query": (b"GET /metrics?name[]=x&y=%00 HTTP/1.1\r\n\r\n", 200),
    "an absolute target": (b"GET http://elsewhere/metrics HTTP/1.1\r\n\r\n", 200),
    "an old version": (b"GET /metrics HTTP/1.0\r\n\r\n", 200),
    "bare line feeds": (b"GET /metrics HTTP/1.0\nHost: x\n\n", 200),
    "post": (b"POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 405),
    "put": (b"PUT /metrics HTTP/1.1\r\n\r\n", 405),
    "delete": (b"DELETE /metrics HTTP/1.1\r\n\r\n", 405),
    "options": (b"OPTIONS /metrics HTTP/1.1\r\n\r\n", 405),
    "trace": (b"TRACE /metrics HTTP/1.1\r\nCookie: secret\r\n\r\n", 405),
    "patch": (b"PATCH /metrics HTTP/1.1\r\n\r\n", 405),
    "an unheard-of method": (b"BREW /metrics HTTP/1.1\r\n\r\n", 405),
    "a small method": (b"get /metrics HTTP/1.1\r\n\r\n", 405),
    "an endless method": (b"G" * 4000 + b" /metrics HTTP/1.1\r\n\r\n", 400),
    "no version": (b"GET /metrics\r\n\r\n", 400),
    "a future version": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "no words": (b"\r\n\r\n", 400),
    "too many spaces": (b"GET  /metrics  HTTP/1.1\r\n\r\n", 400),
    "a null in the line": (b"GET /metrics\x00 HTTP/1.1\r\n\r\n", 400),
    "binary": (bytes(range(256)) + b"\r\n\r\n", 400),
    "another protocol": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\n", 400),
    "a large header": (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", 431),
    "a large target": (b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n", 431),
    "a large line without end": (b"x" * 9000, 431),
    "many headers": (b"GET /metrics HTTP/1.1\r\n" + b"a: b\r\n" * 500 + b"\r\n", 400),
    "a header that is none": (b"GET /metrics HTTP/1.1\r\n\xff\xfe\r\n\r\n", 200),
    "a folded header": (b"GET /metrics HTTP/1.1\r\nAccept: text/plain\r\n  ;q=1\r\n\r\n", 200),
    "two lengths": (b"GET /metrics HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 500\r\n\r\n", 200),
    "a smuggled request": (b"GET /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + GET, 200),
    "a pipeline": (GET * 50, 200),
    "an endless body": (GET + b"x" * 2_000_000, 200),
    "a wish to stay": (b"GET /metrics HTTP/1.1\r\nConnection: keep-alive\r\n\r\n", 200),
    "a wish for another protocol": (b"GET /metrics HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", 200),
    "a wish to be asked": (b"GET /metrics HTTP/1.1\r\nExpect: 100-continue\r\n\r\n", 200),
}


@pytest.mark.parametrize("kind", REQUESTS)
def test_a_strange_request_gets_one_response_and_the_next_scrape_is_served(serve: Serve, kind: str) -> None:
    """One status line, then the server hangs up; nothing of the request comes back."""
    server = serve()
    request, status = REQUESTS[kind]
    got = talk(server, request)
    assert re.findall(rb"HTTP/1\.1 (\d+)", got) == [str(status).encode()]
    assert b"secret" not in got
    assert scrape(url(server)).value("dagcache_max_bytes") == MIB
    assert endpoint_threads() == 1


def test_a_refused_method_is_told_what_is_allowed(serve: Serve) -> None:
    """As the protocol demands."""
    assert b"\r\nAllow: GET, HEAD\r\n" in talk(serve(), b"POST /metrics HTTP/1.1\r\n\r\n")


@given(st.binary(max_size=200) | st.builds(lambda tail: GET[:-2] + tail + b"\r\n\r\n", st.binary(max_size=200)))
def test_any_bytes_get_an_answer(request: bytes) -> None:
    """Never an error of ours."""
    assert re.match(rb"HTTP/1\.1 (200|400|404|405) ", Responder(CollectorRegistry()).response_to(request))


@pytest.mark.parametrize("sent", [b"", HALF, GET], ids=["nothing", "half", "all"])
def test_a_client_that_leaves_is_forgotten(serve: Serve, sent: bytes) -> None:
    """Before, during and after its request."""
    server = serve()
    for _ in range(10):
        with connect(server) as client:
            client.sendall(sent)
    assert scrape(url(server), timeout=PATIENCE).value("dagcache_max_bytes") == MIB


def test_half_a_request_that_ends_gets_nothing(serve: Serve) -> None:
    """The server hangs up as well."""
    with connect(serve()) as client:
        client.sendall(HALF)
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b""


def test_the_server_listens_on_after_its_response(serve: Serve) -> None:
    """A reset of a connection with unread data can drop the response."""
    server = serve()
    with connect(server) as client:
        client.sendall(GET)
        assert read_all(client).startswith(b"HTTP/1.1 200")
        talk(server, GET)  # the first connection is finished
        for _ in range(2):
            client.sendall(b"x")


def test_a_client_that_sends_without_end_is_cut_off(serve: Serve) -> None:
    """Long before its time is up."""

    def send() -> None:
        for _ in range(256):
            client.sendall(bytes(MIB))

    with connect(serve()) as client:
        client.sendall(GET)
        with pytest.raises(ConnectionError):
            send()


# ---- the slow ----


def test_half_a_request_is_dropped_when_its_time_is_up(serve: Serve) -> None:
    """Without an answer."""
    assert talk(serve(timeout=0.05), HALF) == b""


def test_the_time_is_for_the_whole_request(serve: Serve) -> None:
    """A byte now and then does not prolong it."""
    with connect(serve(timeout=0.3)) as client:
        client.settimeout(0.01)
        sent = 0
        while sent < 3000:
            try:
                client.sendall(b"x")
                sent += 1
                if client.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
    assert 1 < sent < 3000


def test_a_client_that_does_not_read_is_dropped_when_its_time_is_up(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server does not wait for a response that exceeds the sockets' buffers."""
    monkeypatch.setattr(Responder, "response_to", lambda _responder, _request: b"x" * 50_000_000)
    server = serve(timeout=0.2)
    with connect(server) as lazy, connect(server) as later:
        lazy.sendall(GET)
        assert read_all(later) == b""  # its time is up, so that of the one before it is, too
        assert len(read_all(lazy)) < 50_000_000


def test_the_time_that_collecting_takes_is_not_the_clients(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the scrape that waits for it nor a request that is half there is cut off."""
    late = 0.0

    def collect(_responder: Responder, _request: bytes) -> bytes:
        nonlocal late
        late += 1000.0
        return b"x" * 5_000_000

    monkeypatch.setattr(Responder, "response_to", collect)
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + late, sleep=time.sleep)
    monkeypatch.setattr(server_module, "time", clock)
    server = serve()
    with connect(server) as half, connect(server) as whole:
        half.sendall(HALF)
        whole.sendall(GET)
        assert len(read_all(whole)) == 5_000_000
        half.sendall(GET[len(HALF) :])
        assert len(read_all(half)) == 5_000_000


@pytest.mark.parametrize("crowd", [50, 200])
def test_a_crowd_of_slow_clients_does_not_keep_a_scrape_from_its_answer(serve: Serve, crowd: int) -> None:
    """Each may take a minute here; there is one thread for all."""
    server = serve()
    clients = [connect(server) for _ in range(crowd)]
    for client in clients:
        client.sendall(HALF[:1])
    for _ in range(20):
        assert scrape(url(server), timeout=PATIENCE).value("dagcache_max_bytes") == MIB
    assert endpoint_threads() == 1
    for client in clients:
        client.close()


def test_of_too_many_connections_the_oldest_is_dropped(serve: Serve) -> None:
    """The others may go on."""
    server = serve(most_connections=2)
    with connect(server) as first, connect(server) as second, connect(server) as third:
        assert read_all(first) == b""
        for client in (second, third):
            client.sendall(GET)
            assert read_all(client).startswith(b"HTTP/1.1 200")


# ---- failures ----


def test_without_descriptors_there_is_no_endpoint(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning, and the port is free again."""

    def refuse() -> None:
        raise OSError(24, "Too many open files")

    with socket.create_server(("127.0.0.1", 0)) as soon_free:
        port = soon_free.getsockname()[1]
    with monkeypatch.context() as patched:
        patched.setattr(socket, "socketpair", refuse)
        assert not MetricsServer(CollectorRegistry(), host="127.0.0.1", ports=(port,)).start()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    socket.create_server(("127.0.0.1", port)).close()


class Failing(Collector):
    """Its metrics cannot be had."""

    def describe(self) -> list[Any]:
        """None, so that registering does not collect."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Not today."""
        raise RuntimeError("secret details")


def test_an_error_while_collecting_is_a_500_and_one_log_line(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    registry = CollectorRegistry()
    registry.register(Failing())
    got = talk(serve(registry), GET)
    assert got.startswith(b"HTTP/1.1 500 ")
    assert [record.getMessage() for record in caplog.records] == ["could not collect the metrics (RuntimeError)"]
    assert "secret details" not in caplog.text.replace('("secret details")', "")
    assert b"secret" not in got


class OutOfDescriptors(socket.socket):
    """A listener with a first connection that fails."""

    def __init__(self, fileno: int) -> None:
        super().__init__(fileno=fileno)
        self._failures = [OSError(24, "too many open files"), ConnectionAbortedError()]

    def accept(self) -> tuple[socket.socket, Any]:
        """Fail at first."""
        if self._failures:
            raise self._failures.pop(0)
        return super().accept()


def test_a_connection_that_cannot_be_accepted_is_tried_again(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a short pause, lest it spin."""
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    listener = OutOfDescriptors(socket.create_server(("127.0.0.1", 0)).detach())
    monkeypatch.setattr(server_module, "_try_to_listen", lambda _host, _port: listener)
    assert scrape(url(serve()), timeout=PATIENCE).value("dagcache_max_bytes") == MIB
    assert pauses == [0.05]


def test_a_fault_of_the_endpoints_own_closes_it(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """And is logged; the process goes on."""
    server = serve()
    loop = server._loop
    assert loop is not None
    loop._serve_once = None  # type: ignore[method-assign, assignment]
    assert talk(server, GET)[:12] in (b"HTTP/1.1 200", b"")
    assert loop._ended.wait(PATIENCE)
    assert "the metrics endpoint failed and is closed" in caplog.text


def test_no_more_threads_is_a_warning(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """And the port is free again."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    server = MetricsServer(CollectorRegistry(), host="127.0.0.1", ports=(0,), owner="scheduler")
    assert not server.start()
    assert server.port is None
    assert f"no metrics endpoint for the scheduler, process {os.getpid()}: can't start new thread" in caplog.text


# ---- ports ----


def test_a_port_that_is_taken_is_passed_over(serve: Serve) -> None:
    """For the next of the range."""
    first = serve()
    second = serve(ports=(first.port, 0, first.port))
    assert second.port not in (None, first.port)
    assert scrape(url(second)).value("dagcache_max_bytes") == MIB


def test_no_free_port_is_one_warning_that_names_the_process(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """Of several workers, only some may have got a port."""
    port = serve().port or 0
    server = MetricsServer(CollectorRegistry(), host="127.0.0.1", ports=(port, port), owner="api_server")
    assert not server.start()
    assert server.port is None
    (line,) = (record.getMessage() for record in caplog.records)
    named = (
        f"no metrics endpoint for the api_server, process {os.getpid()}: metrics_port = {port}-{port} on 127.0.0.1: "
    )
    assert line.startswith(named)
    assert "in use" in line


@pytest.mark.parametrize("host", ["192.0.2.1", "not a host", "x" * 300, "a\x00b", "::ffff:192.0.2.1"])
def test_an_address_that_is_not_ours_is_a_warning(host: str, caplog: pytest.LogCaptureFixture) -> None:
    """Not an error that would end a scheduler."""
    assert not MetricsServer(CollectorRegistry(), host=host, ports=(0,)).start()
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_a_host_is_a_name_or_an_address(host: str, serve: Serve) -> None:
    """Of either kind of address, where there is that kind."""
    server = serve(host=host)
    if server.port is None:
        pytest.skip(f"no {host} here")
    shown = f"[{host}]" if ":" in host else host
    assert scrape(f"http://{shown}:{server.port}/metrics").value("dagcache_max_bytes") == MIB


def test_a_name_server_that_hangs_does_not_hang_a_start(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """There is one query for any number of ports, with a time limit; a late answer is ignored."""
    answers, asked = threading.Event(), []
    look_up = socket.getaddrinfo

    def hang(host: Any, *arguments: Any, **options: Any) -> Any:
        if options:  # only whether it is an address
            return look_up(host, *arguments, **options)
        asked.append(host)
        answers.wait()
        raise OSError("too late")

    monkeypatch.setattr(server_module, "_NAME_SERVER_SECONDS", 0.05)
    monkeypatch.setattr(socket, "getaddrinfo", hang)
    server = MetricsServer(CollectorRegistry(), host="slow.example", ports=range(11780, 11790))
    assert not server.start()
    answers.set()
    assert asked == ["slow.example"]
    assert "no answer from a name server" in caplog.text


def test_no_ports_is_no_endpoint(caplog: pytest.LogCaptureFixture) -> None:
    """Which is nothing to warn of."""
    server = MetricsServer(CollectorRegistry(), ports=())
    assert not server.start()
    assert (server.port, caplog.text) == (None, "")


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_all_addresses_of_both_families_can_be_listened_on(serve: Serve) -> None:
    """``::`` serves IPv4 as well."""
    assert scrape(url(serve(host="::"))).value("dagcache_max_bytes") == MIB


def test_starting_twice_is_starting_once(serve: Serve) -> None:
    """On the same port."""
    server = serve()
    port = server.port
    assert server.start()
    assert server.port == port
    assert endpoint_threads() == 1


def test_after_close_the_port_can_be_bound_again_at_once(serve: Serve) -> None:
    """Although a connection was served on it a moment ago."""
    server = serve()
    port = server.port
    with connect(server) as client:
        client.sendall(GET)
        assert client.recv(1) == b"H"
        server.close()
        server.close()
        assert server.port is None
        assert serve(ports=(port,)).port == port


class Hanging(Failing):
    """Its metrics take until they are released."""

    def __init__(self) -> None:
        self.entered, self.released = threading.Event(), threading.Event()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Wait."""
        self.entered.set()
        self.released.wait(10 * PATIENCE)
        return iter(())


def test_close_does_not_wait_for_a_scrape_that_hangs(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection is dropped and its port is free."""
    monkeypatch.setattr(server_module, "_JOIN_SECONDS", 0.01)
    hanging, registry = Hanging(), CollectorRegistry()
    registry.register(hanging)
    server = serve(registry)
    port, loop = server.port, server._loop
    assert loop is not None
    with connect(server) as client:
        client.sendall(GET)
        assert hanging.entered.wait(PATIENCE)
        server.close()
        assert not hanging.released.is_set()
        assert not loop._ended.is_set()
        assert read_all(client) == b""
        assert serve(ports=(port,)).port == port
    hanging.released.set()
    assert loop._ended.wait(PATIENCE)


# ---- forks ----

FORK = """
import os, socket, sys
from prometheus_client import CollectorRegistry
from dagcache.metrics.scrape import scrape
from dagcache.metrics.server import MetricsServer

def talk(client, rest):
    client.sendall(rest)
    return client.recv(12)

server = MetricsServer(CollectorRegistry(), host="127.0.0.1", ports=(0,), timeout=60)
assert server.start()
port = server.port
half = socket.create_connection(("127.0.0.1", port), timeout=30)
half.sendall(b"GET /metrics HTTP/1.1")
whole = socket.create_connection(("127.0.0.1", port), timeout=30)
assert talk(whole, b"GET /metrics HTTP/1.1\\r\\n\\r\\n") == b"HTTP/1.1 200"  # so half has been accepted, too
(reading, writing), (ready, report) = os.pipe(), os.pipe()
child = os.fork()
if child == 0:
    os.close(writing)
    assert server.port is None
    assert server.start() and server.port != port
    scrape(f"http://127.0.0.1:{server.port}/metrics", timeout=30)
    os.write(report, b"!")
    os.read(reading, 1)  # alive until the parent is done
    os._exit(0)
os.close(report)
assert os.read(ready, 1) == b"!", "the child failed"
assert talk(half, b"\\r\\n\\r\\n") == b"HTTP/1.1 200"
server.close()
again = MetricsServer(CollectorRegistry(), host="127.0.0.1", ports=(port,))
assert again.start() and again.port == port
os.close(writing)
assert os.waitpid(child, 0)[1] == 0
print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_lets_go_of_the_port_and_of_nothing_else() -> None:
    """The parent's connection goes on; its port is free after it while the child lives; the child may listen itself."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK], capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "done\n", done.stderr


def test_what_a_child_does_first(serve: Serve) -> None:
    """Here, where coverage sees it."""
    server = serve()
    loop = server._loop
    assert loop is not None
    with its_thread_ends(server):
        server._after_fork_in_child()
    assert server.port is None
    assert loop._listener.fileno() == -1
    assert server.start()
    assert HTTPStatus.OK.phrase.encode() in talk(server, GET)
    with closing(connect(server)), its_thread_ends(server):
        server._after_fork_in_child()
    server._after_fork_in_child()
    assert server.port is None


@contextmanager
def its_thread_ends(server: MetricsServer) -> Iterator[None]:
    """A child has no copy of the thread; here it has to be woken once its descriptors are closed."""
    loop = server._loop
    assert loop is not None
    with (
        loop._wakeup_receiver.dup(),
        loop._wakeup_sender.dup() as sender,
    ):  # with its bell open in here, the selector still hears it
        yield
        sender.send(b"!")
        assert loop._ended.wait(PATIENCE)
