"""A hit is counted the way in which the bag's version of Airflow counts it."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from dagcache.airflow.hit_counting import hit_counter


class Stats:
    """A stand-in for Airflow's statistics."""

    def __init__(self) -> None:
        self.counted: list[str] = []

    def incr(self, name: str) -> None:
        """Count."""
        self.counted.append(name)


def bag_class(monkeypatch: pytest.MonkeyPatch, **names: Any) -> Any:
    """A bag class of a module that has these names."""
    module = ModuleType("dagbag_stand_in")
    vars(module).update(names)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return type("DBDagBag", (), {"__module__": module.__name__})


def test_airflow_3_3_2_counts_by_a_method_of_the_bag(monkeypatch: pytest.MonkeyPatch) -> None:
    """The method takes no argument."""
    counted: list[object] = []
    base = bag_class(monkeypatch)
    base._on_cache_hit = lambda bag: counted.append(bag)
    bag = base()
    hit_counter(base)(bag)
    assert counted == [bag]


@pytest.mark.parametrize("name", ["stats", "Stats"])
@pytest.mark.parametrize("in_api_server", [True, False])
def test_before_it_counts_by_a_name_and_in_the_api_server_only(
    name: str, in_api_server: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`stats` since 3.3.0, `Stats` in 3.2."""
    stats = Stats()
    base = bag_class(monkeypatch, **{name: stats})
    bag = base()
    bag._use_cache = in_api_server
    hit_counter(base)(bag)
    assert stats.counted == ["api_server.dag_bag.cache_hit"] * in_api_server


def test_a_bag_without_that_attribute_is_not_in_the_api_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is counted."""
    stats = Stats()
    base = bag_class(monkeypatch, stats=stats)
    hit_counter(base)(base())
    assert stats.counted == []


def test_airflow_3_1_counts_no_hits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its module has no statistics."""
    base = bag_class(monkeypatch)
    assert hit_counter(base)(base()) is None
