"""The usage reports of this machine's processes. One that does not answer, or not with a report, is a fault line."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dagcache.concurrency.time_limit import results_within
from dagcache.inspection import client

_Answer = tuple[dict[str, Any], str]
"""A report, and a fault; both are empty if no process listens."""

_PATIENCE = 3.5  # seconds for all processes: a client gives up earlier
_LATE: _Answer = {}, "no answer in time"


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
    calls = [partial(_answer, path, count, by) for path in paths]
    reports, faults = [], {}
    for path, (report, fault) in zip(paths, results_within(_PATIENCE, calls, _LATE, "dagcache-top"), strict=True):
        if fault:
            faults[path.stem] = fault
        elif report and (wanted is None or report["pid"] in wanted):
            reports.append(report)
    return DagReports(sorted(reports, key=_worst, reverse=True), faults)


def _answer(path: Path, count: int, by: str) -> _Answer:
    try:
        return client.ask(path, count, by=by), ""
    except (ConnectionRefusedError, FileNotFoundError):  # the process was killed, or has just ended
        return {}, ""
    except Exception as error:
        return {}, (str(error) or type(error).__name__).removeprefix(f"{path.name}: ")


def _worst(report: dict[str, Any]) -> tuple[float, int]:
    by = report["by"]
    return max((dag[by] for dag in report["dags"]), default=0), report["bytes"]
