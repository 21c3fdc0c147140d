"""A bag with a warm store: the next process thaws what this one loaded, and never serves anything else."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import create_engine, delete, select, update
from sqlalchemy.orm import Session

from dagcache.airflow import graphs
from dagcache.airflow.allow_list import allow_list
from dagcache.airflow.component import Component
from dagcache.airflow.hook import settings_of
from dagcache.freezing.pickle_freezer import PickleFreezer
from dagcache.freezing.portable import PortableForm
from dagcache.freezing.zdict import VALUES
from dagcache.warm_start.store import WarmKey, WarmStore
from tests.in_airflow.conftest import Clock
from tests.in_airflow.support import scheduler_bag, statements_of, write
from tests.in_airflow.test_private_copies import write_dag
from tests.in_airflow.zoo import SHAPES
from tests.support.warm_store import MemoryStore

MakeBag = Callable[..., Any]


@pytest.fixture(scope="module")
def engine(sqlite_engine: Any) -> Any:
    """The statements do not depend on the backend."""
    return sqlite_engine


@pytest.fixture
def store() -> MemoryStore:
    """Outlives each bag."""
    return MemoryStore()


@pytest.fixture
def make_bag(store: MemoryStore, tmp_path: Path) -> Iterator[MakeBag]:
    """Makes bags of new processes, as far as the cache is concerned."""
    made: list[Any] = []
    kind: Any = type(scheduler_bag())

    def make(open_store: Callable[[], WarmStore] = lambda: store, *, load_op_links: bool = False) -> Any:
        def component() -> Component:
            return Component(settings_of("scheduler"), home=tmp_path, serves=True, open_store=lambda _: open_store())

        store.counts.clear()
        warm = type("WarmBag", (kind,), {"make_component": staticmethod(component)})
        others = {"cache_size": 512, "cache_ttl": 0, "stats_prefix": "scheduler.dag_bag"} if _is_cached(kind) else {}
        made.append(warm(load_op_links=load_op_links, **others))
        return made[-1]

    yield make
    for bag in made:
        bag._component.close()


def _is_cached(kind: Any) -> bool:
    return any(base.__name__ == "CachedDBDagBag" for base in kind.__mro__)


@pytest.fixture
def still_clock(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """For the lookups in the store as well."""
    from dagcache.airflow import warm_lookups

    monkeypatch.setattr(warm_lookups, "time", clock)
    return clock


def counts(store: MemoryStore) -> dict[str, int]:
    """Those of a store that are not 0, since the last bag was made."""
    return {name: count for name, count in store.counts.items() if count}


def change(session: Any, version: UUID, **columns: Any) -> None:
    """Write columns of a row past Airflow."""
    from airflow.models.serialized_dag import SerializedDagModel

    session.execute(update(SerializedDagModel).where(SerializedDagModel.dag_version_id == version).values(**columns))
    session.commit()
    session.expunge_all()


def test_the_next_process_reads_no_content(make_bag: MakeBag, store: MemoryStore, session: Any, engine: Any) -> None:
    """It asks for the identity of the content in one statement, and thaws."""
    version = write(session, "warm", text="as it was")
    session.expunge_all()
    first = make_bag()
    loaded = first._get_dag(version, session)
    assert counts(store) == {"misses": 1, "stored": 1}
    session.expunge_all()
    second = make_bag()
    with statements_of(engine) as heard:
        dag = second._get_dag(version, session)
    assert (len(heard.texts), heard.payloads) == (1, 0)
    assert counts(store) == {"hits": 1}
    assert dag is not loaded
    assert (dag.dag_id, dag.description, list(dag.task_dict)) == ("warm", "as it was", list(loaded.task_dict))
    assert dag.last_loaded > loaded.last_loaded
    stats, kept = second.dagcache.stats(), first.dagcache.frozen_copy(version)
    assert stats.live_bytes == pytest.approx(kept.prepared.live_bytes, rel=0.25)  # another copy, another estimate
    assert second.dagcache.frozen_copy(version).prepared.load_seconds == kept.prepared.load_seconds
    assert second._get_dag(version, session) is dag
    second.dagcache.check_invariants()


def test_what_was_thawed_is_frozen_without_pickling(
    make_bag: MakeBag, store: MemoryStore, session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stored bytes are the frozen copy; a copy of it thaws later."""
    version = write(session, "unpickled")
    make_bag()._get_dag(version, session)
    bag = make_bag()
    monkeypatch.setattr(PickleFreezer, "freeze", None)
    bag._get_dag(version, session)
    stats = bag.dagcache.stats()
    bag.dagcache.resize(stats.frozen_bytes + stats.overhead_bytes)
    assert bag._get_dag(version, session).dag_id == "unpickled"
    assert bag.dagcache.stats().hits_frozen == 1


