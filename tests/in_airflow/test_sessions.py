"""One cache, many sessions: no session's trouble, absence or old view becomes another session's."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from importlib import import_module
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.in_airflow.conftest import Clock
from tests.in_airflow.support import api_bag, statements_of, write
from tests.support import probe
from tests.support.patience import PATIENCE

WINDOW = 30  # [core] min_serialized_dag_update_interval, seconds
Open = Callable[[], Any]


@pytest.fixture
def with_snapshots(engine: Any) -> Iterator[Open]:
    """Opens sessions that see the database as it was when their transaction began."""
    from sqlalchemy import create_engine, event
    from sqlalchemy.orm import Session

    if engine.dialect.name == "sqlite":
        made = create_engine(engine.url, connect_args={"isolation_level": None})
        event.listen(made, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
        with made.connect() as connection:
            connection.exec_driver_sql("COMMIT")
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
            connection.exec_driver_sql("BEGIN")
    else:
        made = create_engine(engine.url, isolation_level="REPEATABLE READ")
    with ExitStack() as stack:
        yield lambda: stack.enter_context(Session(made, expire_on_commit=False))
    made.dispose()


@pytest.fixture
def opened(engine: Any) -> Iterator[Open]:
    """Opens sessions as Airflow makes them."""
    from sqlalchemy.orm import Session

    with ExitStack() as stack:
        yield lambda: stack.enter_context(Session(engine, expire_on_commit=False, autoflush=False))


@pytest.fixture
def api() -> Iterator[Any]:
    """The bag of an API server."""
    made = api_bag()
    yield made
    made._component.close()


def rewrite(opened: Open, dag_id: str, text: str) -> UUID:
    """Rewrite a version in place, by a session of its own."""
    session = opened()
    version = write(session, dag_id, text=text)
    session.close()
    return version


def look(session: Any) -> None:
    """Begin the view of a session."""
    from sqlalchemy import text

    session.execute(text("SELECT count(*) FROM dag_version")).all()


def in_threads(works: list[Callable[[], Any]]) -> list[Any]:
    """Do the works in threads that start together; their results or errors, in order."""
    results: list[Any] = [None] * len(works)
    together = threading.Barrier(len(works))

    def run(index: int) -> None:
        together.wait(PATIENCE)
        try:
            results[index] = works[index]()
        except Exception as error:
            results[index] = error

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive(), "a thread hangs"
    return results


# ---- old views ----


@pytest.mark.parametrize("along", [False, True], ids=["of the version itself", "along with another version"])
def test_a_confirmation_by_an_old_view_is_good_as_of_its_beginning(
    bag: Any, opened: Open, with_snapshots: Open, clock: Clock, along: bool
) -> None:
    """Not as of now: other sessions ask for themselves once the window is over."""
    version = rewrite(opened, "seen_late", "old")
    other = rewrite(opened, "beside", "old")
    for each in (version, other):
        bag._get_dag(each, opened())
    clock.now += WINDOW
    behind = with_snapshots()
    look(behind)
    rewrite(opened, "seen_late", "new")
    clock.now += WINDOW / 4
    assert bag._get_dag(other if along else version, behind).description == "old"
    clock.now += 3 * WINDOW / 4
    assert bag._get_dag(version, opened()).description == "new"


def test_a_view_that_is_behind_is_served_what_it_sees_and_changes_nothing(
    bag: Any, opened: Open, with_snapshots: Open, clock: Clock
) -> None:
    """It sees its own newest version. A shared version keeps the content of the later view."""
    version = rewrite(opened, "behind", "old")
    behind = with_snapshots()
    look(behind)
    clock.now += 1
    rewrite(opened, "behind", "new")
    kept = bag._get_dag(version, opened())
    assert kept.description == "new"
    assert bag.get_latest_version_of_dag("behind", session=behind).description == "old"
    assert bag._get_dag(version, behind) is kept
    clock.now += WINDOW
    assert bag._get_dag(version, behind).description == "old"
    assert bag._get_dag(version, opened()) is kept


def test_a_view_that_begins_later_than_its_transaction_is_not_taken_for_an_old_one(
    bag: Any, opened: Open, with_snapshots: Open, clock: Clock
) -> None:
    """A transaction has its view from the first statement on. Between, others may confirm and rewrite a version."""
    version = rewrite(opened, "late_view", "old")
    late = with_snapshots()
    late.begin()
    clock.now += 1
    assert bag._get_dag(version, opened()).description == "old"
    rewrite(opened, "late_view", "new")
    look(late)
    clock.now += WINDOW
    assert bag._get_dag(version, late).description == "new"


def test_a_load_by_an_old_view_is_not_kept_beside_a_later_finding(
    bag: Any, opened: Open, with_snapshots: Open, clock: Clock
) -> None:
    """Although it ends later."""
    version = rewrite(opened, "late_load", "old")
    behind = with_snapshots()
    look(behind)
    clock.now += 1
    rewrite(opened, "late_load", "new")
    read = type(bag)._read_dag

    def overtaken(self: Any, serdag: Any) -> Any:
        dag = read(self, serdag)
        if dag.description == "old":
            bag.dagcache.invalidate(version)
            (found,) = in_threads([lambda: bag._get_dag(version, opened())])
            assert found.description == "new"
        return dag

    type(bag)._read_dag = overtaken
    try:
        assert bag._get_dag(version, behind).description == "old"
    finally:
        type(bag)._read_dag = read
    assert bag._get_dag(version, opened()).description == "new"


def test_a_load_by_an_old_view_is_good_for_the_rest_of_its_window(
    bag: Any, opened: Open, with_snapshots: Open, clock: Clock
) -> None:
    """The window begins with the view."""
    version = rewrite(opened, "old_load", "old")
    behind = with_snapshots()
    look(behind)
    rewrite(opened, "old_load", "new")
    clock.now += WINDOW - 1
    assert bag._get_dag(version, behind).description == "old"
    clock.now += 1
    assert bag._get_dag(version, opened()).description == "new"


def test_a_row_object_that_a_session_has_kept_does_not_become_what_everybody_gets(bag: Any, opened: Open) -> None:
    """Airflow's sessions keep row objects beyond a commit: the row is read again."""
    from airflow.models.dag_version import DagVersion

    version = rewrite(opened, "kept_row", "old")
    session = opened()
    held = session.get(DagVersion, version)
    assert held.serialized_dag.dag.description == "old"
    session.commit()
    rewrite(opened, "kept_row", "new")
    assert bag._get_dag(version, session).description == "new"
    assert bag._get_dag(version, opened()).description == "new"


