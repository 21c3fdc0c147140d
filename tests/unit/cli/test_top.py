"""`dagcache top`: the requests, the evaluation, and the layout."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from dagcache import DagCache
from dagcache.cli.main import main, parser
from dagcache.cli.shared.endpoint import Endpoint, announced, parse_endpoint
from dagcache.cli.shared.live_view import Line, View
from dagcache.cli.shared.plain_text import plain
from dagcache.cli.top import command as top
from dagcache.cli.top.dag_reports import DagReports
from dagcache.cli.top.history import Component, History
from dagcache.cli.top.layout import format_duration, layout, per_second, rows
from dagcache.cli.top.polling import Endpoints, PolledEndpoint, targets_directory
from dagcache.inspection.server import AttributionServer
from dagcache.metrics.collector import CacheCollector
from dagcache.metrics.delta import Delta
from dagcache.metrics.file_sd import Targets, bracketed
from dagcache.metrics.scrape import Scrape, parse, scrape
from dagcache.metrics.server import MetricsServer
from dagcache.metrics.snapshot import Durations, Snapshot, WarmFigures, snapshot
from dagcache.metrics.verdict import Verdict, format_seconds, verdict
from dagcache.redaction import shown_url
from tests.support.caches import KIB, fill, make_cache
from tests.support.patience import PATIENCE

MIB = 1 << 20
SECRET = "s3cr3t-pa55"

NOW = Snapshot(
    hits_live=600,
    hits_frozen=390,
    misses=10,
    live_bytes=30 * MIB,
    frozen_bytes=10 * MIB,
    overhead_bytes=MIB,
    max_bytes=80 * MIB,
    live_entries=40,
    frozen_entries=60,
    rss_bytes=400 * MIB,
    demotions=70,
    evictions=3,
    thaw_seconds=0.003,
    load_seconds=0.014,
    evicted={"size": 2, "expired": 1, "replaced": 0},
    next_victim_idle_seconds=30.0,
    limit_bytes=2048 * MIB,
    limit_source="cgroup2",
    pressure="calm",
    version="0.1.0",
    loads=Durations(((0.01, 4.0), (0.02, 8.0), (float("inf"), 10.0)), 0.14),
    thaws=Durations(((0.001, 200.0), (0.01, 390.0), (float("inf"), 390.0)), 1.17),
)
BEFORE = replace(
    NOW,
    hits_live=100,
    hits_frozen=200,
    demotions=20,
    thaws=replace(NOW.thaws, buckets=((0.001, 100.0), (0.01, 200.0), (float("inf"), 200.0)), seconds=0.6),
)


def delta(now: Snapshot = NOW, before: Snapshot | None = BEFORE, seconds: float = 10.0) -> Delta:
    """Ten seconds of a component."""
    return Delta(now, before, seconds)


def exposed(cache: DagCache[Any, Any]) -> CollectorRegistry:
    """A registry with the metrics of a cache."""
    registry = CollectorRegistry()
    registry.register(CacheCollector([cache]))
    return registry


@pytest.fixture
def cache() -> DagCache[Any, Any]:
    """With some lookups."""
    cache, clock = make_cache(max_bytes=MIB, name="scheduler", version_of=lambda key: (f"dag_{key % 3}", key))
    for _ in range(2):
        fill(cache, range(25))
        clock.advance(5)
    return cache


@pytest.fixture
def server(cache: DagCache[Any, Any]) -> Iterator[MetricsServer]:
    """It, on a port."""
    server = MetricsServer(exposed(cache), host="127.0.0.1", ports=(0,))
    assert server.start()
    yield server
    server.close()


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place of its own for sockets and announcements, with a short name."""
    folder = Path(tempfile.mkdtemp(prefix="top", dir="/tmp"))
    monkeypatch.setattr(tempfile, "gettempdir", lambda: os.fspath(folder))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("AIRFLOW_HOME", os.fspath(folder / "airflow"))
    monkeypatch.delenv("AIRFLOW__DAGCACHE__METRICS_TARGETS", raising=False)
    yield folder
    shutil.rmtree(folder)


def url_of(server: MetricsServer) -> str:
    """Where it serves."""
    return f"http://127.0.0.1:{server.port}/metrics"


def nobody() -> str:
    """A URL without a listener."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


# ---- URLs ----


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("http://host:9095", "http://host:9095/metrics"),
        ("host:9095/", "http://host:9095/metrics"),
        ("https://host/other?x=1", "https://host/other?x=1"),
        ("http://[::1]:9095", "http://[::1]:9095/metrics"),
    ],
)
def test_a_url_may_leave_the_usual_out(given: str, expected: str) -> None:
    """As one types them."""
    assert parse_endpoint(given) == Endpoint(expected)


BAD_URLS = [
    f"ftp://user:{SECRET}@host/",
    f"http://user:{SECRET}",
    f"http://user:{SECRET}@host:port/",
    f"http://user:{SECRET}@host:99999/",
    f"http://user:{SECRET}@[host/",
    f"http://user:{SECRET}@/metrics",
    f"http://user:{SECRET}@host/a b",
    f"http://user:{SECRET}\u2100@host/",
    "",
]


@pytest.mark.parametrize("url", BAD_URLS)
def test_a_url_that_is_none_is_bad_input_and_is_not_shown(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """There may be a password in it, wherever."""
    assert main(["top", "--once", "--url", url]) == 2
    told = "".join(capsys.readouterr())
    assert "not an http:// or https:// URL" in told
    assert SECRET not in told


@pytest.mark.parametrize("url", BAD_URLS)
def test_not_even_the_traceback_shows_it(url: str) -> None:
    """With --debug, the whole chain of errors is printed."""
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_ARGUMENTS, "--debug", "top", "--once", "--url", url],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode != 0
    assert "InputError" in done.stderr
    assert SECRET not in done.stdout + done.stderr


_WITHOUT_ARGUMENTS = "import sys; from dagcache.cli.main import main; sys.exit(main(sys.argv[1:]))"


def test_what_may_be_secret_is_left_out_of_a_shown_url() -> None:
    """User, password, query, fragment."""
    assert shown_url(f"https://user:{SECRET}@host:1/metrics?token={SECRET}#{SECRET}") == "https://host:1/metrics?..."


class Proxy:
    """A server that wants a password, and answers with one text."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self.requests: list[bytes] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                self.requests.append(connection.recv(65536))
                connection.sendall(self._answer)


