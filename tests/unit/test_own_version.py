"""A copy of the files without an installer's metadata: vendored, or on PYTHONPATH."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import dagcache
from dagcache import own_version as module
from dagcache.own_version import UNKNOWN, own_version
from tests.support.patience import PATIENCE

_SCRAPE = """
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.request import urlopen

import dagcache
from dagcache.metrics.endpoint import MetricsEndpoint
from dagcache.traces.recording import record

try:
    raise SystemExit(f"this is not a copy without metadata: {version('dagcache')}")
except PackageNotFoundError:
    pass
assert Path(dagcache.__file__).is_relative_to(sys.argv[1]), dagcache.__file__
cache = dagcache.DagCache(max_bytes="1MiB", name="scheduler")
with record(cache, Path(sys.argv[1], "lookups.jsonl")):
    cache.get_or_load("key", str)
exposition = MetricsEndpoint(cache, None, host="127.0.0.1", ports=(0,), targets=Path(sys.argv[1], "targets"))
for _ in range(2):
    print(urlopen(f"http://127.0.0.1:{exposition.port}/metrics", timeout=30).read().decode())
exposition.close()
"""


@pytest.fixture
def _not_remembered() -> Iterator[None]:
    """Asked again, before and after."""
    own_version.cache_clear()
    yield
    own_version.cache_clear()


@pytest.fixture
def copied(tmp_path: Path) -> dict[str, str]:
    """The environment of an interpreter that sees a copy of the package and its imports, without an installation."""
    shutil.copytree(Path(dagcache.__file__).parent, tmp_path / "dagcache", ignore=shutil.ignore_patterns("__pycache__"))
    spec = importlib.util.find_spec("prometheus_client")
    assert spec is not None
    assert spec.origin is not None
    (tmp_path / "prometheus_client").symlink_to(Path(spec.origin).parent)
    return os.environ | {"PYTHONPATH": str(tmp_path), "PYTHONNOUSERSITE": "1"}


def test_a_copy_without_metadata_can_be_scraped(copied: dict[str, str], tmp_path: Path) -> None:
    """All metrics are there; the version is said to be unknown."""
    command = [sys.executable, "-S", "-c", _SCRAPE, str(tmp_path)]
    done = subprocess.run(
        command, env=copied, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    info = [line for line in done.stdout.splitlines() if line.startswith("dagcache_info{")]
    assert info == ['dagcache_info{component="scheduler",mode="enforce",version="unknown"} 1.0'] * 2
    assert "dagcache_process_resident_bytes" in done.stdout
    assert not done.stderr


@pytest.mark.usefixtures("_not_remembered")
def test_an_installed_copy_says_what_the_installer_does() -> None:
    """The distribution's version."""
    assert own_version() == importlib.metadata.version("dagcache")


@pytest.mark.usefixtures("_not_remembered")
@pytest.mark.parametrize(
    "answer", [None, "", KeyError("Version"), OSError(), UnicodeDecodeError("utf-8", b"", 0, 1, "")]
)
def test_damaged_metadata_is_an_unknown_version(answer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python answers None, or raises, as it happens to."""

    def version(_name: str) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(module, "version", version)
    assert own_version() == UNKNOWN


def test_the_package_has_a_version() -> None:
    """It reads the installer's metadata only when asked."""
    assert dagcache.__version__ == own_version()
    assert "__version__" in dir(dagcache)
