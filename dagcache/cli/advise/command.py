"""Recommends max_bytes and ttl, from Airflow's metadata database, before or after the installation of the cache.

It predicts the memory of the DAG versions in use, and replays the lookups of the scheduler in caches of several sizes.
It only reads, needs no Airflow, and may run beside a scheduler. Where Airflow is installed, it loads some DAGs as well,
in a process of its own: the seconds are then those of this machine.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from contextlib import closing
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagcache.airflow.configuration_file import airflow_cfg, airflow_setting
from dagcache.cli.shared.arguments import byte_counts, number, whole_number
from dagcache.cli.shared.failure import InputError
from dagcache.cli.shared.progress import LateBars
from dagcache.sizing.limits import format_bytes

if TYPE_CHECKING:
    from dagcache.advice.recommend import Advice
    from dagcache.advice.report import Report

HELP = "recommend a limit, from Airflow's metadata database"
EXAMPLE = "dagcache advise --db postgresql+psycopg2://airflow:password@host/airflow --max-workers 4"

_URL_VARIABLE = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
_MOST = 1e6  # of days, and of seconds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("--db", metavar="URL", help="the database, as a URL of SQLAlchemy (default: Airflow's own)")
    parser.add_argument("--days", type=number("days", most=_MOST), default=7.0, help="days to examine (default: 7)")
    parser.add_argument(
        "--max-workers",
        type=whole_number(0, 1000),
        default=1,
        metavar="N",
        help="workers of the API server; 0: none (default: 1)",
    )
    parser.add_argument("--budgets", type=byte_counts, default=(), metavar="A,B,...", help="limits to try: 64MiB,1GiB")
    parser.add_argument(
        "--loop-seconds",
        type=number("seconds", most=_MOST),
        default=1.0,
        metavar="S",
        help="seconds that a loop of the scheduler takes (default: 1)",
    )
    parser.add_argument(
        "--no-airflow",
        action="store_true",
        help="do not load DAGs with the installed Airflow; the seconds are then those of another machine",
    )
    parser.add_argument("--png", type=Path, metavar="FILE", help="draw the curve into a file")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def main(options: argparse.Namespace) -> int:
    """Print the advice.

    Raises:
        InputError: the database is missing, not of Airflow 3, empty or unreadable.
        CommandError: the file of --png cannot be written.

    """
    from dagcache.advice.report import advise
    from dagcache.advice.speed import Speed
    from dagcache.database.loader import SerializedDagLoader
    from dagcache.errors import LoadError

    url = options.db or _configured_database()
    if not url:
        raise InputError(
            f"no database: expected --db URL, {_URL_VARIABLE} in the environment,"
            f" or [database] sql_alchemy_conn in {airflow_cfg()}"
        )
    report, problem = None, ""
    try:
        with SerializedDagLoader(url) as loader, closing(LateBars()) as bars:
            report = advise(
                loader,
                days=options.days,
                workers=options.max_workers,
                budgets=options.budgets,
                loop_seconds=options.loop_seconds,
                progress=bars.step,
                speed=Speed(problem="--no-airflow") if options.no_airflow else None,
            )
    except LoadError as error:
        problem = str(error)
    if report is None:
        raise InputError(problem)  # outside of the clause above: --debug would show the chained error
    if options.json:
        sys.stdout.write(f"{json.dumps(asdict(report))}\n")
    else:
        sys.stdout.write(f"{_text(report)}\n")
    if options.png:
        _draw(report, options.png)
    return 0


def _configured_database() -> str:
    """The database of the configured Airflow; its earlier section is [core]."""
    return airflow_setting("database", "sql_alchemy_conn") or airflow_setting("core", "sql_alchemy_conn")


def _draw(report: Report, path: Path) -> None:
    from dagcache.cli.advise.drawing import png

    if report.stock is None:
        raise InputError("--png: there is no curve: no run was active in the period")
    png(_curve(report), path)


def _curve(report: Report) -> Any:
    from dagcache.cli.advise.drawing import Curve

    return Curve(
        [row.max_bytes for row in report.curve],
        [row.busiest.seconds_per_sweep for row in report.curve],
        report.scheduler.nbytes,
        report.stock.seconds_per_sweep if report.stock else 0.0,
    )


# ---- the text ----


def _text(report: Report) -> str:
    parts = [*_facts(report), *_dags(report), *_table(report), *_recommendations(report)]
    return "\n".join(parts)


def _facts(report: Report) -> list[str]:
    as_of = datetime.fromtimestamp(report.as_of, timezone.utc)
    shortened = " (older runs are left out)" if report.cut else ""
    lines = [
        f"{report.database}: {report.airflow}",
        f"{report.versions:,} versions of {report.dags:,} DAGs, {report.versions_per_day:,.1f} new ones a day; "
        f"{report.runs:,} runs examined in {report.days:.1f} days until {as_of:%Y-%m-%d %H:%M} UTC{shortened}",
        f"in use now: {_in_use(report.now)}; {report.queued:,} runs are queued",
    ]
    if report.busiest is not None:
        at = datetime.fromtimestamp(report.busiest.at, timezone.utc)
        lines.append(f"the maximum, {at:%Y-%m-%d %H:%M} UTC: {_in_use(report.busiest)}")
    if report.unexamined:
        lines.append(f"{report.unexamined:,} running runs are left out: their DAGs are paused or deleted")
    lines.append(
        f"sizes are predicted from {report.payloads_read - report.payloads_damaged:,} payloads, and from the length of"
        f" {report.versions_measured:,} more"
    )
    speed = report.speed
    lines.append(
        f"seconds are measured on this machine, with {speed.dags} of these DAGs in its Airflow"
        if speed.dags
        else f"seconds are those of another machine: {speed.problem}"
    )
    if report.payloads_damaged:
        lines.append(f"{report.payloads_damaged:,} payloads are damaged, and left out")
    return lines


def _in_use(use: Any) -> str:
    return (
        f"{use.versions:,} versions for {use.runs:,} runs, {format_bytes(use.live_bytes)} live,"
        f" {format_bytes(use.frozen_bytes)} frozen"
    )


def _dags(report: Report) -> list[str]:
    lines = ["", "the heaviest DAGs, by their newest versions:"]
    lines += [
        f"  {dag.dag_id}: {dag.tasks:,} tasks, {format_bytes(dag.live_bytes)} live,"
        f" {format_bytes(dag.frozen_bytes)} frozen"
        for dag in report.biggest
    ]
    if report.inflated:
        lines += ["", "more versions than runs; a part of these DAGs changes with each parse:"]
        lines += [f"  {each.dag_id}: {each.versions:,} versions for {each.runs:,} runs" for each in report.inflated]
    return lines


_HEADINGS = ("max_bytes", "live", "thawed", "loaded", "s per sweep", "of its time", "typical", "held")


def _table(report: Report) -> list[str]:
    if report.stock is None:
        return []
    cells = [_cells(format_bytes(row.max_bytes), row.busiest, row.typical) for row in report.curve]
    cells.append(_cells("Airflow's", report.stock, None))
    intro = (
        "the cost of lookups for the scheduler: seconds per sweep over all running runs at the busiest moment, its"
        " share of the time then and typically; and the bytes held at most:"
    )
    lines = ["", intro]
    if report.replayed_share < 1:
        lines.append(f"({report.replayed_share:.0%} of the versions stand for all)")
    if sys.stdout.isatty():
        return [*lines, *_drawn(cells), *_plot(report)]
    widths = [max(len(row[column]) for row in [_HEADINGS, *cells]) for column in range(len(_HEADINGS))]
    return lines + [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in [_HEADINGS, *cells]
    ]


def _cells(label: str, point: Any, typical: Any) -> tuple[str, ...]:
    return (
        label,
        f"{point.live:.1%}",
        f"{point.frozen:.1%}",
        f"{point.missed:.1%}",
        f"{point.seconds_per_sweep:.2f}",
        f"{point.busy:.1%}",
        "" if typical is None else f"{typical.busy:.1%}",
        format_bytes(point.held_bytes),
    )


def _drawn(cells: list[tuple[str, ...]]) -> list[str]:
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        raise InputError("a table on a terminal needs rich: pip install rich; or use --json") from None
    table = Table(*_HEADINGS)
    for column in table.columns:
        column.justify = "right"
    for row in cells:
        table.add_row(*row)
    console = Console()
    with console.capture() as capture:
        console.print(table)
    return [capture.get().rstrip()]


def _plot(report: Report) -> list[str]:
    from dagcache.cli.advise.drawing import terminal

    return ["", terminal(_curve(report), shutil.get_terminal_size().columns)]


def _recommendations(report: Report) -> list[str]:
    lines = ["", f"recommended for the scheduler: {_setting(report.scheduler)}", *_reasons(report.scheduler)]
    if report.api_server is not None:
        lines += ["recommended for the API server: " + _setting(report.api_server), *_reasons(report.api_server)]
    lines += [f"recommended for both: {_setting(report.ttl)}", *_reasons(report.ttl)]
    total = report.scheduler.nbytes + (report.workers * report.api_server.nbytes if report.api_server else 0)
    return [*lines, f"together, with one scheduler: {format_bytes(total)}"]


def _setting(advice: Advice) -> str:
    return f"AIRFLOW__DAGCACHE__{advice.setting.upper()}={advice.value}"


def _reasons(advice: Advice) -> list[str]:
    return [f"  - {reason}" for reason in advice.reasons]
