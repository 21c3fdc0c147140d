"""The memory of evicted values comes back without the collector's help."""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc
import uuid
from typing import Any

import pytest

from dagcache.core.entry import ENTRY_OVERHEAD, LIVE_OVERHEAD, Candidate
from dagcache.core.store import GHOSTS_PER_ENTRY, Store
from tests.support.paths import ROOT

HERE = ROOT
MIB = 2**20


def churned(admissions: int, *arguments: str) -> dict[str, Any]:
    """The report of `tests.support.churn`, from a separate process."""
    command = [sys.executable, "-m", "tests.support.churn", str(admissions), *arguments]
    output = subprocess.run(command, capture_output=True, text=True, check=True, cwd=HERE, timeout=1200)
    report: dict[str, Any] = json.loads(output.stdout)
    return report


def test_cyclic_graphs_churned_through_a_small_cache_leave_rss_flat() -> None:
    """Two thousand of them through four MiB with the automatic collector off; most are never kept live at all."""
    report = churned(2000)
    assert report["late"] - report["early"] < 6 * MIB
    assert report["demotions"] > 500
    assert report["passed"] > 500
    assert report["unbroken"] == 0
    assert report["total"] <= 4 * MIB


def test_without_taking_victims_apart_the_same_churn_leaks() -> None:
    """The control: it shows that the test above can fail."""
    report = churned(700, "nobreaker")
    assert report["late"] - report["early"] > 20 * MIB


@pytest.mark.soak
def test_ten_thousand_admissions_leave_rss_flat() -> None:
    """The whole measure."""
    report = churned(10_000)
    assert report["late"] - report["early"] < 6 * MIB
    assert report["unbroken"] == 0


def traced_bytes_per_entry(live: bool) -> float:
    """The bytes that the store allocates for one of ten thousand entries, without those of its copies."""
    number = 10_000
    keys = [uuid.UUID(int=index) for index in range(number)]
    values = [object() for _ in range(number)]
    blobs = [bytes([index % 256]) * 40 for index in range(number)]
    store = Store(ttl=1000.0)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for index, key in enumerate(keys):
        candidate = Candidate(key=key, value=values[index], live_bytes=1000, frozen=blobs[index], load_seconds=0.01)
        store.admit(candidate, float(index))
        store.take_released()
        if not live:
            entry = store.entries[key]
            assert entry.live is not None
            store._live_policy.leave(entry.live)
            store._demote(entry, entry.live)
            store.take_released()
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return used / number


def test_the_overhead_that_is_accounted_is_what_is_allocated() -> None:
    """Per entry, its future ghosts aside, and per live copy: within a fifth, never less than a tenth too little."""
    ghosts = 150 * GHOSTS_PER_ENTRY
    frozen, live = traced_bytes_per_entry(live=False), traced_bytes_per_entry(live=True)
    assert 0.9 < (ENTRY_OVERHEAD - ghosts) / frozen < 1.2
    assert 0.9 < LIVE_OVERHEAD / (live - frozen) < 1.2
