"""Serialised DAGs from a metadata database: present, absent and damaged ones, and no password anywhere."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
import traceback
import tracemalloc
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any, final
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError, ProgrammingError

from dagcache import DagCache, LoadError
from dagcache.database.connection import DAG_VERSION, SERIALIZED_DAG, MetadataDatabase, _engine, seconds
from dagcache.database.loader import SerializedDagLoader, VersionRow, as_uuid, parse, payload_bytes
from tests.support.databases import EPOCH, Database, payload

SECRET = "s3cr3t-Wörd/@:"
QUOTED = "s3cr3t-W%C3%B6rd%2F%40%3A"
POSTGRESQL: Any = sa.engine.make_url("postgresql+psycopg2://").get_dialect()()
MYSQL: Any = sa.engine.make_url("mysql+pymysql://").get_dialect()()


# ---- loading ----


def test_a_version_is_loaded_by_uuid_and_by_text(database: Database, loader: SerializedDagLoader) -> None:
    """In either spelling."""
    version = database.version("etl")
    assert loader.load(version) == loader.load(str(version)) == loader.load(version.hex) == payload("etl")


def test_none_means_not_in_the_database_only(database: Database, loader: SerializedDagLoader) -> None:
    """An unknown version, and one without a serialised DAG."""
    assert loader.load(UUID(int=1)) is None
    assert loader.load(database.version("etl", serialized=False)) is None


def test_compressed_content_is_inflated(database: Database, loader: SerializedDagLoader) -> None:
    """Airflow writes the JSON null beside it."""
    assert loader.load(database.compressed_version("etl")) == payload("etl")
    both = zlib.compress(json.dumps(payload("etl")).encode())
    assert loader.load(database.version("etl", 2, data="null", compressed=both)) == payload("etl")


@pytest.mark.parametrize(
    ("data", "compressed"),
    [
        ('{"dag": ', None),
        ("", None),
        ("null", None),
        ("[1, 2]", None),
        (b'{"dag": "\xff\xfe"}', None),
        ("[" * 200_000, None),
        ("null", b"no zlib"),
        ("null", zlib.compress(b'{"dag": 1}')[:-4]),
        ("null", zlib.compress(b"no json")),
        ("null", b""),
    ],
    ids=["cut", "empty", "null", "list", "no text", "deep", "no zlib", "no checksum", "no json", "empty zlib"],
)
def test_damage_is_a_load_error_that_names_the_version(
    database: Database, loader: SerializedDagLoader, data: Any, compressed: bytes | None
) -> None:
    """Never None, and never the content."""
    version = database.version("etl", data=data, compressed=compressed)
    with pytest.raises(LoadError, match=f"^version {version}: expected ") as caught:
        loader.load(version)
    assert len(str(caught.value)) < 120


def test_a_row_with_nothing_in_it_is_damaged(database: Database, loader: SerializedDagLoader) -> None:
    """Both columns are NULL."""
    version = database.version("etl")
    database.execute("UPDATE serialized_dag SET data = NULL")
    with pytest.raises(LoadError, match="found nothing in data or data_compressed"):
        loader.load(version)


def test_a_decompression_bomb_is_refused_before_it_is_inflated(database: Database) -> None:
    """A gigabyte of blanks would take seconds, and a gigabyte."""
    bomb = zlib.compressobj()
    content = b"".join([bomb.compress(b" " * 2**20) for _ in range(64)] + [bomb.flush()])
    version = database.version("etl", compressed=content)
    tracemalloc.start()
    with SerializedDagLoader(database.url, max_payload_bytes=2**20) as loader, pytest.raises(LoadError, match="longer"):
        loader.load(version)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24


@pytest.mark.parametrize("compressed", [False, True])
def test_the_longest_allowed_payload_is_loaded_and_one_byte_more_is_not(database: Database, compressed: bool) -> None:
    """The limit itself is allowed."""
    text = json.dumps(payload("etl"))
    version = database.version("etl", data=text, compressed=zlib.compress(text.encode()) if compressed else None)
    assert SerializedDagLoader(database.url, max_payload_bytes=len(text)).load(version) == payload("etl")
    with pytest.raises(LoadError, match=f"longer than the allowed {len(text) - 1} bytes"):
        SerializedDagLoader(database.url, max_payload_bytes=len(text) - 1).load(version)


@pytest.mark.parametrize("junk", ["", "etl", "0" * 31, 7, None, b"x" * 16])
def test_what_is_no_version_id_is_refused(junk: Any) -> None:
    """With the accepted forms."""
    with pytest.raises(LoadError, match="accepted: a UUID"):
        as_uuid(junk)


def test_a_cache_loads_through_it(database: Database, loader: SerializedDagLoader) -> None:
    """Once, and then it is there."""
    version = database.version("etl")
    cache: DagCache[UUID, Any] = DagCache(max_bytes="1MiB")
    assert cache.get_or_load(version, loader.load) == payload("etl")
    database.execute("DELETE FROM serialized_dag")
    assert cache.get_or_load(version, loader.load) == payload("etl")
    assert cache.get_or_load(UUID(int=1), loader.load) is None


def test_many_threads_share_one_loader(database: Database, loader: SerializedDagLoader) -> None:
    """Each gets its own version."""
    versions = {f"dag_{number}": database.version(f"dag_{number}") for number in range(8)}
    found: dict[str, object] = {}

    def load(dag_id: str) -> None:
        for _ in range(5):
            found[dag_id] = loader.load(versions[dag_id])

    threads = [threading.Thread(target=load, args=(dag_id,)) for dag_id in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {dag_id: payload(dag_id) for dag_id in versions}


# ---- versions ----


def test_the_latest_version_is_the_one_with_the_highest_number(database: Database, loader: SerializedDagLoader) -> None:
    """Of those that can be loaded."""
    database.version("etl", 9)
    tenth = database.version("etl", 10)
    database.version("etl", 11, serialized=False)
    database.version("other", 12)
    assert loader.latest("etl") == tenth
    assert loader.latest("unknown") is None


def test_versions_come_in_batches_with_their_lengths(database: Database, loader: SerializedDagLoader) -> None:
    """Bytes, not characters; of compressed ones as they are stored; none for those that have no content."""
    text = json.dumps({"dag": "ä€"}, ensure_ascii=False)
    plain = database.version("etl", 1, created=3.5, data=text)
    squeezed = database.version("etl", 2, data="null", compressed=zlib.compress(text.encode()))
    bare = database.version("etl", 3, serialized=False)
    born = EPOCH.timestamp()
    for batch in (1, 2, 3, 1000):
        assert list(loader.versions(batch=batch)) == [
            VersionRow(plain, "etl", 1, born + 3.5, f"{1:032}", len(text.encode()), False),
            VersionRow(squeezed, "etl", 2, born, f"{2:032}", len(zlib.compress(text.encode())), True),
            VersionRow(bare, "etl", 3, born, None, 0, False),
        ]
    assert [row.payload_bytes for row in loader.versions(sizes=False)] == [0, 0, 0]


def test_sizes_are_told_of_chosen_versions(database: Database, loader: SerializedDagLoader) -> None:
    """And unknown ones are left out."""
    versions = [database.version("etl", number) for number in (1, 2, 3)]
    assert set(loader.sizes([versions[0], versions[2], UUID(int=1)])) == {versions[0], versions[2]}


def test_a_writer_is_not_disturbed_between_two_batches(database: Database, loader: SerializedDagLoader) -> None:
    """No transaction is open: in SQLite's default mode it would lock writers out."""
    for number in range(4):
        database.version("etl", number)
    rows = loader.versions(batch=2)
    next(rows)
    with closing(sqlite3.connect(database.path, timeout=0)) as writer, writer:
        writer.execute("UPDATE dag SET is_paused = 1")
    assert len(list(rows)) == 3


