"""Fixtures of several test modules."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture
def quiet() -> Iterator[None]:
    """Injected failures are logged with tracebacks, by design: not where a module asks for this."""
    logger = logging.getLogger("dagcache")
    logger.setLevel(logging.CRITICAL + 1)
    yield
    logger.setLevel(logging.NOTSET)
