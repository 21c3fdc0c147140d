"""The start of a transaction: what callers dropped since the last lookup is freed."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from dagcache import DagCache
from dagcache.airflow import session_starts
from tests.support.caches import KIB, make_cache
from tests.support.rings import Ring, rings

pytestmark = pytest.mark.usefixtures("only_our_objects", "no_collector")


@pytest.fixture
def session() -> Iterator[Session]:
    """A session of a database in memory."""
    engine = create_engine("sqlite://")
    with Session(engine) as opened:
        yield opened
    engine.dispose()


@pytest.fixture
def cache() -> DagCache[Any, Any]:
    """A watched cache with room for frozen copies only."""
    made, _ = make_cache(max_bytes=10 * KIB)
    session_starts.watch(made)
    session_starts.watch(made)
    return made


def test_values_that_were_dropped_are_freed_when_a_transaction_starts(
    cache: DagCache[Any, Any], session: Session
) -> None:
    held = [cache.get_or_load(key, Ring) for key in range(3)]
    held.pop()
    session.execute(text("SELECT 1"))
    assert (rings(), cache.stats().waiting) == (2, 2)
    held.clear()
    session.execute(text("SELECT 1"))
    assert rings() == 2, "within a transaction nothing is done"
    session.commit()
    session.execute(text("SELECT 1"))
    assert rings() == 0
    cache.check_invariants()


def test_a_savepoint_is_no_start(cache: DagCache[Any, Any], session: Session) -> None:
    """Its session goes on, with all that its caller holds."""
    session.execute(text("SELECT 1"))
    cache.get_or_load("a", Ring)
    with session.begin_nested():
        assert rings() == 1


def test_a_failure_does_not_reach_the_caller_of_the_session(
    cache: DagCache[Any, Any], session: Session, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_cache: object) -> None:
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr(DagCache, "free_dropped", fail)
    assert session.execute(text("SELECT 1")).scalar() == 1
    assert "a lookup frees them" in caplog.text


def test_a_watched_cache_is_not_kept_alive(session: Session) -> None:
    """It may be a bag's that Airflow drops."""
    made, _ = make_cache()
    session_starts.watch(made)
    before = len(session_starts._caches)
    made.close()
    del made
    gc.collect()
    session.execute(text("SELECT 1"))
    assert len(session_starts._caches) < before
