"""The example that the README names shows what it is meant to show."""

from __future__ import annotations

import pytest

from dagcache import DagCache
from examples import sweep

VERSIONS = 40


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "VERSIONS", VERSIONS)
    monkeypatch.setattr(sweep, "TASKS", 2)
    monkeypatch.setitem(sweep.CACHES, "most recent", lambda: sweep.CountingLRU(VERSIONS - 1))
    monkeypatch.setitem(sweep.CACHES, "dagcache", lambda: DagCache(max_bytes="512KiB"))


def loaded(output: str) -> list[int]:
    """How many versions each lap had to load."""
    rows = [line[22:].split() for line in output.splitlines()]
    return [int(loads) for lap, _live, _thawed, loads, *_ in rows if lap.isdigit()]


def test_a_sweep_over_one_version_more_than_fits_never_hits_an_lru(capsys: pytest.CaptureFixture[str]) -> None:
    """Each lap loads everything, the last as the first."""
    sweep.sweep("most recent")
    assert loaded(capsys.readouterr().out) == [VERSIONS] * sweep.LAPS


def test_the_same_sweep_through_dagcache_loads_each_version_once(capsys: pytest.CaptureFixture[str]) -> None:
    """In a quarter of the weight of all of them: most are thawed."""
    sweep.sweep("dagcache")
    output = capsys.readouterr().out
    assert loaded(output) == [VERSIONS] + [0] * (sweep.LAPS - 1)
    assert " of 512.0 KiB" in output
