"""The workers of a real uvicorn withdraw their announcements when the server is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.patience import PATIENCE

APPLICATION = """
import os, sys
from pathlib import Path
from types import SimpleNamespace
from starlette.applications import Starlette
from dagcache import DagCache
from dagcache.airflow import component, shutdown
from dagcache.metrics.endpoint import MetricsEndpoint

class Part(SimpleNamespace):
    __hash__ = object.__hash__

cache = DagCache(max_bytes="1MiB", name="api_server")
targets = Path(os.environ["TARGETS"])
part = Part(exposition=MetricsEndpoint(cache, None, host="127.0.0.1", ports=(0,), targets=targets))
component._components.add(part)
app = Starlette()
if os.environ["WATCHED"] == "yes":
    shutdown.watch(sys.modules[__name__])
"""


@pytest.mark.parametrize(("watched", "left"), [("yes", 0), ("no", 2)])
def test_a_graceful_stop_of_uvicorns_workers_leaves_no_announcement(watched: str, left: int, tmp_path: Path) -> None:
    """Without the watch both stay: the workers end by the signal that they raise again, and no finaliser runs."""
    (tmp_path / "application.py").write_text(APPLICATION)
    targets = tmp_path / "targets"
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}", "TARGETS": str(targets), "WATCHED": watched}
    command = [sys.executable, "-m", "uvicorn", "application:app", "--port", "0", "--workers", "2"]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        end = time.monotonic() + PATIENCE
        while (tmp_path / "log").read_text().count("Application startup complete") < 2:
            assert time.monotonic() < end, (tmp_path / "log").read_text()
            time.sleep(0.1)
        assert len(list(targets.glob("api_server-*.json"))) == 2
        server.terminate()
        server.wait(PATIENCE)
        assert len(list(targets.glob("*.json"))) == left
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait(PATIENCE)
