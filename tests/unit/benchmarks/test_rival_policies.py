"""The policies that ours is compared with do what their names say."""

from __future__ import annotations

import random

import pytest

from benchmarks.policies.rivals import RIVALS, Rival

KEYS = 100
BUDGET = 1000


def hits_on(rival: Rival, keys: list[int], size: int = 10) -> int:
    """Look keys of one size up and count the hits."""
    return sum(rival.request(key, size, 1.0, float(now)) for now, key in enumerate(keys))


def sweep(count: int, laps: int) -> list[int]:
    """Keys visited round robin."""
    return list(range(count)) * laps


@pytest.mark.parametrize("name", RIVALS)
def test_a_rival_hits_always_when_everything_fits(name: str) -> None:
    """With a budget for five times as much, only first uses miss."""
    assert hits_on(RIVALS[name](5 * BUDGET), sweep(KEYS, 5)) == 4 * KEYS


@pytest.mark.parametrize("name", RIVALS)
def test_a_rival_never_exceeds_its_budget(name: str) -> None:
    """With any sizes in any order. Its residents are hits."""
    rng = random.Random(7)
    sizes = [rng.randrange(1, 400) for _ in range(300)]
    rival = RIVALS[name](BUDGET)
    for now in range(5_000):
        key = min(int(rng.paretovariate(0.7)), 299)
        rival.request(key, sizes[key], rng.random(), float(now))
        assert rival.used <= BUDGET


@pytest.mark.parametrize("name", RIVALS)
def test_a_rival_lets_a_value_over_the_budget_pass_through(name: str) -> None:
    rival = RIVALS[name](BUDGET)
    hits_on(rival, sweep(KEYS // 2, 2))
    before = rival.used
    assert not rival.request(999, BUDGET + 1, 1.0, 0.0)
    assert rival.used == before


@pytest.mark.parametrize("name", ["LRU", "FIFO", "ARC", "2Q"])
def test_recency_never_hits_on_a_sweep_larger_than_the_budget(name: str) -> None:
    """It always drops what is needed next."""
    assert hits_on(RIVALS[name](BUDGET), sweep(KEYS * 2, 5)) == 0


def test_lirs_hits_on_a_sweep_larger_than_the_budget() -> None:
    """It keeps a fixed part of the sweep."""
    laps = 20
    assert hits_on(RIVALS["LIRS"](BUDGET), sweep(KEYS * 2, laps)) > 0.4 * laps * KEYS * 2


@pytest.mark.parametrize("name", ["LFU", "GDSF", "W-TinyLFU", "S3-FIFO", "SIEVE", "2Q", "ARC", "LIRS"])
def test_a_scan_does_not_displace_what_is_popular(name: str) -> None:
    """Keys used often survive a run of keys used once."""
    rival = RIVALS[name](BUDGET)
    popular = sweep(KEYS // 4, 20)
    scanned_between = [key for i, one in enumerate(popular) for key in (one, one, 10_000 + i)]
    hits_on(rival, scanned_between)
    hits_on(rival, list(range(50_000, 50_150)))
    assert hits_on(rival, list(range(KEYS // 4))) >= 0.6 * KEYS // 4


def test_lru_does_lose_what_is_popular_to_a_scan() -> None:
    """So that the test before this one can fail."""
    rival = RIVALS["LRU"](BUDGET)
    hits_on(rival, sweep(KEYS // 4, 20))
    hits_on(rival, list(range(50_000, 50_150)))
    assert hits_on(rival, list(range(KEYS // 4))) == 0


def test_gdsf_keeps_what_costs_most_per_byte() -> None:
    """Of equal sizes the cheap one leaves."""
    rival = RIVALS["GDSF"](20)
    rival.request(1, 10, 9.0, 0.0)
    rival.request(2, 10, 1.0, 1.0)
    rival.request(3, 10, 5.0, 2.0)
    assert rival.request(1, 10, 9.0, 3.0)
    assert not rival.request(2, 10, 1.0, 4.0)