# ---- the same hash, another content ----


def move(session: Any, version: UUID, fileloc: str) -> None:
    """Rewrite a row in place with the same hash, as another bundle or path does."""
    import json

    from airflow.models.serialized_dag import SerializedDagModel
    from sqlalchemy import select, update

    row = session.scalars(select(SerializedDagModel).where(SerializedDagModel.dag_version_id == version)).one()
    data = json.loads(json.dumps(row.data))
    data["dag"]["fileloc"] = fileloc
    later = datetime.now(timezone.utc) + timedelta(seconds=1)
    statement = update(SerializedDagModel).where(SerializedDagModel.dag_version_id == version)
    session.execute(statement.values(_data=data, last_updated=later))
    session.commit()
    session.close()


def test_a_rewriting_with_the_same_hash_is_noticed(bag: Any, opened: Open, clock: Clock) -> None:
    """By the newest version's readers at once, by the others once the window is over."""
    version = rewrite(opened, "moved", "same")
    before = bag._get_dag(version, opened()).fileloc
    move(opened(), version, "/elsewhere.py")
    assert bag.get_latest_version_of_dag("moved", session=opened()).fileloc == "/elsewhere.py"
    assert bag._get_dag(version, opened()).fileloc == "/elsewhere.py"
    move(opened(), version, before)
    clock.now += WINDOW
    assert bag._get_dag(version, opened()).fileloc == before


# ---- one flight, many sessions ----


