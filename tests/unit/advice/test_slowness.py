"""The probe of the machine's slowness: a known piece of work, in a heap with holes."""

from __future__ import annotations

import gc

import pytest

from dagcache.advice import slowness
from dagcache.advice.slowness import Probe


def test_the_slowness_is_the_time_of_a_known_piece_of_work() -> None:
    """In units of the same work on the machine of the constants: two milliseconds for a step."""
    ticks = iter([10.0, 10.8, 20.0, 20.2])
    probe = Probe(lambda: next(ticks))
    assert probe.slowness(100) == pytest.approx(4.0)
    assert probe.slowness(50) == pytest.approx(2.0)


def test_the_heap_of_the_work_has_holes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the groups are freed, chosen at random: in any tenth of them, about half."""
    monkeypatch.setattr(slowness, "_SCATTERED", 1000)
    heap = slowness._scattered()
    numbers = [int(group["a"][0]) for group in heap]  # type: ignore[index]
    assert len(numbers) == 500
    for first in range(0, 1000, 100):
        assert 25 < sum(first <= number < first + 100 for number in numbers) < 75
    assert numbers == [int(group["a"][0]) for group in slowness._scattered()]  # type: ignore[index]


def test_several_values_are_in_use_and_no_more_are_held() -> None:
    """Each step makes a value and drops the oldest."""
    probe = Probe(lambda: 0.0)
    before = list(probe._held)
    probe.slowness(3)
    assert [*probe._held][:-3] == before[3:]
    assert len({value[0]["id"] for value in probe._held}) == len(probe._held) == slowness._VALUES  # type: ignore[index]


def test_no_collection_takes_part() -> None:
    """A collection would add its own time."""
    runs: list[str] = []
    probe = Probe(lambda: 0.0)
    gc.callbacks.append(lambda phase, _: runs.append(phase))
    try:
        probe.slowness(2)
    finally:
        gc.callbacks.pop()
    assert not runs