# ---- statements, where no server is at hand ----


@pytest.mark.parametrize(
    ("dialect", "length"),
    [
        (POSTGRESQL, "octet_length(CAST(serialized_dag.data AS TEXT))"),
        (MYSQL, "octet_length(CAST(serialized_dag.data AS CHAR))"),
    ],
    ids=["postgresql", "mysql"],
)
def test_lengths_are_computed_by_the_database(dialect: Any, length: str) -> None:
    """Of JSON as text, of compressed bytes as they are."""
    statement = str(sa.select(payload_bytes(dialect.name)).compile(dialect=dialect))
    assert length in statement
    assert "octet_length(serialized_dag.data_compressed)" in statement


@final
class Recording:
    """Stands for an engine of another dialect: keeps what it is asked to execute."""

    def __init__(self, dialect: Any) -> None:
        self.dialect = dialect
        self.info: dict[str, object] = {}
        self.said: list[str] = []

    def connect(self) -> Recording:
        """It is its own connection."""
        return self

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *_: object) -> None:
        self.said.append("closed")

    def exec_driver_sql(self, statement: str, parameters: object = None) -> Recording:
        """Keep it; it is its own result."""
        self.said.append(statement if parameters is None else f"{statement} {parameters}")
        return self

    def one(self) -> tuple[str]:
        """The time zone before."""
        return ("SYSTEM",)

    def execute(self, statement: Any) -> Recording:
        """Keep its first line; it is its own result."""
        self.said.append(str(statement.compile(dialect=self.dialect)).split("\n")[0])
        return self

    def all(self) -> list[Any]:
        """No rows."""
        return []


