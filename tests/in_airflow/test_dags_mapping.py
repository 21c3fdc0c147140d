"""The dictionary of a bag as other code sees it: Airflow's own loads find nothing, others a mapping over the cache."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from dagcache.airflow.dags import in_airflows_code
from tests.in_airflow.support import write


@pytest.fixture
def versions(bag: Any, session: Any) -> list[Any]:
    """Three versions in a scheduler's bag."""
    written = [write(session, f"mapped_{number}", text=str(number)) for number in range(3)]
    session.expunge_all()
    assert all(bag._get_dag(version, session) for version in written)
    return written


def description(value: Any) -> str:
    """Of a DAG, or of the entry that Airflow keeps since 3.3."""
    return str(getattr(value, "dag", value).description)


def test_a_value_is_of_the_kind_that_airflows_own_bag_keeps(bag: Any, versions: list[Any]) -> None:
    """The DAG itself until Airflow 3.2, an entry with its hash since."""
    import airflow.models.dagbag as module

    value = bag._dags[versions[0]]
    assert type(value) is getattr(module, "_CacheEntry", type(value))
    assert getattr(value, "dag", value) is bag.dagcache[versions[0]]
    if hasattr(module, "_CacheEntry"):
        assert value.dag_hash == bag._confirmed.get(versions[0]).content.dag_hash


def test_airflows_own_code_finds_nothing(bag: Any, versions: list[Any]) -> None:
    """So it reads the row."""
    with in_airflows_code():
        assert bag._dags.get(versions[0]) is None
        assert versions[0] not in bag._dags
        with pytest.raises(KeyError):
            bag._dags[versions[0]]
    assert versions[0] in bag._dags


READS: dict[str, Callable[[Any], Any]] = {
    "values": lambda dags: sorted(map(description, dags.values())),
    "items": lambda dags: sorted(description(value) for _, value in dags.items()),
    "copy": lambda dags: sorted(map(description, dags.copy().values())),
    "copy.copy": lambda dags: sorted(map(description, copy.copy(dags).values())),
    "get": lambda dags: sorted(description(dags.get(key)) for key in dags),
    "dict": lambda dags: sorted(map(description, dict(dags.items()).values())),
}


@pytest.mark.parametrize("read", READS)
def test_each_way_to_read_gives_all_dags(bag: Any, versions: list[Any], read: str) -> None:
    assert READS[read](bag._dags) == ["0", "1", "2"]
    assert (len(bag._dags), set(bag._dags)) == (3, set(versions))


@pytest.mark.parametrize("view", ["values", "items"])
def test_iteration_skips_an_entry_that_leaves_meanwhile(bag: Any, versions: list[Any], view: str) -> None:
    """Another thread's load may evict any entry at any time."""
    going = iter(getattr(bag._dags, view)())
    next(going)
    bag.dagcache.clear()
    assert list(going) == []
    assert list(bag._dags) == []
    bag.dagcache.check_invariants()


def test_reading_while_others_evict_raises_nothing(bag: Any, session: Any, versions: list[Any]) -> None:
    """Every operation of a mapping, in a loop, while a thread empties the cache and the other fills it."""
    dags, failures, done = bag._dags, list[BaseException](), threading.Event()

    def read() -> None:
        try:
            while not done.is_set():
                for way in READS.values():
                    if way is not READS["get"]:
                        way(dags)
                [dags.get(key) for key in dags]
                assert len(dags) >= 0
                assert (versions[0] in dags) in (True, False)
                dags.pop(versions[0], None)
        except BaseException as error:
            failures.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for _ in range(30):
            assert all(bag._get_dag(version, session) for version in versions)
            bag.dagcache.clear()
            bag.dagcache.check_invariants()
    finally:
        done.set()
        reader.join()
    assert failures == []


def test_entries_are_taken_out_one_by_one(bag: Any, versions: list[Any]) -> None:
    """`pop` and `popitem`; then the dictionary and the cache are empty."""
    dags = bag._dags
    assert description(dags.pop(versions[1])) == "1"
    assert dags.pop(versions[1], "none") == "none"
    with pytest.raises(KeyError):
        dags.pop(versions[1])
    assert {dags.popitem()[0], dags.popitem()[0]} == {versions[0], versions[2]}
    with pytest.raises(KeyError):
        dags.popitem()
    assert len(dags) == len(bag.dagcache) == 0


def test_a_deletion_from_the_dictionary_is_one_from_the_cache(bag: Any, session: Any, versions: list[Any]) -> None:
    del bag._dags[versions[0]]
    assert versions[0] not in bag.dagcache
    bag.dagcache.check_invariants()
    assert bag._get_dag(versions[0], session).description == "0"


def test_a_dag_that_is_put_into_the_dictionary_outside_of_a_load_is_not_kept(bag: Any) -> None:
    """Its content is unknown."""
    bag._dags[uuid4()] = object()
    assert len(bag._dags) == len(bag.dagcache) == 0


def test_the_dictionary_equals_only_itself_and_does_not_show_its_content(bag: Any, versions: list[Any]) -> None:
    """A comparison by content would thaw all of it."""
    before = bag.dagcache.stats()
    assert bag._dags == bag._dags
    assert bag._dags != {}
    assert "mapped_0" not in repr(bag._dags)
    assert bag.dagcache.stats().hits_live == before.hits_live
