"""A version that Airflow rewrites in place repeatedly: the served content was current within the window."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.in_airflow.conftest import Clock
from tests.in_airflow.support import write
from tests.in_airflow.test_in_place_updates import WINDOW, text


@pytest.mark.parametrize("updates", [25, pytest.param(1000, marks=pytest.mark.soak)])
def test_nothing_is_served_that_was_out_of_date_for_longer_than_the_window(
    updates: int, bag: Any, session: Any, clock: Clock
) -> None:
    """Rewritten and looked up at random times; and once the window has passed without a rewriting it is current."""
    rng = random.Random(updates)
    dag_id = f"often_{updates}"
    version = write(session, dag_id, text="0")
    replaced: dict[str, float] = {}
    for number in range(1, updates + 1):
        clock.now += rng.choice((0.0, 1.0, WINDOW / 3, WINDOW - 1, WINDOW, 3 * WINDOW))
        served = text(bag, version, session)
        assert clock.now - replaced.get(served, clock.now) <= WINDOW, f"{served} was replaced before {number - 1}"
        assert write(session, dag_id, text=str(number)) == version
        replaced[str(number - 1)] = clock.now
        session.expunge_all()
    clock.now += WINDOW
    assert text(bag, version, session) == str(updates)
