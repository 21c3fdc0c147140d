"""A cache of a few DAGs, a folder with a short name, and a server that listens in it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dagcache import DagCache
from dagcache.inspection.server import AttributionServer
from tests.support.caches import KIB, Weighted, make_cache
from tests.support.patience import PATIENCE


@pytest.fixture
def folder() -> Iterator[Path]:
    """A place with a short name: a socket's has 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="att", dir="/tmp"))
    yield path / "own"
    shutil.rmtree(path)


@pytest.fixture
def cache() -> DagCache[Any, Any]:
    """Two versions of one DAG, one of another, one of which nothing is known."""
    versions = {1: ("etl", 1), 2: ("etl", 2), 3: ("report", 7), 4: None}
    cache, clock = make_cache(name="scheduler", version_of=versions.get)
    for key, kib in ((1, 30), (2, 40), (3, 60), (4, 5)):
        cache[key] = Weighted(key, kib * KIB)
        clock.advance(10)
    cache.get(1)
    return cache


@pytest.fixture
def server(cache: DagCache[Any, Any], folder: Path) -> Iterator[AttributionServer]:
    """One that listens."""
    server = AttributionServer(cache, folder=folder, timeout=PATIENCE)
    assert server.start()
    yield server
    server.close()


def path_of(server: AttributionServer) -> Path:
    """Where it listens."""
    assert server.path is not None
    return server.path