@pytest.mark.parametrize(
    ("dialect", "expected"),
    [
        (POSTGRESQL, ["SET TRANSACTION READ ONLY", "SET LOCAL statement_timeout = 7000", "SELECT "]),
        (
            MYSQL,
            [
                "SET time_zone = %s ('+00:00',)",
                "SET TRANSACTION READ ONLY",
                "SELECT /*+ MAX_EXECUTION_TIME(7000) */ ",
            ],
        ),
    ],
    ids=["postgresql", "mysql"],
)
def test_a_transaction_only_reads_and_ends_in_time(
    database: Database, monkeypatch: pytest.MonkeyPatch, dialect: Any, expected: list[str]
) -> None:
    """Settings apply to this transaction only: behind a pooler the next one belongs to another program."""
    opened = MetadataDatabase(database.url, timeout=7.0)
    recording = Recording(dialect)
    monkeypatch.setattr(opened, "_engine", recording)
    assert opened.rows(sa.select(DAG_VERSION.c.id)) == []
    *said, closed = recording.said
    assert closed == "closed"
    assert [text.startswith(start) for text, start in zip(said, expected, strict=True)] == [True] * len(expected)


@pytest.mark.parametrize(
    ("is_ours", "second"),
    [
        (True, ["SET TRANSACTION READ ONLY", "SELECT /*+"]),
        (False, ["SET TRANSACTION", "SELECT @@session.", "SET time_zone", "SELECT /*+", "SET time_zone"]),
    ],
    ids=["ours", "given"],
)
def test_the_session_of_a_connection_of_our_own_is_set_once(
    database: Database, monkeypatch: pytest.MonkeyPatch, is_ours: bool, second: list[str]
) -> None:
    """That of a given engine is restored after each transaction, because other code uses it between."""
    opened = MetadataDatabase(database.url)
    recording = Recording(MYSQL)
    monkeypatch.setattr(opened, "_engine", recording)
    monkeypatch.setattr(opened, "_owned", is_ours)
    opened.rows(sa.select(DAG_VERSION.c.id))
    recording.said.clear()
    opened.rows(sa.select(DAG_VERSION.c.id))
    *said, _ = recording.said
    assert [text.startswith(start) for text, start in zip(said, second, strict=True)] == [True] * len(second)


