"""`python -m benchmarks.policies`: every policy on every trace, and the time to choose a victim."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from benchmarks.policies.choice import time_choices
from benchmarks.policies.scoreboard import as_json, case_table, choice_table, policy_table, summary
from benchmarks.policies.simulate import POLICIES, RECORDED_SETS, CaseResult, all_cases, quick_cases, run_cases

RESIDENTS = (1_000, 10_000, 100_000)


def main() -> None:
    """Run, show progress on stderr and the tables on stdout."""
    options = _parse()
    timings = [time_choices(residents) for residents in RESIDENTS]
    results = _run(options.quick, options.jobs)
    for kind in dict.fromkeys(result.cases for result in results):
        members = [result for result in results if result.cases == kind]
        print(f"\nCost of misses / offline cost, geometric means, {len(members)} cases: {kind}\n")
        print(policy_table(summary(members)))
        if kind in RECORDED_SETS:
            print(f"\n{case_table(members)}")
    print("\nA miss in a full cache\n")
    print(choice_table(timings))
    if options.json:
        options.json.write_text(json.dumps(as_json(results, timings), indent=1))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.policies", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one budget for each of a few traces")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes (default: 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure")
    return parser.parse_args()


def _run(quick: bool, jobs: int) -> list[CaseResult]:
    cases = quick_cases() if quick else all_cases()
    results = []
    start = time.monotonic()
    for result in run_cases(cases, list(POLICIES), jobs):
        results.append(result)
        elapsed = time.monotonic() - start
        done = f"{len(results)}/{len(cases)} cases, {elapsed:.0f} s: {result.trace} {result.share:.2f}"
        print(f"\r{done:70}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return results


if __name__ == "__main__":
    main()
