"""Threads, for long: ``python -m tools.scorecard.measures.threads churn SECONDS`` or ``... flights ROUNDS``.

The work is that of the tests in `tests.stress.test_threads`, repeated.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from tests.stress import test_threads


def churn(seconds: float) -> dict[str, Any]:
    """Eight threads that look up, assign and delete, and one that resizes, for so long; the faults."""
    started = time.monotonic()
    lookups = miscounted = rounds = 0
    wrong: list[str] = []
    while time.monotonic() - started < seconds:
        cache, done, faults = test_threads.churn_in_threads(5000)
        rounds += 1
        lookups += done
        wrong += faults
        miscounted += abs(cache.stats().lookups - done) + cache.stats().internal_errors
        cache.check_invariants()
    return {
        "rounds": rounds,
        "lookups": lookups,
        "miscounted": miscounted,
        "stale": sum("over the budget" not in fault for fault in wrong),
        "over": sum("over the budget" in fault for fault in wrong),
    }


def flights(rounds: int) -> dict[str, Any]:
    """A thousand threads on one key, and fifty on a hundred; the tests themselves say what is wrong."""
    for _ in range(rounds):
        test_threads.test_a_thousand_threads_on_one_key_load_once()
        test_threads.test_a_hundred_keys_and_fifty_threads_make_a_hundred_loads()
    return {"rounds": rounds}


if __name__ == "__main__":
    sys.setswitchinterval(1e-6)  # as the tests do
    kind, amount = sys.argv[1:]
    print(json.dumps(churn(float(amount)) if kind == "churn" else flights(int(amount))))  # noqa: T201
