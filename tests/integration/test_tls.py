"""The documented proxy gives the endpoint TLS and a password: a real nginx, and a real Prometheus behind it."""

from __future__ import annotations

import os
import re
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from dagcache.demo.playground import free_ports
from dagcache.metrics.endpoint import MetricsEndpoint
from tests.integration.test_promtool import Prometheus, needs_prometheus
from tests.stress.test_threads import until
from tests.support.caches import MIB, make_cache
from tests.support.paths import ROOT
from tests.support.patience import PATIENCE

_PAGE = (ROOT / "docs" / "metrics.md").read_text()
SECTION = _PAGE.partition("## TLS and a password")[2].partition("\n## ")[0]
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")

pytestmark = [
    needs_prometheus,
    pytest.mark.skipif(NGINX is None, reason="nginx is not installed"),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed"),
]


def block(language: str) -> str:
    """The block of a language in the section."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", SECTION, re.MULTILINE | re.DOTALL)
    return str(found)


def replaced(text: str, *changes: tuple[str, object]) -> str:
    """A text with other paths and ports; each must be there."""
    for old, new in changes:
        assert old in text
        text = text.replace(old, str(new))
    return text


def certificate(folder: Path) -> None:
    """A certificate of its own for 127.0.0.1, and its key."""
    subject = ["-subj", "/CN=dagcache", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(folder / "tls.key"), "-out", str(folder / "tls.crt")]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject, *files]
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """The documented nginx; its first port, and the port of the endpoint behind it."""
    certificate(tmp_path)
    subprocess.run(["sh", "-c", block("bash")], check=True, cwd=tmp_path, timeout=PATIENCE)
    one, other, behind, nothing = free_ports(4)
    ports = (("11880", one), ("11881", other), ("11780", behind), ("11781", nothing))
    changed = replaced(block("nginx"), ("/etc/nginx/", f"{tmp_path}/"), *ports)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    folders = "".join(f"{kind}_temp_path {tmp_path}/{kind};" for kind in kinds)  # by default, of the package's user
    changed = replaced(changed, ("http {", f"http {{ access_log off; {folders}"))
    user = "user root;" if os.geteuid() == 0 else ""
    (tmp_path / "nginx.conf").write_text(f"daemon off; pid {tmp_path}/pid; {user}\n{changed}")
    command = [str(NGINX), "-c", str(tmp_path / "nginx.conf"), "-e", str(tmp_path / "errors")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        until((tmp_path / "pid").exists)
        yield one, behind
        process.terminate()


def test_prometheus_scrapes_by_tls_with_a_password_and_others_are_refused(
    tmp_path: Path, proxy: tuple[int, int]
) -> None:
    port, behind = proxy
    (tmp_path / "password").write_text("PASSWORD")
    configuration = replaced(
        block("yaml"),
        ("/etc/prometheus/dagcache-ca.crt", tmp_path / "tls.crt"),
        ("/etc/prometheus/dagcache-password", tmp_path / "password"),
        ("airflow.example.com:11880, airflow.example.com:11881", f"127.0.0.1:{port}"),
    )
    cache, _ = make_cache(max_bytes=MIB, name="scheduler")
    endpoint = MetricsEndpoint(cache, None, host="127.0.0.1", ports=(behind,), targets=tmp_path / "targets")
    prometheus = Prometheus(tmp_path, "global: {scrape_interval: 1s}\n" + configuration)
    try:
        (budget,) = prometheus.wait_for('dagcache_max_bytes{component="scheduler"}')
        assert budget["value"][1] == str(MIB)
        trusted = ssl.create_default_context(cafile=str(tmp_path / "tls.crt"))
        with pytest.raises(HTTPError, match="401"):
            urlopen(f"https://127.0.0.1:{port}/metrics", context=trusted, timeout=PATIENCE)
        with pytest.raises(HTTPError, match="400"):
            urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE)
    finally:
        prometheus.end()
        endpoint.close()
