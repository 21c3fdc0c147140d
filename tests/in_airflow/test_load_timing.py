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
from tests.support.measured import measured as coverage_variables
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


MAIN = "import sys; from dagcache.airflow.load_timing import main; sys.exit(main())"


def timed(texts: list[str], folder: Path, code: str = MAIN) -> dict[str, Any]:
    """The answer of the process."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        input="\n".join(texts),
        env=variables(folder, f"sqlite:///{folder}/none.db", mode="off") | coverage_variables(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_a_load_takes_longer_than_a_thaw_and_a_disposal(texts: list[str], tmp_path: Path) -> None:
    """And no database is touched."""
    found = timed(texts, tmp_path)
    assert found["dags"] == [0, 1]
    assert found["load_seconds"] > found["thaw_seconds"] > 0
    assert found["thawed"] > 0.95
    assert not (tmp_path / "none.db").exists()


def test_the_seconds_of_thaws_have_all_disposals(texts: list[str], tmp_path: Path) -> None:
    """The collection after a sweep once found half of the displaced graphs: without a holder, and not taken apart."""
    code = f"""
import gc, sys
usual, found = gc.collect, []
def collect():
    found.append(usual())
gc.collect = collect
import atexit, pathlib
atexit.register(lambda: pathlib.Path({str(tmp_path / "found")!r}).write_text(repr(found)))
{MAIN}"""
    timed(texts, tmp_path, code)
    found = json.loads((tmp_path / "found").read_text())
    assert len(found) > 5
    assert max(found[-5:]) < 50  # objects; a graph has hundreds


def test_dags_that_cannot_be_loaded_are_left_out(texts: list[str], tmp_path: Path) -> None:
    """They may need a plugin that is not here."""
    found = timed(["{}", texts[0], '{"__version": 99}'], tmp_path)
    assert found["dags"] == [1]
    assert found["thawed"] > 0.95


def test_dags_without_a_frozen_form_are_left_out(texts: list[str], tmp_path: Path) -> None:
    """They take no part in the budget of the thaws."""
    code = f"""
import dagcache.airflow.graphs as graphs
usual = graphs.freezer
class Freezer:
    def __init__(self, real): self._real = real
    def __getattr__(self, name): return getattr(self._real, name)
    def freeze(self, dag):
        if dag.dag_id == "timed_60": raise TypeError("not picklable")
        return self._real.freeze(dag)
def freezer(*arguments):
    real, shared = usual(*arguments)
    return Freezer(real), shared
graphs.freezer = freezer
{MAIN}"""
    found = timed([texts[0], *[texts[1]] * 30], tmp_path, code)
    assert found["dags"] == [0]
    assert found["thawed"] > 0.95


def test_other_output_and_the_cause_of_a_failure(texts: list[str], tmp_path: Path) -> None:
    """The output has the answer only. Of an error it has the type."""
    talking = f"import atexit; atexit.register(print, 'bye')\n{MAIN}"
    assert timed(texts, tmp_path, talking)["dags"] == [0, 1]
    broken = f"import dagcache.airflow.load_timing as it\nit._reader = lambda: 1 / 0\n{MAIN}"
    assert timed(texts, tmp_path, broken)["problem"].startswith("ZeroDivisionError in ")


def test_without_any_dag_that_can_be_loaded_the_answer_is_why(tmp_path: Path) -> None:
    """With the type of the error, and not with its text."""
    assert timed(["{}"], tmp_path)["problem"].startswith("none of 1 DAGs can be loaded and frozen (")


@pytest.mark.skipif(not Path("/proc/self/oom_score_adj").exists(), reason="of Linux")
def test_the_kernel_ends_this_process_before_a_scheduler() -> None:
    """If memory runs out, in a container for instance."""
    code = "import sys; from dagcache.airflow.load_timing import main; main()"
    code += "; sys.stderr.write(open('/proc/self/oom_score_adj').read())"
    found = subprocess.run(
        [sys.executable, "-c", code], input="", capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert found.stderr.split()[-1] == "1000"


def test_the_speed_comes_from_the_installed_airflow(
    texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its database. Modules of the working directory are not imported."""
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    (tmp_path / "random.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    samples = [Sample(text, size_of(features(json.loads(text)))) for text in texts]
    found = measured(samples)
    assert (found.dags, found.problem) == (2, "")
    assert found.loads > 0
    assert found.thaws > 0
    assert [path.name for path in tmp_path.iterdir()] == ["random.py"]
