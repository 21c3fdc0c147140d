"""Compares the bytes of the heaviest DAGs by three methods: pympler, the walk of this cache, and the allocators.

It loads throw-away copies of their newest versions, as a scheduler does, through the Airflow of this environment, and
only reads. The allocators have the true growth, on Linux with glibc 2.33 or newer. The walk and pympler also count the
few KiB that all DAGs of a process have in common. A walk that differs by more than a few per cent for a DAG of 50 KiB
or more is a fault of dagcache: please report it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from contextlib import closing, redirect_stdout
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING

from dagcache.cli.shared.arguments import whole_number
from dagcache.cli.shared.failure import InputError
from dagcache.cli.shared.installed import has_airflow
from dagcache.cli.shared.progress import LateBars
from dagcache.sizing.limits import format_bytes

if TYPE_CHECKING:
    from dagcache.database.loader import VersionRow

HELP = "compare the bytes of the heaviest DAGs, by three methods"
EXAMPLE = "dagcache audit --top 3"

_URL_VARIABLE = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Audited:
    """One version, in bytes by each method; None: the method has no figure."""

    dag_id: str
    version_number: int
    serialized_bytes: int
    pympler_bytes: int | None = None
    walked_bytes: int | None = None
    allocated_bytes: int | None = None
    walk_error_ratio: float | None = None
    """(walk - pympler) / pympler."""
    walk_allocation_error_ratio: float | None = None
    """(walk - allocators) / allocators."""
    complete: bool = False
    """Whether walk and pympler saw all of the graph."""
    error: str = ""
    """The type of the error that ended the load, or the error that ended pympler."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("--db", metavar="URL", help="the database, as a URL of SQLAlchemy (default: that of Airflow)")
    parser.add_argument(
        "--top", type=whole_number(1, _MOST), default=5, metavar="N", help="the number of DAGs to audit (default: 5)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def main(options: argparse.Namespace) -> int:
    """Print the comparison.

    Raises:
        InputError: Airflow is not installed, the database cannot be read, or it has no serialised DAGs.

    """
    if not has_airflow():
        raise InputError(
            "an audit loads DAGs through Airflow, which is not installed in this Python's environment:"
            " run it with the Python of a scheduler"
        )
    if options.db:
        os.environ[_URL_VARIABLE] = options.db  # Airflow reads it at its import
    with redirect_stdout(sys.stderr):  # Airflow may log to stdout
        audited = _audit(options.top)
    if options.json:
        sys.stdout.write(f"{json.dumps({'dags': [asdict(each) for each in audited]})}\n")
    else:
        sys.stdout.writelines(f"{line}\n" for line in _lines(audited))
    return 0


def _audit(count: int) -> list[Audited]:
    from dagcache.airflow import throw_away
    from dagcache.cli.audit.heaviest import heaviest

    try:
        engine = throw_away.engine()
    except Exception as error:  # a damaged configuration, or a URL that Airflow refuses; the text may hold a password
        raise InputError(f"Airflow cannot be imported: {type(error).__name__}; airflow db check shows it") from None
    rows = heaviest(engine, count)
    shared = throw_away.shared_objects()
    audited = []
    with closing(LateBars()) as bars:
        for number, row in enumerate(rows):
            bars.step("auditing", number, len(rows))
            audited.append(_audited(row, shared))
    return audited


def _audited(row: VersionRow, shared: Sequence[object]) -> Audited:
    from dagcache.airflow import throw_away
    from dagcache.sizing.audit import audit_copy

    try:
        found = audit_copy(partial(throw_away.load, row.id), shared=shared)
    except Exception as error:  # the text may hold a password, or a part of the DAG
        return Audited(row.dag_id, row.version_number, row.payload_bytes, error=type(error).__name__)
    return Audited(
        row.dag_id,
        row.version_number,
        row.payload_bytes,
        pympler_bytes=found.pympler_bytes,
        walked_bytes=found.walked_bytes,
        allocated_bytes=found.allocated_bytes,
        walk_error_ratio=found.walk_error_ratio,
        walk_allocation_error_ratio=found.walk_allocation_error_ratio,
        complete=found.complete,
        error=found.pympler_error,
    )


_HEADINGS = ("dag", "version", "serialised", "pympler", "walk", "allocators", "walk/pympler", "walk/allocators")


def _lines(audited: Sequence[Audited]) -> list[str]:
    rows = [_HEADINGS, *map(_cells, audited)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    lines = [
        "  ".join(cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(cells))
        for cells in (zip(row, widths, strict=True) for row in rows)
    ]
    lines += [f"note: {each.dag_id}: {each.error}" for each in audited if each.error]
    lines += [
        f"note: {each.dag_id}: pympler or the walk did not see all of it"
        for each in audited
        if not each.complete and not each.error
    ]
    return lines


def _cells(each: Audited) -> tuple[str, ...]:
    sizes = (each.serialized_bytes, each.pympler_bytes, each.walked_bytes, each.allocated_bytes)
    ratios = (each.walk_error_ratio, each.walk_allocation_error_ratio)
    return (
        each.dag_id,
        str(each.version_number),
        *("-" if size is None else format_bytes(size) for size in sizes),
        *("-" if ratio is None else f"{ratio + 1:.3f}" for ratio in ratios),
    )
