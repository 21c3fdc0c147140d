"""`SerializedDagModel.dag`, which Airflow's readers past the bag take: served, or Airflow's own, and never shared."""

from __future__ import annotations

import gc
import logging
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.orm import make_transient

from dagcache.airflow import row_property, row_reader
from dagcache.airflow.confirmations import Confirmations
from dagcache.core.loaded import Fetched
from dagcache.errors import FreezeError, RecursiveLoadError
from dagcache.freezing.pickle_freezer import PickleFreezer
from dagcache.stats import CacheStats
from tests.in_airflow.parts import mutable_parts, shared_parts
from tests.in_airflow.support import install_anew, scheduler_bag, spoil, use_site, write
from tests.in_airflow.test_private_copies import assert_is_stocks, write_dag

pytestmark = pytest.mark.served_rows


@pytest.fixture(scope="module", autouse=True)
def _give_it_back() -> Iterator[None]:
    """The property is the process's: other tests compare with Airflow's own."""
    yield
    row_property.stop()


@pytest.fixture(scope="module")
def engine(sqlite_engine: Any) -> Any:
    """Of a database of this module: most of these tests do not depend on the backend."""
    return sqlite_engine


def failing_freezes(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Have each freeze fail; the values that were to be frozen."""
    attempts: list[object] = []

    def fail(value: object) -> None:
        attempts.append(value)
        raise FreezeError("not this one", type(value))

    monkeypatch.setattr(PickleFreezer, "freeze", lambda _, value: fail(value))
    return attempts


@pytest.fixture
def rows(session: Any) -> Callable[..., Any]:
    """Reads a DAG's newest row as a reader past the bag does, ``rows(dag_id)``, in a session without row objects."""
    from airflow.models.serialized_dag import SerializedDagModel

    def read(dag_id: str, *, links: bool = False) -> Any:
        session.expunge_all()
        row = SerializedDagModel.get(dag_id, session=session)
        row.load_op_links = links
        return row

    return read


@pytest.fixture
def stock(rows: Callable[..., Any]) -> Callable[..., Any]:
    """Airflow's own value of the property."""

    def load(dag_id: str, *, links: bool = False) -> Any:
        found = vars(type(row := rows(dag_id, links=links)))["dag"]
        return getattr(found, "stock", found).fget(row)

    return load


def counts(bag: Any) -> CacheStats:
    """All counts and bytes of a bag's cache."""
    stats: CacheStats = bag.dagcache.stats()
    return replace(stats, next_victim_idle_seconds=0.0)


def loads(bag: Any) -> int:
    """Loads of rows so far."""
    stats: CacheStats = bag.dagcache.stats()
    return stats.loads


# ---- served ----


def test_a_version_that_the_cache_has_is_thawed_and_not_built_again(
    bag: Any, session: Any, rows: Callable[..., Any], stock: Callable[..., Any]
) -> None:
    """One lookup, one thaw, no hit of a live copy; in lock-step with Airflow's own."""
    version = write(session, "thawed", tasks=5, params={"limit": 3})
    assert bag._get_dag(version, session) is not None
    before = bag.dagcache.stats()
    dag = rows("thawed").dag
    after = bag.dagcache.stats()
    assert (after.hits_frozen - before.hits_frozen, after.misses - before.misses) == (1, 0)
    assert (after.hits_live, after.loads) == (before.hits_live, before.loads)
    assert_is_stocks(dag, stock, "thawed")
    bag.dagcache.check_invariants()


def test_what_a_reader_does_to_its_dag_the_next_reader_does_not_see(
    bag: Any, session: Any, rows: Callable[..., Any], stock: Callable[..., Any]
) -> None:
    """The grid takes a part of the DAG out of it."""
    version = write(session, "changed", tasks=4)
    for _ in range(3):
        dag = rows("changed").dag
        dag.tags.add("mine")
        dag.task_dict.clear()
        dag.task_group.children.clear()
    assert_is_stocks(rows("changed").dag, stock, "changed")
    assert len(bag._get_dag(version, session).task_dict) == 4


def test_each_of_eight_threads_has_a_graph_of_its_own(bag: Any, engine: Any, session: Any) -> None:
    """Also when they meet at the first load."""
    from airflow.models.serialized_dag import SerializedDagModel
    from sqlalchemy.orm import Session

    write(session, "met", tasks=6)
    barrier = threading.Barrier(8)

    def read() -> Any:
        with Session(engine) as own:
            row: Any = SerializedDagModel.get("met", session=own)
            row.load_op_links = False
            barrier.wait()
            return row.dag

    with ThreadPoolExecutor(8) as pool:
        held = [future.result() for future in [pool.submit(read) for _ in range(8)]]
    with Session(engine) as own:
        row: Any = SerializedDagModel.get("met", session=own)
        plain = vars(type(row))["dag"].stock.fget
        exempt = mutable_parts(plain(row)).keys() & mutable_parts(plain(row)).keys()
    assert shared_parts(held, exempt) == []
    assert len({id(dag) for dag in held}) == 8
    bag.dagcache.check_invariants()


def test_all_shapes_of_dags_are_what_airflow_builds(
    bag: Any, session: Any, rows: Callable[..., Any], stock: Callable[..., Any]
) -> None:
    """Once by a load and once by a thaw."""
    from tests.in_airflow.api_dags.shapes import all_shapes

    for dag in all_shapes():
        write_dag(dag, session)
        for _ in range(2):
            assert_is_stocks(rows(dag.dag_id).dag, stock, dag.dag_id)
    bag.dagcache.check_invariants()


# ---- the content is that of the row ----


def test_a_row_that_was_rewritten_is_never_served_from_older_content(
    bag: Any, session: Any, rows: Callable[..., Any]
) -> None:
    """Also within the window in which the bag asks nothing."""
    version = write(session, "rewritten", text="old")
    assert bag._get_dag(version, session).description == "old"
    assert write(session, "rewritten", text="new") == version
    before = counts(bag)
    assert rows("rewritten").dag.description == "new"
    assert counts(bag) == before
    bag._confirmed.retract(version, bag._confirmed.get(version))
    assert bag._get_dag(version, session).description == "new"
    assert rows("rewritten").dag.description == "new"
    assert bag.dagcache.stats().hits_frozen == before.hits_frozen + 1
    bag.dagcache.check_invariants()


def test_a_row_that_is_older_than_the_entry_is_airflows_load_and_changes_nothing(
    bag: Any, session: Any, rows: Callable[..., Any]
) -> None:
    """A row object outlives the transaction that it was read in."""
    version = write(session, "older", text="old")
    row = rows("older")
    session.expunge(row)
    assert write(session, "older", text="new") == version
    session.expunge_all()
    assert bag._get_dag(version, session).description == "new"
    before = counts(bag)
    assert row.dag.description == "old"
    assert counts(bag) == before
    assert bag._get_dag(version, session).description == "new"


def test_a_row_with_the_same_hash_and_another_time_is_another_content(
    bag: Any, session: Any, rows: Callable[..., Any]
) -> None:
    """Airflow rewrites a row with the same hash when a DAG moves."""
    from airflow.models.serialized_dag import SerializedDagModel

    version = write(session, "moved")
    assert bag._get_dag(version, session) is not None
    of_version = SerializedDagModel.dag_version_id == version
    session.execute(update(SerializedDagModel).where(of_version).values(dag_hash=SerializedDagModel.dag_hash))
    session.commit()
    before = counts(bag)
    assert rows("moved").dag.dag_id == "moved"
    assert counts(bag) == before


def doubtful(row: Any, session: Any, how: str) -> None:
    """Bring a row's content into doubt."""
    if how == "parsed before":
        assert row.data["dag"]
    elif how == "changed":
        row.dag_hash = "other"
    elif how == "expired":
        session.expire(row, ["last_updated"])
    elif how == "without a time":
        vars(row)["last_updated"] = None
    elif how == "without a version":
        vars(row)["dag_version_id"] = "text"
    elif how == "created here":
        make_transient(row)


@pytest.mark.parametrize(
    "how", ["parsed before", "changed", "expired", "without a time", "without a version", "created here"]
)
def test_a_row_object_in_doubt_is_airflows_load(
    bag: Any, session: Any, rows: Callable[..., Any], complaints: list[logging.LogRecord], how: str
) -> None:
    """It is neither served nor offered."""
    version = write(session, "doubtful")
    assert bag._get_dag(version, session) is not None
    row = rows("doubtful")
    with session.no_autoflush:
        doubtful(row, session, how)
        before = counts(bag)
        assert row.dag.dag_id == "doubtful"
    assert counts(bag) == before
    assert complaints == []
    session.rollback()


def test_a_detached_row_is_served(bag: Any, session: Any, rows: Callable[..., Any]) -> None:
    """The grid detaches the rows of older versions."""
    version = write(session, "detached")
    assert bag._get_dag(version, session) is not None
    row = rows("detached")
    session.expunge(row)
    assert row.dag.dag_id == "detached"
    assert bag.dagcache.stats().hits_frozen == 1


# ---- operator links ----


def link_tasks() -> None:
    """A task whose class has a link."""
    from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator

    TriggerDagRunOperator(task_id="linked", trigger_dag_id="other")


def test_a_dag_with_links_is_served_only_with_the_bags_setting(
    bag: Any, session: Any, rows: Callable[..., Any], stock: Callable[..., Any]
) -> None:
    """A scheduler's bag has none; its asset-triggered runs ask for links, by the default of the row's class."""
    version = write(session, "linked", add_tasks=link_tasks)
    assert bag._get_dag(version, session) is not None
    before = counts(bag)
    dag = rows("linked", links=True).dag
    assert counts(bag) == before
    assert [link.name for link in dag.get_task("linked").operator_extra_links] == ["Triggered DAG"]
    without = rows("linked").dag
    assert bag.dagcache.stats().hits_frozen == before.hits_frozen + 1
    assert list(without.get_task("linked").operator_extra_links) == []
    assert_is_stocks(without, stock, "linked")


@pytest.mark.parametrize("compressed", [False, True])
def test_a_dag_without_any_link_is_served_with_either_setting(
    bag: Any, session: Any, rows: Callable[..., Any], stock: Callable[..., Any], compressed: bool
) -> None:
    """Both loads give the same graph. A compressed row is not looked into."""
    version = write(session, "unlinked")
    if compressed:
        compress(version, session)
    assert bag._get_dag(version, session) is not None
    dag = rows("unlinked", links=True).dag
    assert bag.dagcache.stats().hits_frozen == (not compressed)
    assert_is_stocks(dag, lambda dag_id: stock(dag_id, links=True), "unlinked")


def compress(version: Any, session: Any) -> None:
    """As ``[core] compress_serialized_dags`` has a row written."""
    import json
    import zlib

    from airflow.models.serialized_dag import SerializedDagModel
    from sqlalchemy import null

    of_version = SerializedDagModel.dag_version_id == version
    row = session.query(SerializedDagModel).filter(of_version).one()
    columns: Any = {"_data": null(), "_data_compressed": zlib.compress(json.dumps(row.data).encode())}
    session.execute(update(SerializedDagModel).where(of_version).values(columns))
    session.commit()
    session.expunge_all()


def test_links_that_a_plugin_adds_count_as_links(
    bag: Any, session: Any, rows: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are in no payload."""
    from dagcache.airflow import operator_links

    version = write(session, "plugged")
    assert bag._get_dag(version, session) is not None
    added = {("EmptyOperator", "airflow.providers.standard.operators.empty"): {"a plugin's"}}
    monkeypatch.setattr(operator_links, "_links_of_plugins", lambda: added)
    before = counts(bag)
    _ = rows("plugged", links=True).dag
    assert counts(bag) == before


# ---- Airflow's own ----


@pytest.mark.parametrize("kind", ["no zlib", "an unknown version", "a list", "neither column"])
def test_an_unreadable_row_raises_airflows_own_error(
    bag: Any, session: Any, rows: Callable[..., Any], complaints: list[logging.LogRecord], kind: str
) -> None:
    """At each read, unwrapped."""
    version = write(session, "unreadable")
    spoil(session, version, kind)
    plain = vars(type(rows("unreadable")))["dag"].stock.fget
    for _ in range(2):
        with pytest.raises(Exception) as own:  # noqa: PT011 - of any class
            plain(rows("unreadable"))
        with pytest.raises(type(own.value)) as ours:
            _ = rows("unreadable").dag
        assert str(ours.value) == str(own.value)
    assert complaints == []
    bag.dagcache.check_invariants()


def test_a_fault_of_the_reader_is_one_log_line_and_airflows_load(
    bag: Any,
    session: Any,
    rows: Callable[..., Any],
    complaints: list[logging.LogRecord],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write(session, "faulty")

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr(row_reader, "facts_of", fail)
    assert rows("faulty").dag.dag_id == "faulty"
    monkeypatch.undo()
    monkeypatch.setattr(type(bag.dagcache), "fetch", fail)
    assert rows("faulty").dag.dag_id == "faulty"
    assert len(complaints) in (1, 2)
    assert all("Airflow's own load serves it" in record.getMessage() for record in complaints)


@pytest.mark.parametrize(
    "answer", [RecursiveLoadError("another task of this thread loads it"), Fetched("a DAG", "of another content")]
)
def test_a_read_that_the_cache_cannot_answer_is_airflows_load(
    bag: Any,
    session: Any,
    rows: Callable[..., Any],
    complaints: list[logging.LogRecord],
    monkeypatch: pytest.MonkeyPatch,
    answer: Any,
) -> None:
    """Two greenlets of one thread, and an entry that was replaced meanwhile."""
    write(session, "unanswered")

    def fetch(*_: Any, **__: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(bag.dagcache, "fetch", fetch)
    assert rows("unanswered").dag.dag_id == "unanswered"
    assert complaints == []


def test_airflows_own_load_by_a_bag_takes_airflows_own_property(
    bag: Any, session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the cache fails, the load that stands for it must not ask the cache again."""
    version = write(session, "by_itself")
    session.expunge_all()

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr(bag.dagcache, "get_or_load", fail)
    monkeypatch.setattr(bag.dagcache, "fetch", fail)
    monkeypatch.setattr(row_reader.RowReader, "dag_of", fail)
    assert bag._get_dag(version, session).dag_id == "by_itself"


@pytest.mark.parametrize("settings", [{"mode": "off"}, {"frozen": "False"}])
def test_without_a_cache_or_its_frozen_copies_the_property_is_airflows(
    session: Any, rows: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    """With `mode = off` a process never replaces it."""
    row_property.stop()
    install_anew("scheduler", monkeypatch, **settings)
    bag = scheduler_bag()
    write(session, "plain")
    for _ in range(2):
        assert rows("plain").dag.dag_id == "plain"
    if settings == {"mode": "off"}:
        assert type(vars(type(rows("plain")))["dag"]) is property
    else:
        assert bag.dagcache.stats().lookups == 0
        bag._component.close()


def test_a_version_that_has_no_frozen_form_is_loaded_without_the_cache(
    bag: Any, session: Any, rows: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader never freezes."""
    attempts = failing_freezes(monkeypatch)
    version = write(session, "unfreezable")
    assert rows("unfreezable").dag.dag_id == "unfreezable"
    assert len(attempts) == 0
    assert bag._get_dag(version, session) is not None
    before = counts(bag)
    assert rows("unfreezable").dag.dag_id == "unfreezable"
    assert counts(bag) == before
    assert len(attempts) == 1


def test_a_reader_of_a_version_that_the_cache_does_not_have_leaves_no_trace(
    bag: Any, session: Any, rows: Callable[..., Any], engine: Any
) -> None:
    """No lookup, no entry, and no statement: Airflow's own property asks no database."""
    from tests.in_airflow.support import statements_of

    write(session, "unknown_yet", tasks=4)
    row = rows("unknown_yet")
    before = counts(bag)
    with statements_of(engine) as heard:
        assert row.dag.dag_id == "unknown_yet"
    assert heard.texts == []
    assert counts(bag) == before


def test_a_row_that_was_changed_without_a_trace_reaches_no_other_reader(
    bag: Any, session: Any, rows: Callable[..., Any]
) -> None:
    """SQLAlchemy does not track changes within a column."""
    version = write(session, "poisoned", text="of the database")
    row = rows("poisoned")
    row._data["dag"]["description"] = "of one reader"
    assert row.dag.description == "of one reader"
    assert rows("poisoned").dag.description == "of the database"
    assert bag._get_dag(version, session).description == "of the database"
    session.expunge_all()


def test_an_entry_that_leaves_in_the_middle_of_a_read_is_airflows_load(
    bag: Any, session: Any, rows: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lookup finds nothing, and is counted as such."""
    write(session, "leaving")
    monkeypatch.setattr(row_reader.RowReader, "_is_served", lambda *_: True)
    assert rows("leaving").dag.dag_id == "leaving"
    stats = bag.dagcache.stats()
    assert (stats.absent, stats.lookups, stats.entries) == (1, 1, 0)
    bag.dagcache.check_invariants()


def test_a_forked_child_of_a_scheduler_has_airflows_own_property(
    bag: Any, session: Any, rows: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An executor's children inherit the bag, and are no component."""
    write(session, "inherited")
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert rows("inherited").dag.dag_id == "inherited"
    assert bag.dagcache.stats().lookups == 0


def test_a_bag_that_is_gone_serves_nothing(session: Any, rows: Callable[..., Any]) -> None:
    """Then the property is Airflow's own."""
    write(session, "orphaned")
    row_property.stop()
    bag = scheduler_bag()
    assert row_property.serving() is bag
    bag._component.close()
    del bag
    gc.collect()
    assert row_property.serving() is None
    assert rows("orphaned").dag.dag_id == "orphaned"


def test_a_second_bag_that_dies_leaves_the_property_to_the_first(
    bag: Any, session: Any, rows: Callable[..., Any]
) -> None:
    """A plugin may build a bag for a moment in the component's process."""
    version = write(session, "inherits")
    assert bag._get_dag(version, session) is not None
    second = scheduler_bag()
    assert row_property.serving() is second
    second._component.close()
    del second
    gc.collect()
    assert row_property.serving() is bag
    assert rows("inherits").dag.dag_id == "inherits"
    assert bag.dagcache.stats().hits_frozen == 1
    bag.dagcache.check_invariants()


def _with(**parts: Any) -> Any:
    from airflow.models.serialized_dag import SerializedDagModel

    known = {name: vars(SerializedDagModel)[name] for name in ("data", *row_property._COLUMNS)}
    found = vars(SerializedDagModel)["dag"]
    known["dag"] = getattr(found, "stock", found)
    return type("Other", (), {name: part for name, part in {**known, **parts}.items() if part is not None})


@pytest.mark.parametrize(
    ("parts", "fault"),
    [
        ({"dag": None}, "of another shape"),
        ({"dag": property(len)}, "of another shape"),
        ({"dag": property(lambda row: row.data, lambda row, value: None)}, "of another shape"),
        ({"dag": property(lambda row: row.data)}, "not built from"),
        ({"dag_hash": None}, "there is no dag_hash"),
        ({"last_updated": None, "_data": None}, "there is no last_updated, _data"),
        ({"data": property(lambda row: row._data)}, "elsewhere"),
    ],
)
def test_a_property_of_another_shape_is_not_served(parts: dict[str, Any], fault: str) -> None:
    """A future Airflow may build its DAGs from other columns."""
    assert row_property.unknown_property(_with()) == ""
    assert fault in row_property.unknown_property(_with(**parts))


def test_an_unknown_property_is_one_log_line_and_the_bag_serves(
    session: Any, complaints: list[logging.LogRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_property, "unknown_property", lambda _: "another shape")
    row_property.stop()
    bag = scheduler_bag()
    assert bag.dagcache is not None
    assert ["SerializedDagModel.dag" in record.getMessage() for record in complaints] == [True]
    assert bag._get_dag(write(session, "bag_only"), session) is not None
    bag._component.close()


# ---- the runs that a scheduler creates ----


@pytest.fixture
def runner() -> Iterator[Any]:
    """A scheduler that does not run."""
    from airflow.jobs.job import Job
    from airflow.jobs.scheduler_job_runner import SchedulerJobRunner

    if not hasattr(SchedulerJobRunner, "_get_current_dag"):
        pytest.skip("a function of Airflow 3.1, which reads the row's property")
    made: Any = SchedulerJobRunner(job=Job())
    yield made
    made.scheduler_dag_bag._component.close()


def test_the_dag_of_a_new_run_is_the_newest_version_without_its_row(
    runner: Any, engine: Any, session: Any, stock: Callable[..., Any]
) -> None:
    """Private, equal to Airflow's own, and without reading content that the cache has."""
    from tests.in_airflow.support import statements_of

    write(session, "created", tasks=4)
    assert_is_stocks(runner._get_current_dag("created", session=session), stock, "created")
    session.expunge_all()
    with statements_of(engine) as heard:
        dag = runner._get_current_dag(dag_id="created", session=session)
    assert (len(heard.texts), heard.payloads) == (1, 0)
    assert_is_stocks(dag, stock, "created")
    assert runner._get_current_dag("created", session) is not dag
    write(session, "created", tasks=5)
    assert len(runner._get_current_dag("created", session).task_dict) == 5
    assert runner._get_current_dag("no such DAG", session) is None


def test_a_new_run_leaves_the_object_alone_that_running_runs_share(runner: Any, session: Any) -> None:
    """Airflow's own reader does not touch the bag."""
    version = write(session, "shared_by_runs")
    shared = runner.scheduler_dag_bag._get_dag(version, session)
    assert runner._get_current_dag("shared_by_runs", session) is not shared
    assert runner.scheduler_dag_bag._get_dag(version, session) is shared


def test_content_that_is_rolled_back_reaches_no_other_session(runner: Any, engine: Any, session: Any) -> None:
    """A new run's DAG may be read in the transaction that has written it."""
    from airflow.models.serialized_dag import SerializedDagModel
    from sqlalchemy.orm import Session

    version = write(session, "phantom", text="committed")
    of_version = SerializedDagModel.dag_version_id == version
    row = session.query(SerializedDagModel).filter(of_version).one()
    content = {**row.data, "dag": {**row.data["dag"], "description": "rolled back"}}
    session.expunge_all()
    with Session(engine) as writer:
        writer.execute(update(SerializedDagModel).where(of_version).values(_data=content, dag_hash="other"))
        assert runner._get_current_dag("phantom", writer).description == "rolled back"
        writer.rollback()
    with Session(engine) as reader:
        assert runner.scheduler_dag_bag._get_dag(version, reader).description == "committed"


def test_a_load_that_was_overtaken_is_kept_by_the_next_run(
    runner: Any, session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says nothing about the value: the next run tries again, and the run after it has a thaw."""
    write(session, "overtaken", tasks=4)
    cache = runner.scheduler_dag_bag.dagcache
    with monkeypatch.context() as patch:
        patch.setattr(Confirmations, "confirm", lambda *_: False)  # a later view has other content
        assert runner._get_current_dag("overtaken", session) is not None
    assert (cache.stats().loads, len(cache)) == (1, 0)
    assert runner._get_current_dag("overtaken", session) is not None
    assert (cache.stats().loads, len(cache)) == (2, 1)
    assert runner._get_current_dag("overtaken", session) is not None
    assert (cache.stats().loads, cache.stats().hits_frozen) == (2, 1)
    cache.check_invariants()


def test_a_version_that_the_cache_cannot_freeze_is_read_by_airflow_from_then_on(
    runner: Any, session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each further attempt would cost more than Airflow's own load."""
    attempts = failing_freezes(monkeypatch)
    write(session, "never_frozen")
    for _ in range(3):
        assert runner._get_current_dag("never_frozen", session).dag_id == "never_frozen"
    assert len(attempts) == 1
    assert runner.scheduler_dag_bag.dagcache.stats().loads == 1


def test_an_unreadable_dag_of_a_new_run_is_logged_by_airflow_and_skipped(
    runner: Any, session: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Airflow's own method meets the error and reports it."""
    version = write(session, "unreadable_new")
    spoil(session, version, "an unknown version")
    logged: list[str] = []
    runner._log = type("Log", (), {"exception": lambda _, text, *words: logged.append(text % words)})()
    assert runner._get_current_dag("unreadable_new", session) is None
    assert logged == ["Failed to deserialize DAG 'unreadable_new'"]


def test_a_scheduler_with_another_method_keeps_it(complaints: list[logging.LogRecord]) -> None:
    """The property of rows serves there."""
    from dagcache.airflow import current_dag

    class Other:
        def _get_current_dag(self, dag_id: str) -> None: ...

    before = vars(Other)["_get_current_dag"]
    assert not current_dag.serve(Other)
    assert vars(Other)["_get_current_dag"] is before
    assert not current_dag.serve(type("None", (), {}))
    assert len(complaints) == 1
    module, _ = use_site("scheduler")
    assert current_dag.serve(module.SchedulerJobRunner) is hasattr(module.SchedulerJobRunner, "_get_current_dag")
