"""Fixtures of the tests of the collector."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest


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
