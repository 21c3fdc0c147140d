"""Throw-away copies, which `dagcache audit` weighs: as the bag loads them, and no part of a cache."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from dagcache.airflow import throw_away
from tests.in_airflow.support import write
from tests.support import probe

pytestmark = pytest.mark.usefixtures("airflows_database")


@pytest.fixture
def version(session: Any) -> Any:
    """A DAG with parameters, written and forgotten."""
    written = write(session, "thrown_away", tasks=3, params={"day": "2026-01-01"})
    session.expunge_all()
    return written


def test_each_call_gives_a_new_copy(version: Any) -> None:
    one, other = throw_away.load(version), throw_away.load(version)
    assert (one.dag_id, sorted(one.task_dict)) == ("thrown_away", ["task_0", "task_1", "task_2"])
    assert sorted(one.task_dict) == sorted(other.task_dict)
    assert one is not other
    assert one.task_dict["task_0"] is not other.task_dict["task_0"]


def test_the_parts_of_a_copy_are_shared_as_in_a_bag(version: Any) -> None:
    """An audit of more objects would be one of another cache."""
    dag = throw_away.load(version)
    assert len({id(task.params) for task in dag.tasks}) == 3
    assert len({id(task.task_type) for task in dag.tasks}) == 1


def test_a_version_without_a_row_is_an_error() -> None:
    with pytest.raises(LookupError, match="no serialised DAG"):
        throw_away.load(uuid4())


def test_the_objects_of_no_dag_are_those_that_the_cache_charges_to_none(bag: Any) -> None:
    cached = probe.shared(bag.dagcache)
    names = {each for each in throw_away.shared_objects() if isinstance(each, str)}
    assert names == {each for each in cached if isinstance(each, str)}
    assert len(throw_away.shared_objects()) == len(cached)


def test_the_engine_is_airflows(airflows_database: Any) -> None:
    assert throw_away.engine() is airflows_database
