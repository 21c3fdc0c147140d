"""The usage reports of this machine's processes. One that does not answer, or not with a report, is a fault line."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from typing import Any

from dagcache.cli.shared.answers import answers_of
from dagcache.inspection import client

_PATIENCE = 3.5  # seconds for all processes: a client gives up earlier
_LATE = "no answer in time"


@dataclass(frozen=True, slots=True)
class DagReports:
    """The answers of some processes."""

    reports: list[dict[str, Any]]
    """Of `dagcache.inspection.client.ask`, the one with the largest figure first."""
    faults: dict[str, str]
    """The reason, by the name of each process that did not report."""


def ask(count: int, by: str, wanted: Collection[int] | None) -> DagReports:
    """Ask all processes of this machine at the same time, or those with the ``wanted`` ids.

    ``count`` and ``by``: the number of DAGs, and their order, as for `dagcache.inspection.client.ask`.
    """
    paths = [path for path in client.sockets() if wanted is None or client.process_of(path) in wanted]
    asked = partial(client.ask, top=count, by=by)
    reports, faults = answers_of(paths, asked, seconds=_PATIENCE, late=_LATE, thread="dagcache-top")
    if wanted is not None:
        reports = [report for report in reports if report["pid"] in wanted]
    return DagReports(sorted(reports, key=_worst, reverse=True), faults)


def _worst(report: dict[str, Any]) -> tuple[float, int]:
    by = report["by"]
    return max((dag[by] for dag in report["dags"]), default=0), report["bytes"]
