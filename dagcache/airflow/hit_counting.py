"""Hits in Airflow's own statistics, which each version of Airflow counts in another way."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any


def hit_counter(base: Any) -> Callable[[Any], object]:
    """The function that counts a hit in Airflow's own statistics, for bags of this class."""
    if hasattr(base, "_on_cache_hit"):
        return lambda bag: bag._on_cache_hit()  # noqa: SLF001 - Airflow 3.3.2
    module = sys.modules[base.__module__]
    stats = getattr(module, "stats", None) or getattr(module, "Stats", None)  # since 3.3.0, and before
    if stats is None:
        return lambda bag: None  # Airflow 3.1 counts no hits

    def count(bag: Any) -> None:
        if getattr(bag, "_use_cache", False):  # Airflow 3.2 counts hits in the API server only
            stats.incr("api_server.dag_bag.cache_hit")

    return count
