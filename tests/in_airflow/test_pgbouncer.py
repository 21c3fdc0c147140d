"""The bag's questions through PgBouncer in transaction mode: each transaction may have another connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.in_airflow.conftest import Clock, MakeDatabase
from tests.in_airflow.support import statements_of, write
from tests.support import pgbouncer, postgres

WINDOW = 30  # [core] min_serialized_dag_update_interval, seconds
Open = Callable[[], Any]


@pytest.fixture(scope="module")
def pooled_name(make_database: MakeDatabase) -> str:
    """The name of a database with Airflow's tables."""
    from sqlalchemy.engine import make_url

    return str(make_url(make_database("postgresql")).database)


@pytest.fixture(scope="module")
def pooler(cluster: postgres.Cluster) -> Iterator[pgbouncer.PgBouncer]:
    """With two connections to the server."""
    if pgbouncer.missing():
        pytest.skip(pgbouncer.missing())
    with pgbouncer.PgBouncer(cluster, connections=2) as started:
        yield started


@pytest.fixture(params=["psycopg2", "psycopg"])
def engine(request: pytest.FixtureRequest, pooler: pgbouncer.PgBouncer, pooled_name: str) -> Iterator[Any]:
    """An engine through the pooler, by each driver."""
    from sqlalchemy import create_engine

    pytest.importorskip(request.param)
    # Prepared statements belong to a connection of the server: behind a pooler they are to be switched off.
    arguments = {"prepare_threshold": None} if request.param == "psycopg" else {}
    made = create_engine(pooler.url(pooled_name, request.param), connect_args=arguments)
    yield made
    made.dispose()


def test_rewritten_versions_are_served_anew_and_the_others_are_confirmed_together(
    bag: Any, session: Any, engine: Any, clock: Clock
) -> None:
    from sqlalchemy.orm import Session

    driver = engine.dialect.driver
    names = [f"pooled_{driver}_{number}" for number in range(5)]
    versions = [write(session, name, text="old") for name in names]
    for _ in range(10):  # more transactions than the pooler has connections
        with Session(engine) as other:
            assert [bag._get_dag(version, other).description for version in versions] == ["old"] * 5
    write(session, names[0], text="new")
    session.commit()
    clock.now += WINDOW
    with Session(engine) as other, statements_of(engine) as heard:
        assert [bag._get_dag(version, other).description for version in versions] == ["new"] + ["old"] * 4
    assert heard.payloads == 1
    for _ in range(10):
        clock.now += WINDOW
        with Session(engine) as other, statements_of(engine) as heard:
            assert [bag._get_dag(version, other).description for version in versions] == ["new"] + ["old"] * 4
        assert (len(heard.texts), heard.payloads) == (1, 0)
    with Session(engine) as other:
        assert bag.get_latest_version_of_dag(names[0], session=other).description == "new"


def test_a_view_at_repeatable_read_does_not_outlive_its_transaction(bag: Any, engine: Any, clock: Clock) -> None:
    """The level is a property of the transaction, not of the server's connection, which others get next."""
    from sqlalchemy.orm import Session

    def opened() -> Any:
        return Session(engine.execution_options(isolation_level="REPEATABLE READ"))

    dag_id = f"viewed_{engine.dialect.driver}"
    with Session(engine) as session:
        version = write(session, dag_id, text="old")
    with opened() as behind:
        assert bag._get_dag(version, behind).description == "old"
        clock.now += 1
        with Session(engine) as session:
            write(session, dag_id, text="new")
        clock.now += WINDOW
        assert bag._get_dag(version, behind).description == "old"
    for _ in range(4):
        with Session(engine) as session:
            assert bag._get_dag(version, session).description == "new"
            assert session.connection().exec_driver_sql("SHOW transaction_isolation").scalar() == "read committed"
