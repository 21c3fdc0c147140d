"""The real Prometheus accepts the exposed metrics, finds them, and answers the documented query."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from dagcache.metrics.collector import CacheCollector
from dagcache.metrics.file_sd import Targets
from dagcache.metrics.server import MetricsServer
from tests.support.caches import MIB, fill, make_cache
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE

DOCUMENT = (ROOT / "docs" / "metrics.md").read_text()

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
needs_prometheus = pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed")


def block(language: str) -> str:
    """The first block of a language in the document."""
    found = re.search(rf"^```{language}\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def documented_configuration(directory: Path) -> str:
    """The configuration of the page, for another directory and a more frequent scrape."""
    assert "/var/run/dagcache/targets/" in block("yaml")
    return "global:\n  scrape_interval: 1s\n" + block("yaml").replace("/var/run/dagcache/targets/", f"{directory}/")


@pytest.fixture
def registry() -> CollectorRegistry:
    """The metrics of a cache with some history."""
    cache, _ = make_cache(max_bytes=MIB, name="scheduler")
    fill(cache, range(25))
    fill(cache, range(25))
    exposed = CollectorRegistry()
    exposed.register(CacheCollector([cache]))
    return exposed


@needs_promtool
def test_promtool_has_no_objection(registry: CollectorRegistry) -> None:
    """Neither an error nor a lint."""
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=generate_latest(registry), capture_output=True, timeout=PATIENCE
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@needs_promtool
def test_the_documented_configuration_is_one(tmp_path: Path) -> None:
    """As Prometheus reads it."""
    path = tmp_path / "prometheus.yml"
    path.write_text(documented_configuration(tmp_path))
    done = subprocess.run(["promtool", "check", "config", path], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr


class Prometheus:
    """A server of its own, on a free port."""

    def __init__(self, directory: Path, configuration: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.address = f"127.0.0.1:{listener.getsockname()[1]}"
        (directory / "prometheus.yml").write_text(configuration)
        self._log = directory / "log"
        command = [
            "prometheus",
            f"--config.file={directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address={self.address}",
        ]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The result of an instant query."""
        url = f"http://{self.address}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
        with urllib.request.urlopen(url, timeout=PATIENCE) as response:
            result: list[dict[str, Any]] = json.load(response)["data"]["result"]
            return result

    def wait_for(self, expression: str) -> list[dict[str, Any]]:
        """The result, as soon as there is one."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if result := self.query(expression):
                    return result
            except OSError:  # it is still starting
                pass
            time.sleep(0.1)
        raise AssertionError(f"{expression} has no result\n{self._log.read_text()}")

    def end(self) -> None:
        """Not longer than it takes."""
        self.process.kill()
        self.process.wait(PATIENCE)


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[Prometheus]:
    """Configured as documented."""
    server = Prometheus(tmp_path, documented_configuration(tmp_path / "targets"))
    yield server
    server.end()


@needs_prometheus
def test_prometheus_finds_the_endpoint_and_scrapes_it(
    tmp_path: Path, registry: CollectorRegistry, prometheus: Prometheus
) -> None:
    """By the file; series carry the cache's component and no second one; the documented ratio has a value."""
    server = MetricsServer(registry, host="127.0.0.1", ports=(0,))
    targets = Targets(tmp_path / "targets")
    try:
        assert server.start()
        targets.add("scheduler", server.host, server.port or 0)
        (up,) = prometheus.wait_for('up{job="dagcache"} == 1')
        assert up["metric"]["component"] == "scheduler"
        assert up["metric"]["instance"] == f"127.0.0.1:{server.port}"
        (budget,) = prometheus.wait_for("dagcache_max_bytes")
        assert budget["value"][1] == str(MIB)
        assert budget["metric"].keys() == {"__name__", "component", "instance", "job"}
        (ratio,) = prometheus.wait_for(block("text"))
        assert ratio["metric"] == {"component": "scheduler"}
    finally:
        targets.remove()
        server.close()
