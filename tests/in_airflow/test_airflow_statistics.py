"""Airflow's own statistics of its bags: the cache counts the same as stock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest

from tests.in_airflow.support import api_bag, go_back_to_stock, scheduler_bag, write

MAKE = {"scheduler": scheduler_bag, "api_server": api_bag}


def told(monkeypatch: pytest.MonkeyPatch, bag: Any, versions: list[UUID], session: Any) -> list[tuple[Any, ...]]:
    """The calls of a bag to Airflow's statistics during a miss, three hits, another miss and a clearing."""
    with counting(monkeypatch) as counted:
        for version in (versions[0], versions[0], versions[0], versions[1], versions[0]):
            assert bag._get_dag(version, session) is not None
        cleared = bag.clear_cache()
    assert cleared == 2
    return counted


@contextmanager
def counting(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[Any, ...]]]:
    """The calls to Airflow's statistics."""
    import airflow.models.dagbag as module

    counted: list[tuple[Any, ...]] = []
    client = getattr(module, "stats", None) or getattr(module, "Stats", None)
    if client is None:
        pytest.skip("this Airflow counts nothing")
    with monkeypatch.context() as patch:
        patch.setattr(client, "incr", lambda name, *_, **__: counted.append((name,)))
        patch.setattr(client, "gauge", lambda name, value, *_, **__: counted.append((name, value)))
        yield counted


@pytest.fixture(params=MAKE)
def both(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, session: Any
) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """The calls with the cache, and those of stock."""
    versions = [write(session, "counted_0"), write(session, "counted_1")]
    bag = MAKE[request.param]()
    ours = told(monkeypatch, bag, versions, session)
    bag._component.close()
    go_back_to_stock(request.param, monkeypatch)
    return ours, told(monkeypatch, MAKE[request.param](), versions, session)


def test_hits_misses_and_clearings_are_counted_as_by_stock(
    both: tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]],
) -> None:
    """By the same names, in the same order."""
    ours, stock = both
    assert [name for name, *_ in ours] == [name for name, *_ in stock]


def test_the_size_is_told_as_by_stock(both: tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]) -> None:
    """After a load it counts what was loaded."""
    ours, stock = both
    assert [size for _, *size in ours] == [size for _, *size in stock]


@pytest.mark.parametrize("component", MAKE)
def test_lookups_of_the_newest_version_are_neither_hits_nor_misses(
    component: str, monkeypatch: pytest.MonkeyPatch, session: Any
) -> None:
    """In each state of the cache: stock loads each time, and counts nothing but its size."""
    version = write(session, "newest_counted")
    bag = MAKE[component]()
    with counting(monkeypatch) as counted:
        for prepare in (lambda: None, lambda: bag._get_dag(version, session), lambda: write(session, "newest_counted")):
            prepare()
            counted.clear()
            for _ in range(2):
                assert bag.get_latest_version_of_dag("newest_counted", session=session) is not None
            assert {name.rpartition("_")[2] for name, *_ in counted} <= {"size"}
    bag._component.close()
