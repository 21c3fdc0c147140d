"""Threads that pass from part to part of DAGs which are to be taken apart meanwhile: none ever sees a damaged one."""

from __future__ import annotations

from typing import Any

import pytest

from dagcache.reclaim.breaker import Outcome
from tools.scorecard.measures.holding import censuses, evictions

pytestmark = pytest.mark.usefixtures("no_collector")


def test_dags_that_leave_a_cache_while_threads_walk_in_them_stay_whole() -> None:
    """By all ways of leaving, and by all ways of holding a part."""
    told = evictions(500)
    assert told["errors"] == {}
    assert told["released_while_held"] >= 500
    assert told["freed"] > 0
    assert (told["left"], told["skipped"]) == (0, 0)


def test_a_dag_that_is_looked_at_again_and_again_while_threads_walk_in_it_stays_whole() -> None:
    """And goes at once when they have dropped it."""
    told = censuses(1000)
    assert told["errors"] == {}
    assert told["released_while_held"] >= 1000
    assert (told["left"], told["skipped"]) == (0, 0)


class _Careless:
    """Takes apart what it gets."""

    def release(self, value_cell: list[object]) -> Outcome:
        """Without a look at who holds it."""
        value: Any = value_cell.pop()
        vars(value).clear()
        return Outcome.FREED


def test_a_careless_breaker_is_found_out() -> None:
    """The control: it shows that the tests above can fail."""
    told = evictions(100_000, breaker=_Careless())
    assert told["damaged"] > 0
