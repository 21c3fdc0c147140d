"""The process that loads and thaws DAGs with this Airflow, for the seconds of `dagcache advise`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dagcache.advice.sizes import features, size_of
from dagcache.advice.speed import Sample, measured
from tests.in_airflow.support import variables, write
from tests.support.patience import PATIENCE


@pytest.fixture
def texts(session: Any) -> list[str]:
    """Rows of Airflow's own, of two sizes."""
    from airflow.models.serialized_dag import SerializedDagModel
    from sqlalchemy import select

    found = []
    for tasks in (5, 60):
        version = write(session, f"timed_{tasks}", tasks=tasks)
        row = session.scalars(select(SerializedDagModel).filter_by(dag_version_id=version)).one()
        found.append(json.dumps(row.data))
    return found


def timed(texts: list[str], folder: Path) -> dict[str, Any]:
    """The answer of the process."""
    done = subprocess.run(
        [sys.executable, "-m", "dagcache.airflow.load_timing"],
        input="\n".join(texts),
        env=variables(folder, f"sqlite:///{folder}/none.db", mode="off"),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def test_a_load_takes_longer_than_a_thaw_and_a_disposal(texts: list[str], tmp_path: Path) -> None:
    """And no database is touched."""
    found = timed(texts, tmp_path)
    assert found["dags"] == [0, 1]
    assert found["load_seconds"] > found["thaw_seconds"] > 0
    assert not (tmp_path / "none.db").exists()


def test_dags_that_cannot_be_loaded_are_left_out(texts: list[str], tmp_path: Path) -> None:
    """They may need a plugin that is not here."""
    found = timed(["{}", texts[0], '{"__version": 99}'], tmp_path)
    assert found["dags"] == [1]


def test_without_any_dag_that_can_be_loaded_the_answer_is_why(tmp_path: Path) -> None:
    """With the type of the error, and not with its text."""
    assert timed(["{}"], tmp_path)["problem"].startswith("none of 1 DAGs can be loaded and frozen (")


@pytest.mark.skipif(not Path("/proc/self/oom_score_adj").exists(), reason="of Linux")
def test_the_kernel_ends_this_process_before_a_scheduler() -> None:
    """If memory runs out, in a container for instance."""
    code = (
        "from dagcache.airflow import load_timing; load_timing.main(); print(open('/proc/self/oom_score_adj').read())"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], input="", capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert found.stdout.split()[-1] == "1000"


def test_the_speed_comes_from_the_installed_airflow(
    texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its database."""
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    samples = [Sample(text, size_of(features(json.loads(text)))) for text in texts]
    found = measured(samples)
    assert (found.dags, found.problem) == (2, "")
    assert found.loads > 0
    assert found.thaws > 0
