"""The loader beside Airflow itself, on SQLite and on PostgreSQL: the same content, and nothing is written."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from dagcache.database.connection import ALEMBIC_VERSION, SERIALIZED_DAG
from dagcache.database.loader import SerializedDagLoader
from dagcache.errors import LoadError
from tests.in_airflow.support import write


@pytest.fixture
def loader(engine: Any) -> Iterator[SerializedDagLoader]:
    """By URL: with connections of its own."""
    with SerializedDagLoader(engine.url.render_as_string(hide_password=False)) as made:
        yield made


def test_it_reads_what_airflow_wrote(loader: SerializedDagLoader, session: Any) -> None:
    """By the version's id, as Airflow parses it; the newest version is Airflow's newest."""
    from airflow.models.serialized_dag import SerializedDagModel

    version = write(session, "etl", text="grüße")
    row = session.scalars(sa.select(SerializedDagModel).filter_by(dag_version_id=version)).one()
    content = json.loads(json.dumps(row.data))
    assert loader.load(version) == content
    assert loader.load(str(version)) == content
    assert loader.latest("etl") == version


def test_lengths_are_those_of_the_text(loader: SerializedDagLoader, session: Any, engine: Any) -> None:
    """In bytes, computed by the database: PostgreSQL's JSONB has no text of its own, and writes it much the same."""
    version = write(session, "long", tasks=20)
    (row,) = [row for row in loader.versions() if row.id == version]
    assert row.payload_bytes == pytest.approx(len(json.dumps(loader.load(version))), rel=0.02)
    assert (row.dag_id, row.version_number, row.compressed) == ("long", 1, False)
    assert loader.sizes([version])[version] == row


def test_compressed_content_is_read(loader: SerializedDagLoader, session: Any, engine: Any) -> None:
    """As ``[core] compress_serialized_dags`` has it written."""
    version = write(session, "squeezed")
    content = loader.load(version)
    compressed = zlib.compress(json.dumps(content).encode())
    with engine.begin() as connection:
        change = sa.update(SERIALIZED_DAG).where(SERIALIZED_DAG.c.dag_version_id == version)
        connection.execute(change.values(data_compressed=compressed))
        connection.execute(sa.text("UPDATE serialized_dag SET data = NULL WHERE data_compressed IS NOT NULL"))
    assert loader.load(version) == content
    row = loader.sizes([version])[version]
    assert (row.payload_bytes, row.compressed) == (len(compressed), True)


def test_all_versions_come_whatever_the_batch(loader: SerializedDagLoader, session: Any) -> None:
    """Each once."""
    write(session, "first")
    write(session, "second")
    whole = [row.id for row in loader.versions()]
    assert len(whole) == len(set(whole)) >= 2
    assert [row.id for row in loader.versions(batch=1)] == whole


def test_nothing_can_be_written(loader: SerializedDagLoader, session: Any) -> None:
    """The database refuses."""
    write(session, "kept")
    with (
        pytest.raises(LoadError, match=r"(?i)read[- ]?only"),
        loader.database.load_errors(),
        loader.database.connection() as connection,
    ):
        connection.execute(sa.delete(SERIALIZED_DAG))


def test_a_statement_ends_in_time(engine: Any) -> None:
    """Also one that sleeps in the server."""
    sleep = {"postgresql": sa.func.pg_sleep(30), "mysql": sa.func.sleep(30)}.get(engine.dialect.name)
    if sleep is None:
        pytest.skip("SQLite does not sleep")
    url = engine.url.render_as_string(hide_password=False)
    with (
        SerializedDagLoader(url, timeout=0.2) as impatient,
        pytest.raises(LoadError, match=r"statement timeout|maximum statement execution time"),
        impatient.database.load_errors(),
    ):
        impatient.database.rows(sa.select(sleep).select_from(ALEMBIC_VERSION))


def test_what_it_sets_does_not_outlive_its_transaction(engine: Any) -> None:
    """A foreign engine stays unchanged."""
    settings = {
        "postgresql": "SELECT current_setting('transaction_read_only'), current_setting('statement_timeout')",
        "mysql": "SELECT @@session.transaction_read_only, @@session.time_zone",
    }.get(engine.dialect.name)
    if settings is None:
        pytest.skip("SQLite has no such setting")
    with engine.connect() as connection:
        before = connection.exec_driver_sql(settings).one()
    loader = SerializedDagLoader(engine)
    loader.latest("etl")
    with engine.connect() as connection:
        assert connection.exec_driver_sql(settings).one() == before