@pytest.fixture
def proxy() -> Iterator[Callable[[bytes], Proxy]]:
    """Makes such servers."""
    made: list[Proxy] = []

    def make(answer: bytes) -> Proxy:
        made.append(Proxy(answer))
        return made[-1]

    yield make
    for each in made:
        each.listener.shutdown(socket.SHUT_RDWR)  # closing alone would not wake its thread
        each.listener.close()


def ok(body: bytes) -> bytes:
    """A whole response."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body)


def test_credentials_in_a_url_are_sent_and_never_shown(
    proxy: Callable[[bytes], Proxy], cache: DagCache[Any, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """As Basic authentication, percent-decoded."""
    asked = proxy(ok(generate_latest(exposed(cache))))
    url = f"http://us%65r:{SECRET}@127.0.0.1:{asked.port}/metrics?token={SECRET}"
    for arguments in (["--once"], ["--json"]):
        assert main(["top", *arguments, "--interval", "0.1", "--url", url]) == 0
    told = "".join(capsys.readouterr())
    assert f"http://127.0.0.1:{asked.port}/metrics?..." in told
    assert SECRET not in told
    header = b"Authorization: Basic " + base64.b64encode(f"user:{SECRET}".encode())
    assert header in asked.requests[0]
    assert b"GET /metrics?token=" in asked.requests[0]


@pytest.mark.parametrize("answer", [b"HTTP/1.1 401 No\r\n\r\n", b"SSH-2.0\r\n", ok(b"<html>"), ok(b"up 1\n"), b""])
def test_a_wrong_answer_shows_no_credentials_either(
    proxy: Callable[[bytes], Proxy], answer: bytes, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """One line, with the reason. The exit code is 1, because no endpoint ever answered."""
    asked = proxy(answer)
    url = f"http://user:{SECRET}@127.0.0.1:{asked.port}/?password={SECRET}"
    assert main(["top", "--json", "--interval", "0.1", "--url", url]) == 1
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert f"no endpoint answered: http://127.0.0.1:{asked.port}/metrics?...: " in told.err
    assert SECRET not in told.err + caplog.text


def test_a_password_without_a_user_is_sent_as_well(proxy: Callable[[bytes], Proxy]) -> None:
    """And a user without a password."""
    asked = proxy(ok(b""))
    scrape(f"http://:{SECRET}@127.0.0.1:{asked.port}/metrics")
    scrape(f"http://user@127.0.0.1:{asked.port}/metrics")
    sent = [request.split(b"Basic ")[1].split(b"\r\n")[0] for request in asked.requests]
    assert [base64.b64decode(each).decode() for each in sent] == [f":{SECRET}", "user:"]


# ---- discovery ----


def test_processes_of_this_machine_are_found_by_their_announcements(tmp_path: Path) -> None:
    targets = Targets(tmp_path)
    targets.add("scheduler", "127.0.0.1", 11780)
    (tmp_path / "scheduler-elsewhere-12.json").write_text('[{"targets": ["elsewhere:1"]}]')
    machine = next(tmp_path.glob(f"*-{os.getpid()}.json")).name
    for number, text in enumerate(["{", "[1]", '[{"targets": ["x:y"]}]', '{"a": 1}']):
        (tmp_path / machine.replace(str(os.getpid()), f"9999{number}")).write_text(text)
    assert announced(tmp_path, here=True) == [Endpoint("http://127.0.0.1:11780/metrics", "scheduler")]
    targets.remove()
    assert announced(tmp_path / "missing", here=True) == []


def test_the_announcements_are_sought_where_airflow_puts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the same settings."""
    monkeypatch.delenv("AIRFLOW__DAGCACHE__METRICS_TARGETS", raising=False)
    monkeypatch.setenv("AIRFLOW_HOME", "/opt/airflow")
    assert targets_directory() == Path("/opt/airflow/dagcache/targets")
    monkeypatch.delenv("AIRFLOW_HOME")
    assert targets_directory() == Path.home() / "airflow" / "dagcache" / "targets"
    monkeypatch.setenv("AIRFLOW__DAGCACHE__METRICS_TARGETS", "/run/targets")
    assert targets_directory() == Path("/run/targets")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[dagcache]\nmetrics_targets = /srv/targets\n", "/srv/targets"),
        ("[core]\na = %(b)s\na = 2\n[dagcache]\nmetrics_targets = /srv/targets  # shared\n", "/srv/targets"),
        ("[dagcache]\nmetrics_targets =\n", None),
        ("[core]\n", None),
        ("no configuration", None),
    ],
)
def test_the_directory_may_be_set_in_airflows_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, found: str | None
) -> None:
    """Read as far as it can be; a variable, even an empty one, wins, as in Airflow."""
    monkeypatch.delenv("AIRFLOW__DAGCACHE__METRICS_TARGETS", raising=False)
    monkeypatch.delenv("AIRFLOW_CONFIG", raising=False)
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    usual = tmp_path / "dagcache" / "targets"
    (tmp_path / "airflow.cfg").write_text(text)
    assert targets_directory() == (Path(found) if found else usual)
    monkeypatch.setenv("AIRFLOW__DAGCACHE__METRICS_TARGETS", "")
    assert targets_directory() == usual
    monkeypatch.delenv("AIRFLOW__DAGCACHE__METRICS_TARGETS")
    monkeypatch.setenv("AIRFLOW_CONFIG", str(tmp_path / "another.cfg"))
    assert targets_directory() == usual


