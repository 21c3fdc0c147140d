"""One corrupt DAG among others: with the quarantine it stops no other."""

from __future__ import annotations

import logging
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from tests.in_airflow.conftest import Clock, MakeDatabase
from tests.in_airflow.support import (
    CORRUPT,
    Airflow,
    install_anew,
    run_python,
    scheduler_bag,
    spoil,
    statements_of,
    variables,
    write,
)
from tests.in_airflow.test_scheduler import INSTANT, Observer

_TRIGGER = """
import airflow.api.common.trigger_dag as api
from airflow.utils.types import DagRunTriggeredByType
for dag_id in ("linear_000", "linear_004"):
    api.trigger_dag(dag_id, triggered_by=DagRunTriggeredByType.TEST, run_id="asked_for")
"""


@pytest.fixture
def bag(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A scheduler's bag that sets corrupt versions aside for a minute."""
    install_anew("scheduler", monkeypatch, quarantine="1m")
    made = scheduler_bag()
    yield made
    made._component.close()


@pytest.mark.parametrize("kind", CORRUPT)
def test_a_corrupt_version_is_missing_for_a_while_and_then_tried_again(
    kind: str, bag: Any, session: Any, engine: Any, clock: Clock, complaints: list[logging.LogRecord]
) -> None:
    """Nothing is asked of the database meanwhile; one line says which version it is."""
    version = write(session, "corrupt", text=kind)
    spoil(session, version, kind)
    assert bag._get_dag(version, session) is None
    with statements_of(engine) as heard:
        assert bag._get_dag(version, session) is None
    assert heard.payloads == 0
    (line,) = complaints
    assert f"DAG version {version} of DAG corrupt cannot be read" in line.getMessage()
    assert write(session, "corrupt", text="mended") == version
    session.expunge_all()
    clock.now += 60
    assert bag._get_dag(version, session).description == "mended"


def test_a_reader_past_the_bag_is_left_to_airflow(bag: Any, session: Any) -> None:
    """It would read a row that was mended at once."""
    version = write(session, "in_quarantine")
    spoil(session, version, next(iter(CORRUPT)))
    assert bag._get_dag(version, session) is None
    with pytest.raises(LookupError):
        bag.current_dag("in_quarantine", session=session)


def test_a_database_that_is_gone_is_no_corrupt_version(bag: Any, session: Any, engine: Any) -> None:
    """Its error passes, and the next lookup tries again."""
    from sqlalchemy.exc import OperationalError
    from sqlalchemy.orm import Session

    version = write(session, "healthy")
    session.close()

    class Gone(Session):
        def execute(self, *_: Any, **__: Any) -> Any:
            raise OperationalError("SELECT", None, Exception("gone"))

        scalar = scalars = get = connection = execute

    with Gone(engine) as gone, pytest.raises(OperationalError):
        bag._get_dag(version, gone)
    assert bag._get_dag(version, session) is not None


@pytest.mark.parametrize("backend", ["sqlite", pytest.param("postgresql", marks=pytest.mark.soak)])
def test_a_scheduler_goes_on_with_the_other_dags(backend: str, make_database: MakeDatabase, tmp_path: Path) -> None:
    """Without the quarantine it ends, as it does without the cache."""
    if version("apache-airflow-core") == "3.1.0":
        pytest.skip("Airflow 3.1.0 reads the row elsewhere, too, and ends by that")
    url = make_database(backend)
    env = variables(tmp_path, url) | {"AIRFLOW__CORE__EXECUTOR": INSTANT}
    observer = Observer(url)
    observer.unpause_only("none")
    run_python(_TRIGGER, env)
    observer.change("UPDATE dag SET is_paused = (dag_id NOT IN ('linear_000', 'linear_004'))")
    observer.change("UPDATE serialized_dag SET data = '[1, 2]' WHERE dag_id = 'linear_000'")

    def state_of(dag_id: str) -> str:
        ((state,),) = observer.ask(f"SELECT state FROM dag_run WHERE dag_id = '{dag_id}' AND run_id = 'asked_for'")
        return str(state)

    if int(version("apache-airflow-core").split(".")[1]) < 4:
        with Airflow(env, "scheduler", "--skip-serve-logs") as scheduler:
            scheduler.wait_for_end()
        assert "invalid or missing serialized DAG data" in scheduler.log
    with Airflow(env | {"AIRFLOW__DAGCACHE__QUARANTINE": "5m"}, "scheduler", "--skip-serve-logs") as scheduler:
        scheduler.wait_for("the healthy DAG's run ends", lambda: state_of("linear_004") == "success")
        assert scheduler.stop(), "the scheduler did not end when it was asked to"
    assert state_of("linear_000") in {"queued", "running"}
    assert scheduler.log.count("cannot be read") == 1
