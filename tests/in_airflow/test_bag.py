"""Corners of the cached bag: its dictionary, lookups that find no agreement, and loads that take no notes."""

from __future__ import annotations

import gc
import logging
import sys
import time
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from dagcache.airflow import bag as bag_module
from dagcache.airflow import bag as module
from dagcache.airflow.bag import CachedLookups, cached_bag
from dagcache.airflow.confirmations import RECORD_BYTES
from dagcache.airflow.payload import PayloadSizes
from dagcache.core.entry import ENTRY_OVERHEAD, LIVE_OVERHEAD
from dagcache.pressure import MemoryPressure
from dagcache.reclaim import gc_lap
from dagcache.reclaim.gc_pause import LONGEST_WAIT
from dagcache.sizing.walk import weigh
from tests.in_airflow.support import install_anew, scheduler_bag, spoil, write
from tests.support.clock import ManualClock


@pytest.fixture
def version(session: Any) -> Any:
    """A DAG, written and forgotten."""
    written = write(session, "cornered", text="read")
    session.expunge_all()
    return written


def test_the_records_of_each_version_are_part_of_its_overhead(bag: Any, session: Any) -> None:
    """Its id, its confirmation, and the slot of their table: within a tenth of what they weigh."""
    before = bag.dagcache.stats()
    versions = [write(session, f"recorded_{number}", text="read") for number in range(50)]
    session.expunge_all()
    for version in versions:
        bag._get_dag(version, session)
    records = [[key, confirmation] for key, confirmation in bag._confirmed._known.items() if key in versions]
    own = sum(weigh(record).nbytes - weigh([None, None]).nbytes for record in records) / len(records)
    slot = sys.getsizeof(bag._confirmed._known) / len(bag._confirmed._known)
    assert own + slot == pytest.approx(RECORD_BYTES, rel=0.1)
    overhead = bag.dagcache.stats().overhead_bytes - before.overhead_bytes
    assert overhead == len(versions) * (ENTRY_OVERHEAD + LIVE_OVERHEAD + RECORD_BYTES)


def test_a_bag_without_a_dictionary_stays_airflows_own(complaints: list[logging.LogRecord]) -> None:
    """A future Airflow may keep its DAGs in another way."""

    class Other:
        def __init__(self) -> None:
            self._dags = None

        def _get_dag(self, version_id: Any, session: Any) -> tuple[Any, Any]:
            return version_id, session

    made: Any = cached_bag(Other, "scheduler", lambda: pytest.fail("no component is built"))()
    assert isinstance(made, CachedLookups)
    assert made.dagcache is None
    assert made._get_dag("version", "session") == ("version", "session")
    assert [record.levelname for record in complaints] == ["ERROR"]
    assert "dagcache is off in this scheduler" in complaints[0].getMessage()


def test_the_first_lookup_after_a_lap_of_loads_ends_it(
    bag: Any, session: Any, version: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that hits: the collector is the scheduler's again."""
    usual, clock = gc.get_threshold(), ManualClock()
    monkeypatch.setattr(gc_lap._lap, "clock", clock)
    monkeypatch.setattr(MemoryPressure, "step", lambda _: None)  # the thread looks as well
    bag._get_dag(version, session)  # starts the thread after the load
    assert gc.get_threshold() != usual
    bag._get_dag(version, session)
    assert gc.get_threshold() != usual
    clock.advance(LONGEST_WAIT)
    bag._get_dag(version, session)
    assert gc.get_threshold() == usual


def test_a_lookup_that_finds_no_agreement_loads_as_airflow_does(
    bag: Any, session: Any, version: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After three rounds; the caller gets a DAG of its own."""
    kept = bag._get_dag(version, session)
    rounds: list[Any] = []

    def differs(*arguments: Any) -> bool:
        rounds.append(arguments)
        return False

    monkeypatch.setattr(bag, "_is_as_expected", differs)
    monkeypatch.setattr(bag._confirmed, "is_due", lambda *_: True)
    served = bag._get_dag(version, session)
    assert len(rounds) == module._ROUNDS
    assert served is not kept
    assert served.description == "read"
    bag.dagcache.check_invariants()


def test_an_error_of_the_database_within_a_step_of_ours_is_the_callers(
    bag: Any, session: Any, version: Any, monkeypatch: pytest.MonkeyPatch, complaints: list[logging.LogRecord]
) -> None:
    """It ends the transaction, for which the caller has rules."""

    def fail(*_: Any) -> None:
        raise OperationalError("SELECT", {}, Exception("the connection is gone"))

    monkeypatch.setattr(bag_module, "share_strings", fail)
    with pytest.raises(OperationalError, match="the connection is gone"):
        bag._get_dag(version, session)
    assert complaints == []
    assert version not in bag.dagcache
    bag.dagcache.check_invariants()


def test_a_dag_of_unknown_size_is_kept(
    bag: Any, session: Any, version: Any, monkeypatch: pytest.MonkeyPatch, complaints: list[logging.LogRecord]
) -> None:
    """The size of its row only serves the statistics."""

    def fail(*_: Any) -> None:
        raise ValueError("on purpose")

    monkeypatch.setattr(PayloadSizes, "bytes_of", fail)
    dag = bag._get_dag(version, session)
    assert bag._get_dag(version, session) is dag
    assert complaints == []


def test_a_version_that_is_set_aside_meanwhile_is_not_loaded(
    session: Any, version: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread found it corrupt after this lookup had asked."""
    install_anew("scheduler", monkeypatch, quarantine="1m")
    bag = scheduler_bag()
    fetch = bag.dagcache.fetch

    def found_corrupt(*arguments: Any, **options: Any) -> Any:
        assert bag._quarantine.takes(version, ValueError("on purpose"), time.monotonic())
        return fetch(*arguments, **options)

    monkeypatch.setattr(bag.dagcache, "fetch", found_corrupt)
    monkeypatch.setattr(bag, "_load", lambda _: pytest.fail("it is loaded"))
    try:
        assert bag._get_dag(version, session) is None
    finally:
        bag._component.close()


def test_the_newest_version_is_missing_while_it_is_set_aside(
    session: Any, version: Any, monkeypatch: pytest.MonkeyPatch, complaints: list[logging.LogRecord]
) -> None:
    """As by its version id."""
    install_anew("scheduler", monkeypatch, quarantine="1m")
    bag = scheduler_bag()
    spoil(session, version, "no keys")
    try:
        assert bag._get_dag(version, session) is None
        assert bag.get_latest_version_of_dag("cornered", session=session) is None
    finally:
        bag._component.close()
    assert len(complaints) == 1
