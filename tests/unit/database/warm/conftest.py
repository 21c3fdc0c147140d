"""Databases of warm stores."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.warm_database import stores_are_closed as stores_are_closed


@pytest.fixture
def url(tmp_path: Path) -> str:
    """An empty database of SQLite."""
    (tmp_path / "warm.db").touch()
    return f"sqlite:///{tmp_path}/warm.db"
