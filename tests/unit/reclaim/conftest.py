"""Fixtures of the tests of the collector."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest

from dagcache.reclaim import gc_lap, gc_pause
from dagcache.reclaim.gc_tenuring import Tenuring


@pytest.fixture(autouse=True)
def _no_value_has_come_to_stay_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests have loaded values in this process."""
    tenuring = Tenuring()
    for module in (gc_lap, gc_pause):
        monkeypatch.setattr(module, "tenuring", tenuring)


@pytest.fixture
def collections() -> Iterator[list[int]]:
    """The generations that were collected, one after the other, from an empty start."""
    gc.collect()
    seen: list[int] = []

    def note(phase: str, facts: dict[str, Any]) -> None:
        if phase == "stop":
            seen.append(facts["generation"])

    gc.callbacks.append(note)
    yield seen
    gc.callbacks.remove(note)
