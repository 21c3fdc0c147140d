"""Measure the scorecard.

    python -m tools.scorecard [--line R9 ...] [--short] [--page docs/reliability.md]
    python -m tools.scorecard --reruns 100 [--suite core|others|all|airflow]

Prints one table, as Markdown; progress goes to stderr. Exits with 1 if a line fails. ``--reruns`` runs tests so many
times over and counts the runs that fail: the core's, the others, both of these as ``make check`` does, or those with a
real Airflow.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tools.scorecard.board import BOARD
from tools.scorecard.outcome import Check, Outcome
from tools.scorecard.processes import MeasureError
from tools.scorecard.reruns import SUITES, count_failures
from tools.scorecard.table import HEAD, machine, row, write_page


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what is asked for; 1 if a line failed."""
    parser = argparse.ArgumentParser(prog="python -m tools.scorecard", description="Measure the scorecard.")
    parser.add_argument("--line", nargs="+", default=[], metavar="R9", help="only these lines")
    parser.add_argument("--short", action="store_true", help="smaller numbers: minutes instead of an hour")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the table between the marks of this page")
    parser.add_argument("--reruns", type=int, metavar="N", help="run tests N times instead")
    parser.add_argument("--suite", choices=SUITES, default="core", help="which tests to rerun")
    chosen = parser.parse_args(argv)
    if chosen.reruns:
        return 1 if count_failures(chosen.reruns, chosen.suite) else 0
    unknown = set(chosen.line) - {check.line for check in BOARD}
    if unknown:
        parser.error(f"no such line: {', '.join(sorted(unknown))}")
    checks = [check for check in BOARD if not chosen.line or check.line in chosen.line]
    rows, failed = [], False
    for check in checks:
        outcome = _measured(check, chosen.short)
        failed = failed or outcome.passed is False
        rows.append(row(check, outcome))
        if chosen.page:  # after each, because the next line may take long
            write_page(chosen.page, BOARD, rows)
    print(machine(), "", HEAD, *rows, sep="\n")  # noqa: T201 - it is a command
    return 1 if failed else 0


def _measured(check: Check, short: bool) -> Outcome:
    _tell(f"{check.line}: {check.what} ...")
    started = time.monotonic()
    try:
        outcome = check.measure(short)
    except MeasureError as error:
        outcome = Outcome(str(error), passed=False)
    _tell(f"{check.line}: {outcome.verdict} after {time.monotonic() - started:.0f} s: {outcome.figure}")
    return outcome


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