class Gate:
    """Holds up the loads of one bag until it is opened."""

    def __init__(self, bag: Any) -> None:
        self.bag = bag
        self.reached = threading.Semaphore(0)
        self.opened = threading.Event()
        self.loads = 0

    def __enter__(self) -> Gate:  # noqa: PYI034 - Self is not in 3.10
        kind = type(self.bag)
        self._load = kind._load

        def held(bag: Any, load: Any) -> Any:
            self.loads += 1
            self.reached.release()
            assert self.opened.wait(PATIENCE)
            return self._load(bag, load)

        kind._load = held
        return self

    def __exit__(self, *_: object) -> None:
        self.opened.set()
        type(self.bag)._load = self._load


def waiting(bag: Any) -> int:
    """How many lookups wait for another's load."""
    return probe.waiting_threads(bag.dagcache)


def lead_and_follow(bag: Any, lead: Callable[[], Any], follow: list[Callable[[], Any]]) -> tuple[Any, list[Any], int]:
    """The outcome of a lookup that leads, those of lookups that follow it, and how many loads there were."""
    with Gate(bag) as gate:
        outcome: list[Any] = []
        leader = threading.Thread(target=lambda: outcome.extend(in_threads([lead])))
        leader.start()
        assert gate.reached.acquire(timeout=PATIENCE)
        opener = threading.Thread(target=_open_when, args=(gate, lambda: waiting(bag) == len(follow)))
        opener.start()
        followed = in_threads(follow)
        leader.join(PATIENCE)
        opener.join(PATIENCE)
    return outcome[0], followed, gate.loads