def test_without_anybody_it_says_where_it_looked(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--once"]) == 2
    told = capsys.readouterr().err
    assert f"{here}/airflow/dagcache/targets; name an endpoint with --url" in told


def test_one_that_never_finishes_its_answer_does_not_hold_the_others_up(
    server: MetricsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked in a thread of its own, and counts as silent meanwhile."""
    monkeypatch.setattr("dagcache.cli.top.polling._PATIENCE_SECONDS", 0.3)
    release = threading.Event()

    def slow(url: str) -> Scrape:
        if url.endswith("slow"):
            release.wait(PATIENCE)
        return scrape(url)

    monkeypatch.setattr("dagcache.cli.top.polling.scrape", slow)
    endpoints = Endpoints(lambda: [Endpoint(f"{url_of(server)}?slow"), Endpoint(url_of(server))])
    for _ in range(2):
        silent, good = endpoints.ask()
        assert (silent.snapshots, silent.fault) == (None, "no answer in time")
        assert good.snapshots is not None
    release.set()


# ---- snapshots ----


def test_the_figures_of_a_cache_are_read_back_completely(cache: DagCache[Any, Any]) -> None:
    """Through the text that Prometheus gets."""
    shown, stats = snapshot(parse(generate_latest(exposed(cache)).decode()), "scheduler"), cache.stats()
    assert shown.lookups == stats.lookups
    assert shown.evicted == {cause.value: count for cause, count in stats.evictions.items()}
    assert shown.rejected == {reason.value: count for reason, count in stats.rejections.items()}
    assert shown.loads.count == stats.load_seconds.count == 25
    assert shown.loads.seconds == pytest.approx(stats.load_seconds.total)
    assert shown.next_victim_idle_seconds == pytest.approx(stats.next_victim_idle_seconds)
    assert (shown.limit_source in ("machine", "cgroup1", "cgroup2"), shown.limit_bytes > MIB) == (True, True)
    assert (shown.pressure, bool(shown.version)) == ("off", True)


def test_quantiles_are_those_of_prometheus() -> None:
    """Linear within a bucket; above the last bound it is that bound; 0 of nothing."""
    shown = Durations(((0.1, 10.0), (0.2, 10.0), (0.4, 20.0), (float("inf"), 40.0)), 1.0)
    assert shown.quantile(0.125) == pytest.approx(0.05)
    assert shown.quantile(0.25) == pytest.approx(0.1)
    assert shown.quantile(0.375) == pytest.approx(0.3)
    assert shown.quantile(0.99) == pytest.approx(0.4)
    assert Durations().quantile(0.5) == Durations().mean == 0.0


def test_rates_are_of_what_lies_between_two_scrapes() -> None:
    """Not since the start."""
    assert delta().rate(lambda each: each.lookups) == pytest.approx(69.0)
    assert delta().thaws.count == 190
    assert delta().thaws.quantile(1.0) == pytest.approx(0.01)
    assert delta().loads.count == 10  # nothing lately: all there were


def test_without_an_earlier_scrape_there_are_counts_and_no_rates() -> None:
    """Likewise if the process was restarted between the two."""
    for unknown in (delta(before=None), delta(BEFORE, NOW), delta(seconds=0.0)):
        assert unknown.rate(lambda each: each.lookups) is None
        assert unknown.grown(lambda each: each.lookups) == unknown.now.lookups
        assert unknown.thaws is unknown.now.thaws


# ---- verdicts ----

LOSING = replace(NOW, misses=300, evicted={"size": 200})

FORGED = WarmFigures(rejected={"forged": 2})
VERDICTS = {
    "working": (delta(), "good", "working: 100.0% of lookups need no load; thaws take 5.7% of a core"),
    "since the start": (
        delta(before=None),
        "warning",
        "the budget is too small: 10 loads, next victim idle only 30 s",
    ),
    "too small": (
        delta(LOSING),
        "warning",
        "the budget is too small: 29.0 loads/s, next victim idle only 30 s -> raise max_bytes",
    ),
    "too small under pressure": (delta(replace(LOSING, pressure="shrunk")), "warning", "-> raise the memory limit"),
    "old ones leave": (
        delta(replace(LOSING, next_victim_idle_seconds=7000.0)),
        "good",
        "working: 70.4% of lookups need no load",
    ),
    "hardly any misses": (delta(replace(NOW, misses=14, evicted={"size": 4})), "good", "working: 99.4% of lookups"),
    "never hits": (
        delta(replace(BEFORE, misses=400, rejected={"policy": 9})),
        "bad",
        "no hits: 39.0 loads/s, because 80.0 MiB hold too few versions -> raise max_bytes",
    ),
    "warming up": (
        delta(replace(BEFORE, misses=400)),
        "info",
        "warming up: 39.0 loads/s, without evictions",
    ),
    "nothing yet": (
        delta(replace(NOW, hits_live=0, hits_frozen=0, misses=0), None),
        "info",
        "no lookups yet",
    ),
    "idle": (delta(NOW, NOW), "info", "idle: no lookups in the last 10 s"),
    "loads fail": (delta(replace(NOW, load_failures=4)), "bad", "loads fail, 4 recently -> check the database"),
    "off by a fault": (
        delta(replace(NOW, off_because="airflow", pressure="floor")),
        "bad",
        "off because of a fault (airflow): Airflow's own cache serves",
    ),
    "in quarantine": (
        delta(replace(NOW, quarantined=2)),
        "bad",
        "versions in quarantine, 2 now: Airflow fails their tasks -> airflow dags reserialize",
    ),
    "lookups in an ended quarantine": (
        delta(replace(NOW, quarantine_misses=2)),
        "bad",
        "versions in quarantine, 0 now",
    ),
    "an old quarantine": (
        delta(replace(NOW, quarantine_misses=2), replace(BEFORE, quarantine_misses=2)),
        "good",
        "working",
    ),
    "internal errors": (
        delta(replace(NOW, internal_errors=1, listener_failures=2)),
        "warning",
        "faults of dagcache or of a listener, 3 recently -> report the log's traceback",
    ),
    "forged records": (
        delta(replace(NOW, warm=WarmFigures(rejected={"stale": 9, "forged": 2, "refused": 1}))),
        "warning",
        "records of the warm store are damaged or forged, 3 recently -> see the log",
    ),
    "old forged records": (
        delta(replace(NOW, warm=FORGED), replace(BEFORE, warm=FORGED)),
        "good",
        "working",
    ),
    "a warm store that is passed over": (
        delta(replace(NOW, warm=WarmFigures(is_passed_over=True))),
        "warning",
        "the warm store is passed over after an error or a slow call -> see the log, or doctor",
    ),
    "old faults": (delta(replace(NOW, internal_errors=4), replace(BEFORE, internal_errors=4)), "good", "working"),
    "old failures": (
        delta(replace(NOW, load_failures=4), replace(BEFORE, load_failures=4)),
        "good",
        "working",
    ),
    "shrinking": (
        delta(replace(NOW, pressure="shrinking")),
        "warning",
        "under memory pressure: RSS 400.0 MiB of 2.0 GiB; the cache shrinks, now at 80.0 MiB",
    ),
    "floor": (
        delta(replace(NOW, pressure="floor", rss_bytes=1900 * MIB)),
        "bad",
        "under memory pressure, and the cache is at its minimum: cache 41.0 MiB of RSS 1.9 GiB: most of the memory",
    ),
    "floor, and large": (
        delta(replace(NOW, pressure="floor", rss_bytes=50 * MIB)),
        "bad",
        "at its minimum: cache 41.0 MiB of RSS 50.0 MiB",
    ),
    "memory of another process": (
        delta(replace(NOW, rss_bytes=1900 * MIB)),
        "warning",
        "memory is short: cache 41.0 MiB of RSS 1.9 GiB: most of the memory is not the cache",
    ),
    "shrunk": (delta(replace(NOW, pressure="shrunk")), "info", "the budget stays at 80.0 MiB, below max_bytes"),
    "all live": (delta(replace(NOW, frozen_entries=0)), "good", "all live: the working set fits, 41.0 MiB of 80.0 MiB"),
    "all live, no limit": (
        delta(replace(NOW, frozen_entries=0, max_bytes=0, limit_bytes=0)),
        "good",
        "all live: the working set fits, 41.0 MiB",
    ),
    "thawing": (
        delta(replace(NOW, thaws=replace(NOW.thaws, seconds=5.6))),
        "warning",
        "thaws take 50% of a core: about 85.0 MiB would keep all live -> raise max_bytes",
    ),
}


@pytest.mark.parametrize("case", VERDICTS)
def test_the_verdict_says_how_it_is_and_what_to_do(case: str) -> None:
    """In one line, the worst first."""
    seen, level, text = VERDICTS[case]
    judged = verdict(seen)
    assert judged.level == level
    assert text in judged.text


# ---- pictures ----


def seen(component: str = "scheduler", **changes: Any) -> Component:
    """A component as it is shown."""
    shown = delta(replace(NOW, **changes))
    return Component(component, "http://127.0.0.1:11780/metrics", True, shown, verdict(shown))


COSTS = {"loads": 61, "load_seconds": 7.3219, "thaws": 12345, "thaw_seconds": 1.5, "newer_versions": 59}
DAGS: dict[str, Any] = {
    "component": "scheduler",
    "pid": 4711,
    "versions": 100,
    "bytes": 40 * MIB,
    "by": "bytes",
    "dags": [
        {
            "dag_id": "etl_" + "x" * 80,
            "versions": 60,
            "live": 7,
            "bytes": 30 * MIB,
            "hits": 9,
            "idle_seconds": 0.4,
            **COSTS,
        },
        {"dag_id": None, "versions": 1, "live": 0, "bytes": 10 * MIB, "hits": 0, "idle_seconds": None, **COSTS},
    ],
}


def test_every_figure_is_in_the_rows() -> None:
    """In units for people, none wider than a terminal of 80 columns leaves it."""
    text = dict(rows(delta()))
    assert text == {
        "lookups": "69.0/s: 72.5% live, 27.5% frozen, 0.0% missed",
        "versions": "40 live, 60 frozen only; next victim idle 30 s",
        "bytes": "###########++++............... 41.0 MiB of 80.0 MiB",
        "by tier": "30.0 MiB live + 10.0 MiB frozen + 1.0 MiB overhead",
        "left": "5.0/s demoted to frozen; evicted in total: 2 size, 1 expired",
        "loads": "0/s, p50 12.5 ms, p99 20.0 ms; 0 failed, 0 shared",
        "thaws": "19.0/s, p50 0.95 ms, p99 9.8 ms",
        "memory": "400.0 MiB resident of 2.0 GiB (cgroup2), 10% cache; pressure: calm",
        "faults": "none",
    }
    assert max(map(len, text.values())) <= 70


def test_each_kind_of_fault_is_counted_in_a_row() -> None:
    """Anything but 0 is a bug to report, or a DAG that runs worse."""
    faults = {
        "internal_errors": "2 internal",
        "listener_failures": "3 of a listener",
        "thaw_failures": "4 thaws failed",
        "unfrozen": "5 without a frozen form",
        "quarantined": "6 in quarantine",
        "quarantine_misses": "7 lookups in quarantine",
    }
    numbers: dict[str, Any] = {name: int(text.split()[0]) for name, text in faults.items()}
    assert dict(rows(Delta(replace(NOW, **numbers))))["faults"] == ", ".join(faults.values())


def test_a_cache_that_only_observes_does_not_look_like_one_that_evicts() -> None:
    full, short = (layout([seen(mode="observe")] * many, [], [], columns=80, lines=24)[0].text for many in (1, 5))
    assert full.endswith("  dagcache 0.1.0  observe")
    assert short.startswith("scheduler  observe  127")
    assert "observe" not in layout([seen(mode="enforce")], [], [], columns=80, lines=24)[0].text


def test_a_cache_that_is_off_by_a_fault_has_a_verdict_and_no_figures() -> None:
    (title, *rest) = layout([seen(mode="off", off_because="setting")], [], [], columns=120, lines=24)
    assert title.text.endswith("  off")
    assert [(line.kind, line.text) for line in rest] == [
        (
            "bad",
            "verdict   off because of a fault (setting): Airflow's own cache serves -> see the log, or doctor",
        )
    ]


def test_bytes_that_wait_are_shown_if_there_are_any() -> None:
    """They are part of those that the budget is compared with."""
    figures = replace(delta().now, waiting_bytes=4 * MIB)
    text = dict(rows(replace(delta(), now=figures)))
    assert text["by tier"] == "30.0 MiB live + 10.0 MiB frozen + 1.0 MiB overhead + 4.0 MiB waiting"
    assert "45.0 MiB of 80.0 MiB" in text["bytes"]


def test_a_warm_store_is_shown_if_there_is_one() -> None:
    """With its faults."""
    assert "warm" not in dict(rows(delta()))
    warm = WarmFigures(hits=412, misses=3, stored=4, records=415)
    shown = seen(warm=warm)
    assert dict(rows(shown.delta))["warm"] == "412 hits, 3 misses, 4 stored, 415 records"
    faulty = replace(warm, rejected={"stale": 2, "forged": 1}, errors=5, is_passed_over=True)
    text = "412 hits, 3 misses, 4 stored, 415 records, 3 rejected, 5 errors; passed over"
    assert dict(rows(seen(warm=faulty).delta))["warm"] == text


def test_without_rates_the_rows_show_counts() -> None:
    """Since the process began."""
    text = dict(rows(delta(before=None)))
    assert text["lookups"] == "1000 in total: 60.0% live, 39.0% frozen, 1.0% missed"
    assert text["left"].startswith("70 demoted; ")
    assert text["loads"].startswith("10 in total, ")
    idle = dict(rows(delta(NOW, NOW)))
    assert idle["lookups"].startswith("none recently; 1000 in total: ")


def test_an_empty_cache_has_rows_too() -> None:
    """As right after its start."""
    empty = Snapshot(*(0,) * 14)
    text = dict(rows(Delta(empty)))
    assert text["lookups"] == text["thaws"] == "none so far"
    assert text["versions"] == "0 live, 0 frozen only; no versions"
    assert text["memory"] == "0 B resident, 0% cache; pressure: off"
    assert text["bytes"].endswith("0 B of unbounded")


def test_one_component_and_its_dags_fit_a_small_terminal() -> None:
    """80 by 24, with nothing cut."""
    drawn = layout([seen()], [DAGS], [], columns=80, lines=24)
    assert len(drawn) <= 24
    assert max(len(line.text) for line in drawn) <= 80
    texts = [line.text for line in drawn]
    assert texts[0] == "scheduler  http://127.0.0.1:11780/metrics  dagcache 0.1.0"
    assert texts[1] == "verdict   working: 100.0% of lookups need no load; thaws take 5.7% of a core"
    assert drawn[1].kind == "good"
    assert texts[-3].split() == ["dag", "versions", "live", "bytes", "loads", "load", "s", "thaws", "thaw", "s"]
    assert texts[-2].split()[1:] == ["60", "7", "30.0", "MiB", "61", "7.32", "12345", "1.50"]
    assert texts[-1].split() == ["(unknown)", "1", "0", "10.0", "MiB", "61", "7.32", "12345", "1.50"]


def test_a_wide_terminal_also_has_the_share_and_the_idle_time_of_dags() -> None:
    """A DAG that is not in the cache has no idle time."""
    texts = [line.text for line in layout([seen()], [DAGS], [], columns=120, lines=24)]
    assert max(map(len, texts)) <= 120
    assert texts[-2].split()[3:8] == ["30.0", "MiB", "75.0%", "0.4", "s"]
    assert texts[-1].split()[3:7] == ["10.0", "MiB", "25.0%", "-"]


def report(count: int, **changes: Any) -> dict[str, Any]:
    """A usage report with so many DAGs."""
    dags = [{**DAGS["dags"][1], "dag_id": f"dag_{number}"} for number in range(count)]
    return {**DAGS, "dags": dags, **changes}


def listed(drawn: list[Line], name: str = "dag_") -> int:
    """The number of DAGs in a picture."""
    return sum(line.text.startswith(name) for line in drawn)


@pytest.mark.parametrize(("lines", "dags"), [(24, 10), (50, 36)])
def test_dags_take_the_lines_that_are_left(lines: int, dags: int) -> None:
    drawn = layout([seen()], [report(1000)], [], columns=80, lines=lines)
    assert (len(drawn), listed(drawn)) == (lines, dags)
    assert drawn[11 + 1].text == f"scheduler, process 4711: 100 versions, 40.0 MiB; {dags} DAGs by bytes"


def test_two_lists_of_dags_share_the_lines() -> None:
    """A short list leaves its part to the other one."""
    drawn = layout([seen()], [report(1000), report(4)], ["a note"], columns=200, lines=50)
    assert (len(drawn), listed(drawn)) == (50, 31)
    assert drawn[-1].text == "a note"
    assert [line.text for line in drawn if "DAGs by" in line.text][1].endswith("; 4 DAGs by bytes")


def test_more_lists_than_lines_still_have_a_dag_each_as_far_as_they_fit() -> None:
    drawn = layout([seen()], [report(9, pid=number) for number in range(9)], [], columns=80, lines=24)
    assert (len(drawn), drawn[0].text) == (
        24,
        "scheduler  127.0.0.1:11780  69.0/s: 72.5% live, 27.5% frozen, 0.0% missed",
    )
    assert "more lines" in drawn[-1].text


@pytest.mark.parametrize(("columns", "by"), [(80, "newer_versions"), (120, "bytes")])
def test_the_column_that_sorts_is_shown(columns: int, by: str) -> None:
    """At 80 columns the one of newer versions has room only if it is asked for."""
    drawn = layout([], [report(1, by=by)], [], columns=columns, lines=24)
    assert drawn[0].text.endswith(f"; 1 DAGs by {by}")
    assert (drawn[1].text.split()[-1], drawn[2].text.split()[-1]) == ("newer", "59")
    assert "newer" not in layout([], [report(1)], [], columns=80, lines=24)[1].text


def test_the_worst_component_comes_first() -> None:
    """Where lines are few, the others are cut."""
    levels: dict[str, dict[str, Any]] = {
        "a": {},
        "b": {"pressure": "shrinking"},
        "c": {"quarantined": 1},
        "d": {"pressure": "shrunk"},
    }
    drawn = layout([seen(name, **changes) for name, changes in levels.items()], [], [], columns=80, lines=24)
    assert [line.text[0] for line in drawn if line.kind == "title"] == ["c", "b", "d", "a"]


@pytest.mark.parametrize("case", [case for case, (_, _, text) in VERDICTS.items() if " -> " in text])
@pytest.mark.parametrize("columns", [60, 80])
def test_the_remedy_is_not_cut(case: str, columns: int) -> None:
    """In one line per component the state is cut instead."""
    delta_ = VERDICTS[case][0]
    judged = verdict(delta_)
    many = [Component("x", "http://127.0.0.1:11780/metrics", True, delta_, judged)] * 8
    line = layout(many, [], [], columns=columns, lines=24)[1].text
    assert judged.text.partition(" -> ")[2] in line
    assert len(line) <= columns


def test_a_long_note_is_wrapped() -> None:
    """It is the reason for a fault."""
    drawn = layout([], [], ["http://127.0.0.1:11780/metrics: " + "a reason " * 20], columns=80, lines=24)
    assert len(drawn) == 3
    assert {line.kind for line in drawn} == {"dim"}


def test_a_long_verdict_is_wrapped() -> None:
    drawn = layout([seen(pressure="floor", rss_bytes=1900 * MIB)], [], [], columns=80, lines=24)
    assert [line.kind for line in drawn[:4]] == ["title", "bad", "bad", ""]
    assert drawn[2].text.startswith("          ")


def test_many_components_get_two_lines_each() -> None:
    """Rather than a part of them everything."""
    drawn = layout([seen(f"worker_{number}") for number in range(5)], [], ["a note"], columns=80, lines=24)
    assert len(drawn) == 5 * 3 + 1
    assert drawn[0].text == "worker_0  127.0.0.1:11780  69.0/s: 72.5% live, 27.5% frozen, 0.0% missed"
    assert drawn[1].text.startswith("working: 100.0% of lookups")
    assert drawn[-1] == Line("a note", "dim")


def test_what_does_not_fit_is_cut_off_and_that_is_told() -> None:
    """Without a terminal nothing is."""
    many = [seen(f"worker_{number}") for number in range(20)]
    drawn = layout(many, [], [], columns=60, lines=24)
    assert (len(drawn), drawn[-1].text) == (24, "... 36 more lines: enlarge the terminal, or use --once")
    assert len(layout(many, [], [], columns=120, lines=None)) == 20 * (2 + 9) + 19


def test_text_from_elsewhere_cannot_command_the_terminal() -> None:
    """A component's or a DAG's name may hold anything."""
    assert plain("a\x1b[2J\n\u202eb") == "a?[2J??b"
    shown = layout([seen("x\x1b]0;y\x07")], [{**DAGS, "component": "\x1b"}], [], columns=80, lines=None)
    assert not any("\x1b" in line.text for line in shown)


def test_units_suit_people() -> None:
    """At every size."""
    assert [per_second(rate) for rate in (0.0, 0.01, 3.21, 812.4)] == ["0/s", "<0.1/s", "3.2/s", "812/s"]
    assert [format_duration(each) for each in (0.00043, 0.0125, 1.2)] == ["0.43 ms", "12.5 ms", "1.20 s"]
    assert [format_seconds(each) for each in (0.42, 12.0, 300.0, 10800.0)] == ["0.4 s", "12 s", "5 min", "3 h"]


# ---- the command ----


def test_one_picture_of_a_real_endpoint(server: MetricsServer, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--once, by URL."""
    assert main(["top", "--once", "--interval", "0.1", "--url", url_of(server)]) == 0
    first, second, *rest = capsys.readouterr().out.splitlines()
    assert datetime.fromisoformat(first).tzinfo is not None
    assert second.startswith(f"scheduler  {url_of(server)}  dagcache")
    assert rest[0].startswith("verdict   ")


def test_the_processes_of_this_machine_are_shown_without_a_url(
    server: MetricsServer, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As they have announced themselves."""
    targets = Targets(here / "chosen")
    targets.add("scheduler", "127.0.0.1", server.port or 0)
    assert main(["top", "--json", "--interval", "0.1", "--targets", str(here / "chosen")]) == 0
    (component,) = json.loads(capsys.readouterr().out)["components"]
    assert (component["component"], component["up"]) == ("scheduler", True)
    assert component["figures"]["misses"] == 25


def test_one_that_answers_without_a_cache_is_named(
    server: MetricsServer, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """So is one that does not answer. One endpoint answered, so the command succeeds."""
    other = MetricsServer(CollectorRegistry(), host="127.0.0.1", ports=(0,))
    assert other.start()
    urls = [url_of(server), url_of(other), nobody()]
    assert main(["top", "--json", "--interval", "0.1", *(word for url in urls for word in ("--url", url))]) == 0
    silent = json.loads(capsys.readouterr().out)["silent"]
    assert silent[0] == {"url": url_of(other), "why": "the endpoint has no metrics of dagcache"}
    assert "refused" in silent[1]["why"]
    other.close()


def test_nobody_there_is_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    """With the reason, and nothing on stdout."""
    for arguments in (["--once"], ["--json"]):
        assert main(["top", *arguments, "--interval", "0.1", "--url", nobody()]) == 1
        told = capsys.readouterr()
        assert told.out == ""
        assert "Connection refused" in told.err


@pytest.mark.parametrize("arguments", [["--interval", "0"], ["--interval", "x"], ["--dags", "0"], ["--dags", "5000"]])
def test_a_bad_option_is_refused(arguments: list[str]) -> None:
    """Before anything is asked."""
    with pytest.raises(SystemExit) as refused:
        main(["top", *arguments])
    assert refused.value.code == 2


def test_the_dags_that_fill_the_caches_are_shown(
    server: MetricsServer, cache: DagCache[Any, Any], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the processes of this machine; a socket without a listener is skipped."""
    telling = AttributionServer(cache)
    assert telling.start()
    assert telling.path is not None
    (telling.path.parent / "odd-1.sock").touch()
    targets = Targets(targets_directory())
    targets.add("scheduler", "127.0.0.1", server.port or 0)
    assert main(["top", "--once", "--interval", "0.1", "--url", url_of(server), "--dags", "2"]) == 0
    told = capsys.readouterr().out
    assert f"scheduler, process {os.getpid()}: 25 versions" in told
    assert sum(line.startswith("dag_") for line in told.splitlines()) == 2
    assert main(["top", "--json", "--interval", "0.1", "--dags"]) == 0  # without any endpoint
    (answer,) = json.loads(capsys.readouterr().out)["dags"]
    assert {dag["dag_id"] for dag in answer["dags"]} == {"dag_0", "dag_1", "dag_2"}
    assert main(["top", "--json", "--interval", "0.1", "--dags", "--sort", "versions"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)["dags"]
    assert answer["by"] == "versions"
    targets.remove()
    telling.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::]", socket.gethostname()])
def test_a_url_chooses_the_processes_whose_dags_are_shown(host: str, here: Path) -> None:
    """By the announcements; another port is another process, and another machine is none of this one."""
    targets = Targets(targets_directory())
    targets.add("scheduler", "0.0.0.0", 11780)

    def chosen_by(*arguments: str) -> set[int] | None:
        return top._chosen_processes(parser().parse_args(["top", "--dags", *arguments]))[0]()

    assert chosen_by("--url", f"{bracketed(host)}:11780") == {os.getpid()}
    assert chosen_by("--url", f"{bracketed(host)}:11781") == set()
    assert chosen_by("--url", "elsewhere:11780") == set()
    assert chosen_by("--targets", str(targets_directory())) == {os.getpid()}
    assert chosen_by("--targets", str(here)) == set()
    assert chosen_by() is None
    targets.remove()


def test_dags_that_nobody_tells_are_a_note(
    server: MetricsServer, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Attribution may be off."""
    assert main(["top", "--once", "--interval", "0.1", "--url", url_of(server), "--dags"]) == 0
    assert "no process at the given URLs that is announced on this machine reports the DAGs" in capsys.readouterr().out


def interrupting_after(looks: int) -> Callable[[float], None]:
    """A sleep that is Ctrl-C after so many looks."""
    left = iter(range(looks - 1))

    def sleep(_seconds: float) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt

    return sleep


@pytest.mark.parametrize(("options", "wanted"), [([], 50), (["7"], 7)])
def test_a_high_screen_asks_for_as_many_dags_as_it_has_lines(
    options: list[str], wanted: int, server: MetricsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A number is the most that are shown."""
    asked: list[int] = []

    def ask(count: int, *_: object) -> DagReports:
        asked.append(count)
        return DagReports([report(1)], {})

    class High(Pictures):
        lines = 50

    monkeypatch.setattr("dagcache.cli.top.dag_reports.ask", ask)
    view = top.Top(parser().parse_args(["top", "--url", url_of(server), "--dags", *options]), interrupting_after(1))
    with pytest.raises(KeyboardInterrupt):
        view.run(High())
    assert asked == [wanted]


def test_a_socket_that_does_not_report_is_a_fault_line(
    server: MetricsServer, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reports of the others are shown."""
    folder = here / f"dagcache-{os.geteuid()}"
    folder.mkdir(mode=0o700)
    (folder / "scheduler-7.sock").touch()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as ended:
        ended.bind(os.fspath(folder / "scheduler-8.sock"))
    targets = Targets(targets_directory())
    targets.add("scheduler", "127.0.0.1", server.port or 0)
    assert main(["top", "--json", "--interval", "0.1", "--dags"]) == 0
    targets.remove()
    told = json.loads(capsys.readouterr().out)
    assert told["dags"] == []
    assert told["dags_silent"] == [{"process": "scheduler-7", "why": "scheduler-7.sock is not a socket"}]


class Pictures(View):
    """Keeps what it is to draw."""

    is_in_place = True

    def __init__(self) -> None:
        super().__init__()
        self.drawn: list[list[Line]] = []

    def draw(self, picture: Any) -> None:
        """Keep it."""
        self.drawn.append(list(picture))


def test_a_component_that_goes_away_is_shown_as_gone_and_the_view_goes_on(server: MetricsServer) -> None:
    """With its last figures, and the reason."""
    looks = iter(range(4))

    def sleep(_seconds: float) -> None:
        look = next(looks)
        if look == 1:
            server.close()
        if look == 3:
            raise KeyboardInterrupt

    options = parser().parse_args(["top", "--url", url_of(server)])
    shown = Pictures()
    with pytest.raises(KeyboardInterrupt):
        top.Top(options, sleep).run(shown)
    assert len(shown.drawn) == 4
    for drawn in shown.drawn[:2]:
        assert len(drawn) > 8
    for drawn in shown.drawn[2:]:
        assert (drawn[1].kind, len(drawn) <= 3) == ("bad", True)
        assert "gone, last seen" in drawn[1].text
        assert "Connection refused" in " ".join(line.text for line in drawn)


def test_ctrl_c_ends_the_view_and_decides_nothing(server: MetricsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(top.Top.__init__, "__defaults__", (interrupt,))
    assert main(["top", "--url", url_of(server)]) == 0
    assert main(["top", "--url", nobody()]) == 1


def test_a_component_that_vanishes_from_a_living_endpoint_is_gone() -> None:
    """As after a restart without the cache."""
    endpoint = PolledEndpoint(Endpoint("http://localhost:1/metrics"))
    endpoint.read(parse(generate_latest(exposed(make_cache(name="scheduler")[0])).decode()))
    history = History(clock=iter((100.0, 250.0)).__next__)
    assert history.update([endpoint])[0].is_up
    endpoint.read(parse("up 1\n"))
    (gone,) = history.update([endpoint])
    assert gone.verdict == Verdict(
        "bad", "gone, last seen 2 min ago: the endpoint answers, but no longer for this component"
    )


NUMBERS = ("NaN", "+Inf", "-Inf", "-1", "1e300", "1e18", "1" * 400, "0x1", "", "many")
BUCKETS = re.compile(r'le="(0\.001|0\.1|\+Inf)"')
"""Some of each histogram; the others are read in the same way."""


def odd_lines(line: str) -> Iterator[str]:
    """The changes of one line of an exposition."""
    series, _, value = line.rpartition(" ")
    yield from ("", line[: len(line) // 2], line.upper(), f"{line}\n{line}", f"{series}\x00 {value}")
    if line.startswith("#"):
        return
    yield from (f"{series} {text}" for text in NUMBERS)
    name, _, labels = series.partition("{")
    pairs = labels.rstrip("}").split(",") if labels else []
    yield from (f"{name} {value}", f"{series} 0\n{line}", f"{line} 1", f"{{{line}")
    for number, pair in enumerate(pairs):
        before, after = pairs[:number], pairs[number + 1 :]
        yield f"{name}{{{','.join(before + after)}}} {value}"
        changed = pair.partition("=")[0] + '="\\n\x1b"'
        yield f"{name}{{{','.join([*before, changed, *after])}}} {value}"


def odd_expositions() -> Iterator[str]:
    """The metrics of a cache, each time with one line changed, doubled or left out."""
    cache, _ = make_cache(name="scheduler")
    fill(cache, range(9))
    lines = generate_latest(exposed(cache)).decode().splitlines()
    for number, line in enumerate(lines):
        if "le=" not in line or BUCKETS.search(line):
            for odd in odd_lines(line):
                yield "\n".join([*lines[:number], odd, *lines[number + 1 :]]) + "\n"


def test_no_change_of_one_line_ends_the_view_and_the_others_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exposition is shown, or refused with a reason; also beside an earlier one, for rates."""
    sound = parse(generate_latest(exposed(make_cache(name="scheduler")[0])).decode())
    odd, good = (PolledEndpoint(Endpoint(f"http://{name}:1/metrics")) for name in ("odd", "sound"))
    good.read(sound)
    history, refused = History(clock=iter(range(10**6)).__next__), set()
    for exposition in odd_expositions():
        odd.read(sound)
        history.update([odd, good])
        monkeypatch.setattr("dagcache.cli.top.polling.scrape", lambda _url, text=exposition: parse(text))
        odd._ask()
        shown = history.update([odd, good])
        assert good.shown in {each.url for each in shown if each.is_up}
        drawn = layout(shown, [], [odd.fault], columns=80, lines=24)
        assert all(line.text.isprintable() and len(line.text) <= 80 for line in drawn)
        json.dumps(top._as_json(shown, []), allow_nan=False)
        if odd.snapshots is None:
            refused.add(odd.fault)
    beginning = "its metrics are not those of dagcache: "
    assert f"{beginning}dagcache_misses_total is nan" in refused
    assert f"{beginning}dagcache_max_bytes is inf" in refused
    assert f"{beginning}a sample of dagcache_info has no label component" in refused
    assert f"{beginning}a sample of dagcache_evictions_total has no label cause" in refused


HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
ODD_ANSWERS = {
    "nothing": (b"", "closed connection without response"),
    "an empty body": (ok(b""), "the endpoint has no metrics of dagcache"),
    "other metrics": (ok(b"up 1\n"), "the endpoint has no metrics of dagcache"),
    "HTML": (ok(b"<!doctype html><html>sign in</html>"), "not in Prometheus' text format"),
    "a redirect": (b"HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n", "HTTP Error 302"),
    "an error": (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "HTTP Error 503"),
    "gzip": (HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"up 1\n"), "in the encoding 'gzip'"),
    "UTF-16": (ok("dagcache_info 1\n".encode("utf-16")), "not in Prometheus' text format"),
    "binary": (ok(bytes(range(256))), "not in Prometheus' text format"),
    "half of the body": (HEAD + b"Content-Length: 999\r\n\r\nup 1\n", "the response ends 994 bytes early"),
    "half of a chunk": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n99\r\nup", "did not answer in HTTP"),
    "another protocol": (b"SSH-2.0-OpenSSH_9.2\r\n", "did not answer in HTTP"),
    "a long header": (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000, "did not answer in HTTP"),
    "many components": (
        ok(b"".join(b'dagcache_info{component="%d"} 1\n' % number for number in range(21))),
        "21 components",
    ),
    "many labels": (
        ok(b'dagcache_info{component="x"} 1\n' + b'dagcache_evictions_total{component="x",cause="y"} 1\n' * 201),
        "dagcache_evictions_total has 201 samples",
    ),
}


@pytest.mark.parametrize("case", ODD_ANSWERS)
def test_an_odd_answer_is_a_fault_line(case: str, proxy: Callable[[bytes], Proxy]) -> None:
    """The view goes on."""
    answer, reason = ODD_ANSWERS[case]
    shown, url = Pictures(), f"http://127.0.0.1:{proxy(answer).port}"
    view = top.Top(parser().parse_args(["top", "--url", url]), interrupting_after(1))
    with pytest.raises(KeyboardInterrupt):
        view.run(shown)
    told = " ".join(line.text for line in shown.drawn[-1])
    assert url in told
    assert reason in told


def test_a_response_without_an_end_is_refused(proxy: Callable[[bytes], Proxy], monkeypatch: pytest.MonkeyPatch) -> None:
    """A complete one of that size would be read in part, as if it were whole."""
    monkeypatch.setattr("dagcache.metrics.scrape._MOST_BYTES", 100)
    asked = proxy(ok(b"up 1\n" * 21))
    with pytest.raises(ValueError, match="more than 100 bytes"):
        scrape(f"http://127.0.0.1:{asked.port}/metrics")


def test_a_fault_of_the_reading_itself_is_a_fault_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any error stays in its endpoint's thread."""
    monkeypatch.setattr("dagcache.cli.top.polling.scrape", lambda _url: 1 / 0)
    polled = PolledEndpoint(Endpoint("http://localhost:1/metrics"))
    polled._ask()
    assert (polled.snapshots, polled.fault) == (None, "division by zero")


def test_rates_are_of_the_last_half_minute_and_of_one_life_of_a_process() -> None:
    """Older figures are let go, and those from before a restart."""
    cache, _ = make_cache(name="scheduler")
    endpoint = PolledEndpoint(Endpoint("http://localhost:1/metrics"))
    history = History(clock=iter(range(0, 1000, 10)).__next__)

    def look() -> Delta:
        endpoint.read(parse(generate_latest(exposed(cache)).decode()))
        return history.update([endpoint])[0].delta

    spans = []
    for key in range(6):
        fill(cache, [key], nbytes=KIB)
        spans.append(look().seconds)
    assert spans == [0, 10, 20, 30, 30, 30]
    cache, _ = make_cache(name="scheduler")
    assert look().before is None


def test_a_reader_that_has_seen_enough_ends_the_view(server: MetricsServer) -> None:
    """As `dagcache top | head -1`: plain pictures, one below the other, and no complaint."""
    command = [sys.executable, "-m", "dagcache.cli", "top", "--interval", "0.1", "--url", url_of(server)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert datetime.fromisoformat(process.stdout.readline().strip()).tzinfo is not None
        assert process.stdout.readline().startswith("scheduler  http://")
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(PATIENCE) == 0


def test_without_a_screen_and_an_answer_the_view_ends(capsys: pytest.CaptureFixture[str]) -> None:
    """As `dagcache top --url DEAD | cat`: a script would wait forever."""
    assert main(["top", "--interval", "0.1", "--url", nobody()]) == 1
    told = capsys.readouterr()
    assert told.out.count("Connection refused") == 2
    assert told.err.startswith("dagcache: no endpoint answered: ")


def test_a_view_that_the_user_ends_draws_no_more(server: MetricsServer) -> None:
    """As by `q`."""

    class Ended(Pictures):
        def wait(self, seconds: float, sleep: object = None) -> bool:
            return len(self.drawn) == 2

    shown = Ended()
    top.Top(parser().parse_args(["top", "--url", url_of(server)])).run(shown)
    assert len(shown.drawn) == 2


@pytest.mark.parametrize(("terminal", "columns"), [(True, 93), (False, 120)])
def test_one_picture_has_the_width_of_the_terminal(
    terminal: bool, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And 120 columns in a pipe, for any terminal of the reader. There, the time is the first line."""
    out = io.StringIO()
    monkeypatch.setattr(out, "isatty", lambda: terminal)
    monkeypatch.setattr("shutil.get_terminal_size", lambda _default: os.terminal_size((93, 30)))
    shown = View(out, now=lambda: datetime(2026, 5, 4, 3, 2, 1, tzinfo=timezone.utc))
    assert shown.columns == columns
    shown.draw([Line("a line")])
    assert out.getvalue() == f"{'' if terminal else '2026-05-04 03:02:01+00:00' + chr(10)}a line\n\n"


def test_the_command_needs_neither_airflow_nor_rich_for_one_picture(server: MetricsServer) -> None:
    """The real command, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", _BARE, "top", "--json", "--interval", "0.2", "--url", url_of(server)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    (component,) = json.loads(done.stdout)["components"]
    assert component["window_seconds"] >= 0.2


_BARE = """
import sys
for name in ("airflow", "rich", "sqlalchemy", "psutil", "plotext", "matplotlib"):
    sys.modules[name] = None
from dagcache.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
