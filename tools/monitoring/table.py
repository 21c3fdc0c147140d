"""The table of all metrics in ``docs/metrics.md``."""

from __future__ import annotations

import re

from dagcache.metrics.definitions import METRICS, Metric

_HEAD = "| metric | type | labels | meaning | the decision it serves |\n|---|---|---|---|---|\n"
_TABLE = re.compile(rf"^{re.escape(_HEAD)}(?:\|.*\n)*", re.MULTILINE)


def row(metric: Metric) -> str:
    """The line of one metric."""
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} | {metric.decision} |\n"


def with_table(page: str) -> str:
    """The page with the current table in place of the one that it has.

    Raises:
        ValueError: the page has no such table.

    """
    if not _TABLE.search(page):
        raise ValueError(f"expected a table in the page that starts with {_HEAD.splitlines()[0]!r}, found none")
    return _TABLE.sub(lambda _: _HEAD + "".join(map(row, METRICS)), page)