@pytest.mark.parametrize("statement", ["SELECT 1", "SELECT no_such_column"])
def test_a_transaction_is_rolled_back_whatever_happens(database: Database, statement: str) -> None:
    engine = sa.create_engine(database.url, poolclass=sa.pool.StaticPool)
    ends: list[str] = []
    for name in ("rollback", "commit"):
        sa.event.listen(engine, name, lambda _, name=name: ends.append(name))
    with contextlib.suppress(OperationalError), MetadataDatabase(engine).connection() as connection:
        connection.exec_driver_sql(statement)
    assert ends == ["rollback"]
    engine.dispose()


# ---- opening ----


def test_a_file_of_sqlite_is_opened_read_only(database: Database) -> None:
    opened = MetadataDatabase(database.url + "?timeout=30")
    with opened.connection() as connection, pytest.raises(OperationalError, match="readonly"):
        connection.execute(sa.delete(SERIALIZED_DAG))


def test_a_statement_that_takes_too_long_is_interrupted(database: Database) -> None:
    """Also where the database itself knows no time-outs."""
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    opened = MetadataDatabase(database.url, timeout=0.0)
    with pytest.raises(LoadError, match="interrupted"), opened.load_errors(), opened.connection() as connection:
        connection.exec_driver_sql(endless)


def test_an_engine_is_used_as_it_is_and_left_open(database: Database) -> None:
    """Its owner may need it."""
    engine = sa.create_engine(database.url)
    held = engine.connect()
    with SerializedDagLoader(engine) as loader:
        version = database.version("etl")
        assert loader.load(version) == payload("etl")
    assert held.exec_driver_sql("SELECT 1").scalar() == 1
    held.close()
    engine.dispose()


def test_a_database_that_is_open_already_can_be_given(database: Database) -> None:
    """Several tools share one."""
    opened = MetadataDatabase(database.url)
    assert SerializedDagLoader(opened).database is opened


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite:////nowhere/airflow.db", "there is no file /nowhere/airflow.db"),
        ("sqlite://", "none is named"),
        ("not a url", "is not understood; accepted: postgresql"),
        ("", "is not understood"),
        ("oracle9://host/db", "is not understood"),
        (f"postgresql://user:{QUOTED}@host:port/db", "is not understood"),
        (f"postgresql://user:{SECRET}@host/db", "more than one @|is not understood"),
        ("postgresql+psycopg2://user:p@s3cr3t@host/db", "more than one @"),
        ("postgresql+psycopg2://user:12/s3cr3t@host/db", "more than one @|is not understood"),
        (f"mysql+oursql://user:{QUOTED}@host/db", "is not understood"),
        (f"sqlite+aiosqlite:///{QUOTED}.db", "asynchronous driver|not installed"),
        (7, "is not understood"),
    ],
)
def test_a_url_that_cannot_be_used_says_why_without_showing_it(url: Any, said: str) -> None:
    """A part of it may be a password."""
    with pytest.raises(LoadError, match=said) as caught:
        MetadataDatabase(url)
    assert "s3cr3t" not in str(caught.value)
    assert caught.value.__context__ is None


def test_a_path_may_be_written_as_a_uri(database: Database) -> None:
    """As SQLite's own notation."""
    assert MetadataDatabase(f"sqlite:///file:{database.path}?mode=ro&uri=true").check() == "Airflow 3.3"


def test_a_file_that_is_no_database_says_so(tmp_path: Path) -> None:
    """As SQLite says it."""
    (tmp_path / "airflow.db").write_text("no database " * 100)
    with pytest.raises(LoadError, match="not a database"):
        MetadataDatabase(f"sqlite:///{tmp_path}/airflow.db").check()


