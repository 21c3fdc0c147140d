"""Recording inside a real Airflow: the lookups of a scheduler's bag can be replayed."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dagcache.traces.reading import read_trace
from tests.in_airflow.support import install_anew, run_python, scheduler_bag, variables, write
from tests.support.patience import PATIENCE


def test_a_bags_lookups_are_recorded_without_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, session: Any, complaints: list[logging.LogRecord]
) -> None:
    """In a file that only its owner may read, in a directory that is made."""
    versions = [write(session, f"traced_{number}", tasks=5) for number in range(3)]
    session.expunge_all()  # what was written is read as another process reads it
    install_anew("scheduler", monkeypatch, trace=tmp_path / "deep" / "traces")
    bag = scheduler_bag()
    try:
        for version in [*versions, *versions]:
            assert bag._get_dag(version, session).dag_id.startswith("traced_")
    finally:
        bag._component.close()
    [path] = (tmp_path / "deep" / "traces").iterdir()
    assert path.name.startswith("scheduler-")
    assert path.stat().st_mode & 0o777 == 0o600
    trace = read_trace(path)
    assert (trace.tiers["miss"], trace.tiers["live"], trace.keys) == (3, 3, 3)
    assert trace.header["cache"] == "scheduler"
    assert all(lookup.frozen_bytes < lookup.live_bytes and lookup.family for lookup in trace.lookups)
    text = path.read_text()
    assert "traced" not in text
    assert not any(str(version) in text or version.hex in text for version in versions)
    assert complaints == []


def test_ids_are_plain_if_that_is_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, session: Any) -> None:
    """Then a trace names DAGs and versions."""
    version = write(session, "named")
    session.expunge_all()
    install_anew("scheduler", monkeypatch, trace=tmp_path, trace_ids="plain", trace_max_bytes="1MiB")
    bag = scheduler_bag()
    bag._get_dag(version, session)
    bag._component.close()
    [path] = tmp_path.glob("*.jsonl")
    [lookup] = read_trace(path).lookups
    assert (lookup.key, lookup.family, lookup.order) == (str(version), "named", 1)


def test_a_directory_that_cannot_be_written_costs_one_warning(
    monkeypatch: pytest.MonkeyPatch, session: Any, complaints: list[logging.LogRecord]
) -> None:
    """And the recording; the scheduler goes on."""
    version = write(session, "unrecorded")
    install_anew("scheduler", monkeypatch, trace="/proc/nowhere")
    bag = scheduler_bag()
    try:
        assert bag._get_dag(version, session) is bag._get_dag(version, session)
    finally:
        bag._component.close()
    assert [record.levelname for record in complaints] == ["WARNING"]
    assert "trace recording in /proc/nowhere is unavailable: No such file or directory" in complaints[0].getMessage()


_SWEEPS = """
from airflow.utils.session import create_session
from airflow.models.dag_version import DagVersion
from airflow.jobs.job import Job
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
bag = SchedulerJobRunner(job=Job()).scheduler_dag_bag
bag.at_loop_start()
with create_session() as session:
    versions = [row[0] for row in session.query(DagVersion.id).all()]
    for _ in range(4):
        for version in versions:
            bag._get_dag(version, session)
print("swept", len(versions))
"""


def test_a_trace_of_a_real_process_can_be_replayed(tmp_path: Path, make_database: Any) -> None:
    """The process ends without closing the trace. The replay runs in a separate process."""
    env = variables(tmp_path, make_database("sqlite"), metrics_port=0, trace=tmp_path / "traces", max_bytes="1MiB")
    swept = int(run_python(_SWEEPS, env).rpartition("swept ")[2])
    assert swept > 0
    [path] = (tmp_path / "traces").iterdir()
    done = subprocess.run(
        [sys.executable, "-m", "dagcache.cli", "replay", str(path), "--json", "--max-bytes", "1MiB,0"],
        env={**os.environ, "PYTHONPATH": env["PYTHONPATH"]},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    content = json.loads(done.stdout)
    assert content["trace"]["ending"] == "closed"
    assert (content["trace"]["lookups"], content["trace"]["versions"]) == (4 * swept, swept)
    limited, unbounded, lru = content["outcomes"]
    assert (limited["lookups"], unbounded["misses"], lru["misses"]) == (4 * swept, swept, swept)
    assert limited["misses"] == content["trace"]["tiers"]["miss"]
