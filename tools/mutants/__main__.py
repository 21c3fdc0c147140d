"""``python -m tools.mutants [--jobs N] [NAME ...]``: plant each seeded fault, or those whose names contain a text.

Prints a line per fault. Exits with 1 unless a test noticed each of them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tools.mutants.fault import Fault
from tools.mutants.faults import FAULTS
from tools.mutants.runner import Verdict, check_tests, try_fault


def chosen(names: Sequence[str]) -> list[Fault]:
    """The faults whose names contain one of some texts; all if there is none."""
    return [fault for fault in FAULTS if not names or any(name in fault.name for name in names)]


def run(faults: Sequence[Fault], jobs: int) -> int:
    """Plant faults, some at a time; the exit code."""
    with ThreadPoolExecutor(jobs) as pool:
        checked = pool.submit(check_tests, faults)
        results = []
        for result in pool.map(try_fault, faults):
            results.append(result)
            _print(result.line())
    failure = checked.result()
    if failure:
        _print(f"a test fails without a fault, too: {failure}")
    killed = sum(result.verdict is Verdict.KILLED for result in results)
    _print(f"{killed} of {len(faults)} seeded faults were noticed")
    return int(not faults or killed < len(faults) or bool(failure))


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m tools.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="a part of a fault's name; default: all faults")
    parser.add_argument("--jobs", type=int, default=2, help="faults at a time (default: %(default)s)")
    arguments = parser.parse_args()
    sys.exit(run(chosen(arguments.names), arguments.jobs))


if __name__ == "__main__":
    main()
