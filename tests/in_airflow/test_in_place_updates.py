"""A version that Airflow rewrites in place: same id, new content."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from dagcache.airflow import component, rows
from tests.in_airflow.conftest import Clock
from tests.in_airflow.support import scheduler_bag, statements_of, write
from tests.support.clock import ManualClock

WINDOW = 30  # [core] min_serialized_dag_update_interval, seconds


def text(bag: Any, version: Any, session: Any) -> str:
    """The description of a version's DAG, as the bag has it."""
    return str(bag._get_dag(version, session).description)


def test_a_rewritten_version_is_served_anew_once_the_window_is_over(
    bag: Any, session: Any, engine: Any, clock: Clock
) -> None:
    """Within it nothing is asked: Airflow itself rewrites no more often."""
    version = write(session, "rewritten", text="old")
    session.expunge_all()
    assert text(bag, version, session) == "old"
    assert write(session, "rewritten", text="new") == version
    session.expunge_all()
    clock.now += WINDOW - 1
    with statements_of(engine) as heard:
        assert text(bag, version, session) == "old"
    assert heard.texts == []
    clock.now += 1
    assert text(bag, version, session) == "new"
    clock.now += WINDOW
    with statements_of(engine) as heard:
        assert text(bag, version, session) == "new"
    assert (len(heard.texts), heard.payloads) == (1, 0)


def test_a_row_that_the_callers_session_still_holds_does_not_hide_the_rewriting(
    bag: Any, session: Any, engine: Any, clock: Clock
) -> None:
    """Airflow's sessions keep rows, and rows keep their parsed content, beyond a commit."""
    from airflow.models.dag_version import DagVersion
    from sqlalchemy.orm import Session

    with Session(engine) as other:
        version = write(other, "held", text="old")
    held = session.get(DagVersion, version)
    assert held.serialized_dag.dag.description == "old"
    assert text(bag, version, session) == "old"
    session.commit()
    with Session(engine) as other:
        write(other, "held", text="new")
    clock.now += WINDOW
    assert text(bag, version, session) == "new"
    assert held.serialized_dag.dag.description == "old", "the session's own row objects are left alone"


def test_the_newest_version_of_a_dag_is_never_out_of_date(bag: Any, session: Any, clock: Clock) -> None:
    """The API server compares its hash at each lookup, also within the window."""
    version = write(session, "newest", text="old")
    assert bag.get_latest_version_of_dag("newest", session=session).description == "old"
    write(session, "newest", text="new")
    assert bag.get_latest_version_of_dag("newest", session=session).description == "new"
    assert text(bag, version, session) == "new"


def test_the_newest_version_is_read_once(bag: Any, session: Any, engine: Any) -> None:
    """After that its hash is asked for, not its content; each caller has an object of its own."""
    write(session, "read_once")
    session.expunge_all()
    with statements_of(engine) as heard:
        first = bag.get_latest_version_of_dag("read_once", session=session)
    assert heard.payloads == 1
    session.expunge_all()
    with statements_of(engine) as heard:
        second = bag.get_latest_version_of_dag("read_once", session=session)
    assert second.dag_id == first.dag_id
    assert second is not first
    assert (len(heard.texts), heard.payloads) == (1, 0)


def test_a_thousand_revalidations_load_once(bag: Any, session: Any, engine: Any, clock: Clock) -> None:
    """Each asks for a hash; the entry stays the one that it is."""
    version = write(session, "revalidated")
    first = bag._get_dag(version, session)
    before = bag.dagcache.stats()
    with statements_of(engine) as heard:
        for _ in range(1000):
            clock.now += WINDOW
            assert bag._get_dag(version, session) is first
    after = bag.dagcache.stats()
    assert (len(heard.texts), heard.payloads) == (1000, 0)
    assert (after.misses, after.entries) == (before.misses, 1)
    assert after.hits_live - before.hits_live == 1000


def test_versions_that_are_due_together_are_asked_for_together(
    bag: Any, session: Any, engine: Any, clock: Clock
) -> None:
    """One statement for all of them. The rewritten one is loaded again."""
    versions = [write(session, f"together_{number}", text="old") for number in range(5)]
    first = [bag._get_dag(version, session) for version in versions]
    session.expunge_all()
    write(session, "together_3", text="new")
    session.expunge_all()
    session.commit()
    clock.now += WINDOW
    with statements_of(engine) as heard:
        same = [bag._get_dag(version, session) is dag for version, dag in zip(versions[:3], first, strict=False)]
    assert (same, len(heard.texts), heard.payloads) == ([True] * 3, 1, 0)
    assert text(bag, versions[3], session) == "new"
    with statements_of(engine) as heard:
        assert bag._get_dag(versions[4], session) is first[4]
    assert heard.texts == []


def test_current_content_does_not_bring_back_an_entry_whose_time_is_up(
    session: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only lookups keep an entry, not an unchanged hash."""
    idle = ManualClock()
    monkeypatch.setattr(component, "monotonic", idle)
    bag = scheduler_bag()
    version = write(session, "idle")
    first = bag._get_dag(version, session)
    idle.now += bag.dagcache.config.ttl - 1
    clock.now += WINDOW
    assert bag._get_dag(version, session) is first
    idle.now += bag.dagcache.config.ttl + 1
    clock.now += WINDOW
    assert bag._get_dag(version, session) is not first
    assert bag.dagcache.stats().misses == 2
    bag._component.close()


def test_a_loaded_dag_holds_equal_strings_once(bag: Any, session: Any) -> None:
    """It saves a quarter of the weight of a DAG's tasks."""
    version = write(session, "shared", tasks=3)
    session.expunge_all()
    tasks = list(bag._get_dag(version, session).task_dict.values())
    assert len({id(task._task_module) for task in tasks}) == 1


def test_the_window_begins_when_the_row_is_read_and_not_when_it_is_loaded(
    bag: Any, session: Any, engine: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change between the two is seen once the window is over."""
    from sqlalchemy.orm import Session

    version = write(session, "between", text="old")
    session.expunge_all()
    assert text(bag, version, session) == "old"
    assert write(session, "between", text="newer") == version
    session.expunge_all()
    reading = rows.reading

    @contextmanager
    def slowly(session: Any) -> Iterator[Any]:
        with reading(session) as reader:
            yield reader
        session.commit()
        with Session(engine) as other:
            write(other, "between", text="newest")
        clock.now += 1

    session.commit()
    clock.now += WINDOW
    with monkeypatch.context() as patch:
        patch.setattr(rows, "reading", slowly)
        assert text(bag, version, session) == "newer"
    clock.now += WINDOW - 1
    session.expunge_all()
    assert text(bag, version, session) == "newest"