def test_connections_to_servers_are_bounded_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless the URL says otherwise; and SQLAlchemy shows no parameters in its errors."""
    made: list[dict[str, Any]] = []
    monkeypatch.setattr(sa, "create_engine", lambda url, **options: made.append(options))
    for url in ("postgresql+psycopg2://h/db?connect_timeout=3", "mysql+pymysql://h/db", "oracle://h/db"):
        _engine(sa.engine.make_url(url), 5.0)
    assert [options.pop("connect_args") for options in made] == [
        {"keepalives_idle": 10, "keepalives_interval": 5},
        {"connect_timeout": 10},
        {},
    ]
    assert made[0] == {"pool_pre_ping": True, "pool_timeout": 5.0, "hide_parameters": True}


# ---- messages ----


@pytest.mark.parametrize(
    ("revision", "said"),
    [
        ("9cffe90fa0c0", "Airflow 3.4"),
        ("d2f4e1b3c5a7", "Airflow 3.3"),
        ("1d6611b6ab7c", "Airflow 3.2"),
        ("cc92b33c6709", "Airflow 3.1"),
        ("0123456789ab", "Airflow 3, revision 0123456789ab"),
        (None, "Airflow 3, revision unknown"),
    ],
)
def test_the_version_of_airflow_is_told(tmp_path: Path, revision: str | None, said: str) -> None:
    """By the revision of its tables."""
    assert MetadataDatabase(Database(tmp_path / "airflow.db", revision).url).check() == said


def test_tables_without_a_revision_are_accepted(database: Database) -> None:
    """They were made without Alembic."""
    database.execute("DROP TABLE alembic_version")
    assert MetadataDatabase(database.url).check() == "Airflow 3, of an unknown revision"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("DROP TABLE dag_version", "expected .* with the table dag_version; found an Airflow 2 database"),
        ("DROP TABLE serialized_dag", "with the table serialized_dag; found alembic_version, dag, dag_run, dag_ver"),
        ("ALTER TABLE dag_run DROP COLUMN bundle_version", "with the column dag_run.bundle_version; found"),
    ],
)
def test_a_database_of_another_kind_says_what_is_missing(database: Database, change: str, said: str) -> None:
    database.execute(change)
    with pytest.raises(LoadError, match=said):
        MetadataDatabase(database.url).check()


def test_an_empty_database_and_one_with_many_tables_are_told_apart(tmp_path: Path) -> None:
    """A few names are enough."""
    path = tmp_path / "some.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("VACUUM")
    with pytest.raises(LoadError, match="found no tables"):
        MetadataDatabase(f"sqlite:///{path}").check()
    with closing(sqlite3.connect(path)) as connection:
        for number in range(9):
            connection.execute(f"CREATE TABLE t{number} (x)")
    with pytest.raises(LoadError, match=r"found t0, t1, t2, t3, t4, \.\.\.$"):
        MetadataDatabase(f"sqlite:///{path}").check()


def test_no_password_is_ever_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in names nor in a driver's messages, in any spelling."""
    url = f"postgresql+psycopg2://user:{QUOTED}@127.0.0.1:1/db?sslpassword=t0k3n&connect_timeout=1"
    opened = MetadataDatabase(url)
    shown = f"{opened.name} {opened!r} {SerializedDagLoader(opened)!r}"
    assert "postgresql+psycopg2://user:***@127.0.0.1:1/db" in shown
    said = ProgrammingError("SELECT", {}, Exception(f"bad {SECRET} or {QUOTED} or t0k3n\nand more {SECRET}"))
    with pytest.raises(LoadError, match=r"bad \*\*\* or \*\*\* or \*\*\*$") as caught, opened.load_errors():
        raise said
    with pytest.raises(LoadError) as refused:
        opened.check()
    traces = ["".join(traceback.format_exception(each.value)) for each in (caught, refused)]
    for text in (shown, *traces):
        assert not any(secret in text for secret in (SECRET, QUOTED, "t0k3n", "s3cr3t"))


def test_an_error_without_words_is_told_by_its_kind(database: Database) -> None:
    """Rather than by nothing."""
    with pytest.raises(LoadError, match=r": ValueError$"), MetadataDatabase(database.url).load_errors():
        raise ValueError


def test_moments_without_a_zone_are_utc() -> None:
    """As Airflow writes them where the database knows no zones."""
    assert seconds(None) is None
    assert seconds(EPOCH) == seconds(EPOCH.replace(tzinfo=None)) == EPOCH.timestamp()


def test_parse_takes_what_the_columns_hold() -> None:
    """The one from the other."""
    assert parse('{"dag": 1}', None, UUID(int=1), 100) == {"dag": 1}
