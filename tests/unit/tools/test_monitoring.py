"""The table of metrics in the documentation."""

from __future__ import annotations

import pytest

from dagcache.metrics.definitions import METRICS
from tests.support.paths import ROOT
from tools.monitoring.table import row, with_table


def test_the_page_has_the_current_table() -> None:
    """Written by `python -m tools.monitoring`."""
    page = (ROOT / "docs" / "metrics.md").read_text()
    assert with_table(page) == page


def test_an_old_table_is_replaced_and_the_rest_stays() -> None:
    """Rows of metrics that no longer exist go."""
    page = (ROOT / "docs" / "metrics.md").read_text()
    old = page.replace(row(METRICS[3]), "| `dagcache_old` | gauge |  | Old. | None. |\n")
    assert old != page
    assert with_table(old) == page


def test_a_page_without_a_table_is_an_error() -> None:
    """Its text is not replaced by accident."""
    with pytest.raises(ValueError, match="expected a table"):
        with_table("# Metrics\n")