def store_all(make_bag: MakeBag, versions: list[UUID], session: Any) -> None:
    """As an earlier process, which has loaded these versions."""
    first = make_bag()
    for version in versions:
        first._get_dag(version, session)


@pytest.mark.usefixtures("still_clock")
def test_neighbours_are_confirmed_by_one_statement_and_read_ahead(
    make_bag: MakeBag, store: MemoryStore, session: Any, engine: Any
) -> None:
    """A sweep of thirty versions in one transaction."""
    versions = [write(session, f"neighbour_{number:02}") for number in range(30)]
    store_all(make_bag, versions, session)
    session.commit()
    session.expunge_all()
    store.reads.clear()
    second = make_bag()
    with statements_of(engine) as heard:
        names = [second._get_dag(version, session).dag_id for version in versions]
    assert names == [f"neighbour_{number:02}" for number in range(30)]
    assert (len(heard.texts), heard.payloads) == (1, 0)
    assert len(store.reads) < 8
    assert counts(store) == {"hits": 30}


def test_a_statement_asks_for_few_more_versions_than_the_last_transaction_looked_up(
    make_bag: MakeBag, store: MemoryStore, session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And for twice as many if it turns out longer. Between ten and a hundred: others would be read in vain."""
    versions = [write(session, f"asked_{number:02}") for number in range(60)]
    store_all(make_bag, versions, session)
    second, asked = make_bag(), []
    near = store.versions_near

    def versions_near(version: UUID, limit: int) -> Sequence[UUID]:
        asked.append(limit)
        return near(version, limit)

    monkeypatch.setattr(store, "versions_near", versions_near)
    for first, last in ((0, 2), (2, 14), (14, 34), (34, 60)):
        session.commit()
        session.expunge_all()
        for version in versions[first:last]:
            second._get_dag(version, session)
    assert asked == [100, 10, 20, 15, 30, 25, 50]


def test_the_answer_about_a_neighbour_serves_one_transaction_only(
    make_bag: MakeBag, store: MemoryStore, session: Any
) -> None:
    """A row that is rewritten afterwards is read by the next transaction."""
    versions = [write(session, name, text="old") for name in ("one", "other")]
    store_all(make_bag, versions, session)
    session.commit()
    second = make_bag()
    second._get_dag(versions[0], session)
    session.commit()
    assert write(session, "other", text="new") == versions[1]
    assert second._get_dag(versions[1], session).description == "new"


def test_the_answer_about_a_neighbour_is_asked_again_after_a_second(
    make_bag: MakeBag, session: Any, engine: Any, still_clock: Clock
) -> None:
    """In the same transaction, too."""
    versions = [write(session, f"second_{number}") for number in range(3)]
    store_all(make_bag, versions, session)
    second, asked = make_bag(), []
    for version, seconds in zip(versions, (0.0, 0.9, 0.2), strict=True):
        still_clock.now += seconds
        with statements_of(engine) as heard:
            second._get_dag(version, session)
        asked.append(len(heard.texts))
    assert asked == [1, 0, 1]


@pytest.mark.usefixtures("still_clock")
def test_a_write_of_the_same_transaction_is_seen(make_bag: MakeBag, session: Any) -> None:
    """Even if the neighbour was confirmed before it, and no row object knows of it."""
    from airflow.models.serialized_dag import SerializedDagModel

    versions = [write(session, name, text="as it was") for name in ("before", "after")]
    store_all(make_bag, versions, session)
    session.commit()
    session.expunge_all()
    second = make_bag()
    second._get_dag(versions[0], session)
    is_neighbour = SerializedDagModel.dag_version_id == versions[1]
    data = copy.deepcopy(session.scalars(select(SerializedDagModel).where(is_neighbour)).one().data)
    data["dag"]["description"] = "written now"
    later = datetime(2100, 1, 1, tzinfo=timezone.utc)
    session.execute(
        update(SerializedDagModel).where(is_neighbour).values(_data=data, dag_hash="written now", last_updated=later)
    )
    session.expunge_all()
    assert second._get_dag(versions[1], session).description == "written now"
    session.rollback()


# ---- never anything else ----


def test_a_version_that_was_rewritten_in_place_is_loaded(make_bag: MakeBag, store: MemoryStore, session: Any) -> None:
    """And stored; the record of the old content is not used again."""
    version = write(session, "rewritten", text="old")
    make_bag()._get_dag(version, session)
    assert write(session, "rewritten", text="new") == version
    for expected in ({"misses": 1, "stored": 1}, {"hits": 1}):
        bag = make_bag()
        assert bag._get_dag(version, session).description == "new"
        assert counts(store) == expected


def test_content_with_the_same_hash_and_another_time_is_loaded(
    make_bag: MakeBag, store: MemoryStore, session: Any
) -> None:
    """A row may be written again with another content that hashes alike."""
    import datetime as dt

    version = write(session, "same_hash")
    make_bag()._get_dag(version, session)
    change(session, version, last_updated=dt.datetime(2027, 1, 1, tzinfo=dt.timezone.utc))
    bag = make_bag()
    bag._get_dag(version, session)
    assert counts(store) == {"misses": 1, "stored": 1}


def test_content_that_was_rolled_back_is_not_served(make_bag: MakeBag, store: MemoryStore, session: Any) -> None:
    """Even if a session has stored a DAG that it has not committed."""
    import datetime as dt

    from airflow.models.serialized_dag import SerializedDagModel

    version = write(session, "rolled_back")
    session.expunge_all()
    later = dt.datetime(2027, 1, 1, tzinfo=dt.timezone.utc)
    session.execute(
        update(SerializedDagModel)
        .where(SerializedDagModel.dag_version_id == version)
        .values(dag_hash="uncommitted", last_updated=later)
    )
    make_bag()._get_dag(version, session)
    session.rollback()
    assert store.key_of(version).dag_hash == "uncommitted"
    bag = make_bag()
    bag._get_dag(version, session)
    assert counts(store) == {"misses": 1, "stored": 1}


def test_a_version_without_a_row_is_not_served(make_bag: MakeBag, store: MemoryStore, session: Any) -> None:
    """Its record stays where it is: nothing asks for it again."""
    from airflow.models.serialized_dag import SerializedDagModel

    version = write(session, "deleted")
    make_bag()._get_dag(version, session)
    session.execute(delete(SerializedDagModel).where(SerializedDagModel.dag_version_id == version))
    session.commit()
    session.expunge_all()
    bag = make_bag()
    assert bag._get_dag(version, session) is None
    assert store.reads == []


def test_the_record_of_another_dag_is_forgotten(make_bag: MakeBag, store: MemoryStore, session: Any) -> None:
    """Under the right key: by its own word, and by what it thaws to."""
    mine, others = write(session, "mine"), write(session, "others")
    first = make_bag()
    first._get_dag(mine, session)
    first._get_dag(others, session)
    right, wrong = store.key_of(mine), store.records[store.key_of(others)]
    for record in (wrong, replace(wrong, family="mine")):
        store.records[right] = record
        bag = make_bag()
        assert bag._get_dag(mine, session).dag_id == "mine"
        assert [store.counts[name] for name in ("forgotten", "stored", "misses")] == [1, 1, 0]
        assert store.forgotten.pop() == right


@pytest.mark.parametrize("forge", [lambda data: data[:40], lambda data: b"\xff" + data[1:], lambda _: b""])
def test_a_record_that_does_not_thaw_is_forgotten(
    make_bag: MakeBag, store: MemoryStore, session: Any, forge: Callable[[bytes], bytes]
) -> None:
    """Airflow's own load serves, and its DAG takes the place of the record."""
    version = write(session, "damaged")
    make_bag()._get_dag(version, session)
    key = store.key_of(version)
    store.records[key] = replace(store.records[key], data=forge(store.records[key].data))
    bag = make_bag()
    assert bag._get_dag(version, session).dag_id == "damaged"
    assert counts(store) == {"hits": 1, "forgotten": 1, "stored": 1}
    assert store.forgotten == [key]


def test_a_record_that_names_what_is_not_allowed_runs_nothing(
    make_bag: MakeBag, store: MemoryStore, session: Any, tmp_path: Path
) -> None:
    """As a store would deliver it that has its key stolen."""
    version = write(session, "forged")
    make_bag()._get_dag(version, session)
    key = store.key_of(version)
    store.records[key] = replace(store.records[key], data=forged(tmp_path / "ran"))
    bag = make_bag()
    assert bag._get_dag(version, session).dag_id == "forged"
    assert counts(store) == {"hits": 1, "refused": 1, "stored": 1}
    assert store.not_allowed == [key]
    assert not (tmp_path / "ran").exists()


class Command:
    """Pickled, it is a command."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.text,)


def forged(path: Path) -> bytes:
    """The portable form of a value that runs a command when it is thawed without a list."""
    from dagcache.freezing.restricted import AllowList

    freezer = PickleFreezer(graphs.shared_objects(), allowed=AllowList([(os.system.__module__, "system")]))
    form = freezer.to_portable(freezer._local(freezer._deflate(freezer._pickling.pickled(Command(f"touch {path}")))))
    assert form is not None
    return form


def test_a_session_with_an_unwritten_row_uses_no_store(make_bag: MakeBag, store: MemoryStore, session: Any) -> None:
    """The row may be the one that is looked up."""
    from airflow.models.serialized_dag import SerializedDagModel

    version = write(session, "unwritten", text="as stored")
    make_bag()._get_dag(version, session)
    row = session.query(SerializedDagModel).filter_by(dag_version_id=version).one()
    row.dag_hash = "changed"
    bag = make_bag()
    bag._get_dag(version, session)
    assert counts(store) == {}
    session.rollback()


def test_a_database_error_is_airflows(make_bag: MakeBag, session: Any) -> None:
    """It passes as it would from Airflow's own load."""
    from sqlalchemy.exc import OperationalError

    version = write(session, "erring")
    make_bag()._get_dag(version, session)
    bag = make_bag()
    broken = create_engine("sqlite:///:memory:")
    with Session(broken) as without_tables, pytest.raises(OperationalError):
        bag._get_dag(version, without_tables)


class Failing(MemoryStore):
    """Breaks the promise that it never raises."""

    def versions_near(self, version_id: UUID, limit: int) -> Any:
        """Raise."""
        raise ValueError("no versions")

    def put(self, key: WarmKey, record: Any) -> None:
        """Raise."""
        raise ValueError("no place")


def test_a_store_that_raises_is_covered_by_airflows_own_load(make_bag: MakeBag, session: Any) -> None:
    """At each step."""
    version = write(session, "covered")
    failing = Failing()
    bag = make_bag(lambda: failing)
    assert bag._get_dag(version, session).dag_id == "covered"
    assert counts(failing) == {}


def test_a_store_that_does_not_open_is_off(make_bag: MakeBag, session: Any) -> None:
    """It is tried once."""
    tries = []

    def refuse() -> Any:
        tries.append(1)
        raise OSError("no folder")

    bag = make_bag(refuse)
    for name in ("first", "next"):
        assert bag._get_dag(write(session, name), session).dag_id == name
    assert len(tries) == 1


def test_a_store_that_opens_after_its_bag_was_closed_is_closed(
    make_bag: MakeBag, store: MemoryStore, session: Any
) -> None:
    """It would keep files open."""
    bags: list[Any] = []

    def open_late() -> WarmStore:
        bags[0]._component.warm.close()
        return store

    bags.append(make_bag(open_late))
    bags[0]._get_dag(write(session, "closed"), session)
    assert store.is_closed
    assert counts(store) == {}


# ---- what is stored ----


@pytest.mark.parametrize("shape", ["plugin_state", "plugin_links", "exceptions_as_values"])
def test_a_version_that_needs_the_deployments_own_code_is_not_stored(
    make_bag: MakeBag, store: MemoryStore, session: Any, shape: str
) -> None:
    """Nor one with any other name that is not on the list."""
    version = write_dag(SHAPES[shape].dag(), session)
    bag = make_bag(load_op_links=True)
    assert bag._get_dag(version, session) is not None
    assert counts(store) == {"misses": 1}
    assert not store.records


def test_the_newest_version_is_thawed_for_its_caller_alone(
    make_bag: MakeBag, store: MemoryStore, session: Any, engine: Any
) -> None:
    """With the content that its own statement has found."""
    write(session, "private")
    session.expunge_all()
    first = make_bag()
    first.get_latest_version_of_dag("private", session=session)
    assert counts(store) == {"misses": 1, "stored": 1}
    session.expunge_all()
    second = make_bag()
    with statements_of(engine) as heard:
        one = second.get_latest_version_of_dag("private", session=session)
    assert (len(heard.texts), heard.payloads) == (1, 0)
    assert counts(store) == {"hits": 1}
    other = second.get_latest_version_of_dag("private", session=session)
    assert one is not other
    assert one.task_dict["task_0"] is not other.task_dict["task_0"]


def test_a_dictionary_is_stored_once_and_found_by_its_name(make_bag: MakeBag, store: MemoryStore, session: Any) -> None:
    """The next process deflates with it as well; without it, a record is as good as none."""
    versions = [write(session, f"wordy_{number}", text=str(uuid4()) * 40) for number in range(VALUES + 2)]
    store_all(make_bag, versions, session)
    dictionaries = [key for key in store.records if not key.last_updated]
    assert len(dictionaries) == 1
    second = make_bag()
    assert second._get_dag(versions[-1], session).dag_id == f"wordy_{VALUES + 1}"
    assert counts(store) == {"hits": 2}  # with the dictionary
    second._get_dag(later := write(session, "later"), session)
    assert PortableForm.of(store.records[store.key_of(later)].data).words == dictionaries[0].version_id.bytes
    del store.records[dictionaries[0]]
    third = make_bag()
    assert third._get_dag(versions[-1], session).dag_id == f"wordy_{VALUES + 1}"
    assert counts(store) == {"hits": 2, "misses": 1, "forgotten": 1, "stored": 1}
    assert store.forgotten == [store.key_of(versions[-1])]  # else a store on disk would keep the useless record


def test_the_store_is_closed_with_its_component(make_bag: MakeBag, store: MemoryStore, session: Any) -> None:
    """And is not used afterwards."""
    bag = make_bag()
    bag._get_dag(write(session, "closed"), session)
    bag._component.close()
    assert store.is_closed
    assert bag._component.warm.look_up(uuid4(), session) is None


def test_without_a_store_nothing_of_it_is_imported() -> None:
    """Off by default, and then it costs nothing."""
    import subprocess
    import sys

    code = (
        "import tests.in_airflow.conftest, sys; from tests.in_airflow.support import scheduler_bag;"
        "scheduler_bag(); print([name for name in sys.modules if 'warm' in name and name.startswith('dagcache')"
        " or name in ('dagcache.airflow.fingerprint', 'dagcache.airflow.allow_list')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_the_allow_list_is_the_same_each_time() -> None:
    """It is a part of the fingerprint."""
    assert allow_list().names == allow_list().names