def _open_when(gate: Gate, ready: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(60_000):
        if ready():
            break
        pause.wait(0.001)
    gate.opened.set()


def test_a_broken_session_fails_alone(bag: Any, opened: Open) -> None:
    """Lookups that waited for its load load by their own sessions, once."""
    from sqlalchemy import text
    from sqlalchemy.exc import DBAPIError, PendingRollbackError

    version = rewrite(opened, "broken_leader", "read")
    broken = opened()
    with pytest.raises(DBAPIError):
        broken.execute(text("SELECT * FROM no_such_table"))

    broken.rollback()

    class Broken:
        """A session that breaks while it leads."""

        def __getattr__(self, name: str) -> Any:
            if name in ("connection", "get", "scalar", "scalars", "execute") and bag._is_loading():
                raise PendingRollbackError("this session is in the middle of a failed transaction")
            return getattr(broken, name)

    error, found, loads = lead_and_follow(
        bag, lambda: bag._get_dag(version, Broken()), [lambda: bag._get_dag(version, opened()) for _ in range(8)]
    )
    assert isinstance(error, PendingRollbackError)
    assert [dag.description for dag in found] == ["read"] * 8
    assert loads == 2


def test_a_view_without_the_row_does_not_hide_it_from_others(bag: Any, opened: Open, with_snapshots: Open) -> None:
    """Its lookup finds nothing; the lookups that waited for it find the DAG."""
    behind = with_snapshots()
    look(behind)
    version = rewrite(opened, f"unseen_{uuid4().hex}", "there")
    none, found, loads = lead_and_follow(
        bag, lambda: bag._get_dag(version, behind), [lambda: bag._get_dag(version, opened()) for _ in range(5)]
    )
    assert none is None
    assert [dag.description for dag in found] == ["there"] * 5
    assert loads == 2


def test_each_failure_is_an_error_of_its_own(bag: Any, opened: Open) -> None:
    """With a traceback of its own."""
    from tests.in_airflow.support import spoil

    version = rewrite(opened, "all_fail", "corrupt")
    spoil(opened(), version, "half of the zlib")
    error, found, loads = lead_and_follow(
        bag, lambda: bag._get_dag(version, opened()), [lambda: bag._get_dag(version, opened()) for _ in range(5)]
    )
    errors = [error, *found]
    assert all(isinstance(one, Exception) for one in errors)
    assert len({id(one) for one in errors}) == loads == 6
    assert len({id(one.__traceback__) for one in errors}) == 6


def test_a_load_that_hangs_holds_nobody_for_ever(bag: Any, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lookup waits for so long, and then loads by its own session."""
    from dagcache.airflow import bag as module

    monkeypatch.setattr(module, "PATIENCE", 0.05)
    version = rewrite(opened, "hanging", "read")
    load, hung, finish = type(bag)._load, threading.Event(), threading.Event()

    def hang(self: Any, request: Any) -> Any:
        if not hung.is_set():
            hung.set()
            assert finish.wait(PATIENCE)
        return load(self, request)

    monkeypatch.setattr(type(bag), "_load", hang)
    leader = threading.Thread(target=lambda: bag._get_dag(version, opened()))
    leader.start()
    assert hung.wait(PATIENCE)
    assert bag._get_dag(version, opened()).description == "read"
    assert bag.get_latest_version_of_dag("hanging", session=opened()).description == "read"
    finish.set()
    leader.join(PATIENCE)


def test_two_tasks_of_one_thread_load_beside_each_other(bag: Any, opened: Open, complaints: list[Any]) -> None:
    """As greenlets do: one must not wait for the other."""
    greenlet: Any = import_module("greenlet")  # no types are published with it

    version = rewrite(opened, "two_tasks", "read")
    load, found = type(bag)._load, []
    turns: list[Any] = []

    def yielding(self: Any, request: Any) -> Any:
        if len(turns) == 1:
            turns[0].parent.switch()
        return load(self, request)

    def look_up() -> None:
        found.append(bag._get_dag(version, opened()))

    type(bag)._load = yielding
    try:
        turns.append(greenlet.greenlet(look_up))
        turns[0].switch()
        turns.append(greenlet.greenlet(look_up))
        turns[1].switch()
        turns[0].switch()
    finally:
        type(bag)._load = load
    assert [dag.description for dag in found] == ["read", "read"]
    assert complaints == []


@pytest.mark.parametrize("newest", [True, False], ids=["the newest version", "a version"])
def test_a_herd_reads_a_cold_version_once(api: Any, opened: Open, engine: Any, newest: bool) -> None:
    """And once more after it was rewritten in place."""

    def look_up() -> Any:
        session = opened()
        try:
            if newest:
                return api.get_latest_version_of_dag("herd_True", session=session)
            return api._get_dag(version, session)
        finally:
            session.close()

    for text in ("cold", "rewritten"):
        version = rewrite(opened, f"herd_{newest}", text)
        if not newest:
            api._confirmed._known.clear()
        with statements_of(engine) as heard:
            found = in_threads([look_up] * 8)
        assert [dag.description for dag in found] == [text] * 8
        assert heard.payloads == 1
        assert len({id(dag) for dag in found}) == (8 if newest else 1)


# ---- operator links ----


def test_a_graph_without_the_links_that_its_bag_asked_for_is_read_again(
    api: Any, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another bag switched the links off in between; if that goes on, the graph is served and not kept."""
    import airflow.serialization.serialized_objects as module

    with_links = link_to_write(opened())
    serialization = module.DagSerialization if hasattr(module, "DagSerialization") else module.SerializedDAG
    from_dict = serialization.from_dict.__func__
    left = 0

    def disturb(cls: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal left
        if left:
            left -= 1
            cls._load_operator_extra_links = False
        return from_dict(cls, *args, **kwargs)

    monkeypatch.setattr(serialization, "from_dict", classmethod(disturb))
    for left, kept in ((1, True), (3, False)):  # noqa: B007 - used by `disturb`
        api.dagcache.clear()
        api._confirmed._known.clear()
        dag = api._get_dag(with_links, opened())
        assert (with_links in api.dagcache) is kept
        assert bool(dag.get_task("linked").operator_extra_links) is kept
    monkeypatch.undo()
    assert api._get_dag(with_links, opened()).get_task("linked").operator_extra_links


def test_bags_that_load_at_the_same_time_keep_the_links_that_each_asked_for(api: Any, opened: Open) -> None:
    """Airflow's own short-lived bags without links beside an API server's."""
    from airflow.models.dagbag import DBDagBag

    version = link_to_write(opened())
    stop = threading.Event()

    def without_links() -> int:
        count = 0
        while not stop.is_set():
            session = opened()
            DBDagBag(load_op_links=False)._get_dag(version, session)
            session.close()
            count += 1
        return count

    def with_links() -> int:
        missing = 0
        for _ in range(60):
            session = opened()
            api._get_dag(version, session)
            if version in api.dagcache:
                missing += not api._get_dag(version, session).get_task("linked").operator_extra_links
            session.close()
            api.dagcache.clear()
            api._confirmed._known.clear()
        stop.set()
        return missing

    counted, missing = in_threads([without_links, with_links])
    assert counted > 0
    assert missing == 0


def link_to_write(session: Any) -> UUID:
    """Write a DAG with a task that has an operator link; the id of its version."""
    import json

    from airflow.models.serialized_dag import SerializedDagModel
    from sqlalchemy import select, update

    version = write(session, "linked_dag", tasks=1)
    row = session.scalars(select(SerializedDagModel).where(SerializedDagModel.dag_version_id == version)).one()
    data = json.loads(json.dumps(row.data))
    task = data["dag"]["tasks"][0]["__var"]
    task["task_id"] = task["label"] = "linked"
    task["_operator_extra_links"] = {"a link": "_link_AnOperator"}
    data["dag"]["task_group"]["children"] = {"linked": ["operator", "linked"]}
    session.execute(update(SerializedDagModel).where(SerializedDagModel.dag_version_id == version).values(_data=data))
    session.commit()
    session.close()
    return version


# ---- what a session has done itself ----


@pytest.mark.parametrize("how", ["rollback", "expire", "refresh"])
def test_a_row_object_whose_columns_are_read_again_keeps_its_old_payload_to_itself(
    bag: Any, opened: Open, clock: Clock, how: str
) -> None:
    """Its hash is then the new one, and its parsed payload is not."""
    from airflow.models.serialized_dag import SerializedDagModel
    from sqlalchemy import select

    version = rewrite(opened, f"expired_{how}", "old")
    session = opened()
    held = session.scalars(select(SerializedDagModel).where(SerializedDagModel.dag_version_id == version)).one()
    assert held.dag.description == "old"
    session.commit()
    rewrite(opened, f"expired_{how}", "new")
    {"rollback": session.rollback, "expire": session.expire_all, "refresh": lambda: session.refresh(held)}[how]()
    look(session)
    assert bag._get_dag(version, session).description == "new"
    assert bag._get_dag(version, opened()).description == "new"
    assert bag.get_latest_version_of_dag(f"expired_{how}", session=opened()).description == "new"


def test_a_change_that_is_not_written_yet_stays_the_sessions_own(api: Any, opened: Open) -> None:
    """It is neither thrown away nor kept, and the session gets what it would get without the cache."""
    import json

    from airflow.models.serialized_dag import SerializedDagModel
    from sqlalchemy import select

    version = rewrite(opened, "unwritten", "written")
    session = opened()
    row = session.scalars(select(SerializedDagModel).where(SerializedDagModel.dag_version_id == version)).one()
    data = json.loads(json.dumps(row.data))
    data["dag"]["description"] = "mine"
    row._data = data
    row.dag_hash = "f" * 32
    vars(row).pop("_SerializedDagModel__data_cache", None)
    assert row in session.dirty
    assert api.get_latest_version_of_dag("unwritten", session=session).description == "mine"
    api._get_dag(version, session)
    assert row in session.dirty
    assert row.dag_hash == "f" * 32
    assert api._get_dag(version, opened()).description == "written"
    assert api.get_latest_version_of_dag("unwritten", session=opened()).description == "written"


def test_a_load_leaves_no_row_object_in_the_callers_session(api: Any, opened: Open) -> None:
    """Airflow's own code would be served from it."""
    from airflow.models.serialized_dag import SerializedDagModel

    for dag_id in ("left_1", "left_2"):
        version = rewrite(opened, dag_id, "old")
        session = opened()
        api.get_latest_version_of_dag(dag_id, session=session) if dag_id == "left_1" else api._get_dag(version, session)
        assert len(session.identity_map) == 0
        session.commit()
        rewrite(opened, dag_id, "new")
        assert SerializedDagModel.get_dag(dag_id, session=session).description == "new"


def test_a_session_on_a_connection_with_an_old_view_confirms_nothing(
    bag: Any, opened: Open, with_snapshots: Open, clock: Clock
) -> None:
    """The connection's transaction may have begun long before the session's."""
    from sqlalchemy.orm import Session

    version, other = rewrite(opened, "on_connection", "old"), rewrite(opened, "beside_it", "old")
    for each in (version, other):
        bag._get_dag(each, opened())
    with with_snapshots().get_bind().connect() as connection:
        with Session(connection) as session:
            look(session)
        rewrite(opened, "on_connection", "new")
        clock.now += WINDOW
        with Session(connection) as session:
            bag._get_dag(other, session)
            bag._get_dag(version, session)
        assert bag._get_dag(version, opened()).description == "new"
        connection.rollback()


def test_each_statement_of_a_long_transaction_sees_and_confirms_what_there_is(
    bag: Any, engine: Any, opened: Open, clock: Clock
) -> None:
    """READ COMMITTED, and SQLite without BEGIN: one statement a window, and a rewriting is seen by all."""
    version = rewrite(opened, "long", "old")
    session = opened()
    look(session)
    assert bag._get_dag(version, session).description == "old"
    clock.now += 10 * WINDOW
    with statements_of(engine) as heard:
        for _ in range(20):
            assert bag._get_dag(version, session).description == "old"
    assert len(heard.texts) == 1
    rewrite(opened, "long", "new")
    assert bag.get_latest_version_of_dag("long", session=session).description == "new"
    assert bag._get_dag(version, session).description == "new"
    assert bag._get_dag(version, opened()).description == "new"


def test_tasks_of_one_thread_leave_no_load_behind(bag: Any, opened: Open) -> None:
    """Their loads overlap, and each ends before the other's."""
    greenlet: Any = import_module("greenlet")
    versions = [rewrite(opened, f"overlapping_{number}", str(number)) for number in range(2)]
    load, found = type(bag)._load_as_airflow, {}

    def yielding(self: Any, request: Any) -> Any:
        greenlet.getcurrent().parent.switch()
        return load(self, request)

    def look_up(number: int) -> None:
        found[number] = bag._get_dag(versions[number], opened()).description

    type(bag)._load_as_airflow = yielding
    try:
        tasks = [greenlet.greenlet(look_up) for _ in versions]
        for number, task in enumerate(tasks):
            task.switch(number)
        for task in tasks:
            task.switch()
    finally:
        type(bag)._load_as_airflow = load
    assert found == {0: "0", 1: "1"}
    assert not bag._is_loading()
    assert all(version in bag.dagcache for version in versions)


def test_an_error_that_passes_keeps_nothing_of_the_session(bag: Any, opened: Open) -> None:
    """The error's frames lead to the session; nothing of ours leads back to the error."""
    import gc
    import zlib

    from dagcache.airflow.bag import _Load
    from tests.in_airflow.support import spoil

    version = rewrite(opened, "passing_error", "corrupt")
    spoil(opened(), version, "half of the zlib")

    def fail() -> None:
        with pytest.raises(zlib.error):
            bag._get_dag(version, opened())

    gc.collect()
    gc.disable()
    try:
        fail()
        assert not [item for item in gc.get_objects() if type(item) is _Load]
    finally:
        gc.enable()


def test_a_lookup_that_falls_back_counts_no_hit(bag: Any, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow's own load counts a miss."""
    told: list[int] = []
    monkeypatch.setattr(type(bag), "count_hit", lambda _: told.append(1))
    version = rewrite(opened, "fallen_back", "read")
    monkeypatch.setattr(type(bag), "_settle", lambda *_: False)
    assert bag._get_dag(version, opened()).description == "read"
    assert told == []


def test_a_lookup_waits_for_a_connection_before_others_can_wait_for_it(bag: Any, engine: Any) -> None:
    """The others may hold all connections of the pool."""
    from sqlalchemy import create_engine, text
    from sqlalchemy.exc import TimeoutError as NoConnectionError
    from sqlalchemy.orm import Session
    from sqlalchemy.pool import QueuePool

    with Session(engine) as session:
        version = write(session, "pooled")
    pooled = create_engine(engine.url, poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=0.01)
    with Session(pooled) as holder, Session(pooled) as waiting:
        holder.execute(text("SELECT 1"))
        with pytest.raises(NoConnectionError):
            bag._get_dag(version, waiting)
        assert bag.dagcache.stats().misses == 0
        assert bag._get_dag(version, holder) is not None
    pooled.dispose()
