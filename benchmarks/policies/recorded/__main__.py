"""``python -m benchmarks.policies.recorded [--only NAME] [--seconds 270]``: record traces of real schedulers again.

Each pattern gets a throw-away home, a real ``airflow scheduler`` with the cache in it, unbounded, and beside it a
process that triggers runs and writes new versions as the pattern says. The scheduler writes the trace; the names of
the machine and the time are not kept.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.policies.recorded.files import TRACES, keep
from benchmarks.policies.recorded.patterns import PATTERNS, Pattern
from benchmarks.scheduler import real_scheduler
from dagcache.demo.playground import environment
from dagcache.traces.reading import read_trace

ROOT = Path(__file__).resolve().parents[3]


def main() -> None:
    """Record one after the other."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.policies.recorded", description=__doc__)
    parser.add_argument("--only", metavar="NAME", choices=[pattern.name for pattern in PATTERNS], help="one of them")
    parser.add_argument("--seconds", type=float, default=270.0, help="of each (default: 270)")
    parser.add_argument("--to", type=Path, default=TRACES, metavar="FOLDER", help="instead of beside this file")
    chosen = parser.parse_args()
    for pattern in PATTERNS:
        if chosen.only in (None, pattern.name):
            with tempfile.TemporaryDirectory() as scratch:
                recorded = record(pattern, Path(scratch), chosen.seconds)
                trace = read_trace(recorded)
                nbytes = keep(recorded, chosen.to, pattern.name)
            print(
                f"{pattern.name}: {len(trace.lookups)} lookups of {trace.keys} versions in {trace.seconds:.0f} s,"
                f" {trace.tiers['miss']} loads, {nbytes // 1024} KiB",
                flush=True,
            )


def record(pattern: Pattern, home: Path, seconds: float) -> Path:
    """Let a scheduler work for so long in a new home; return the path of its trace."""
    playground = [sys.executable, "-m", "dagcache.demo.playground", "--no-examples", "--versions", "0"]
    subprocess.run([*playground, "--home", home], stdout=sys.stderr, check=True)
    env = environment(home, examples=False, mode="off") | {"PYTHONPATH": str(ROOT)}
    installation = [sys.executable, "-m", "benchmarks.policies.recorded.installation", pattern.name]
    subprocess.run([*installation, "write"], env=env, stdout=sys.stderr, check=True)
    traces = home / "traces"
    with (
        (home / "scheduler.log").open("w") as log,
        subprocess.Popen([*installation, "live"], env=env, stdout=subprocess.PIPE, stderr=log) as life,
    ):
        assert life.stdout is not None
        life.stdout.readline()  # it is ready, and begins
        with real_scheduler(env | _settings(pattern, traces), log):
            try:
                time.sleep(seconds)
            finally:
                life.terminate()
    if life.returncode > 0:  # it was ended, or had nothing to do, unless it failed
        sys.exit((home / "scheduler.log").read_text()[-2000:])
    (recorded,) = traces.iterdir()
    return recorded


def _settings(pattern: Pattern, traces: Path) -> dict[str, str]:
    """Of the scheduler."""
    return {
        "AIRFLOW__CORE__EXECUTOR": "benchmarks.policies.recorded.executor.DrawnSeconds",
        "AIRFLOW__CORE__PARALLELISM": "200",
        "AIRFLOW__SCHEDULER__MAX_TIS_PER_QUERY": "0",
        "AIRFLOW__SCHEDULER__MAX_DAGRUNS_PER_LOOP_TO_SCHEDULE": str(pattern.runs_per_loop),
        "BENCHMARKS_TASK_SECONDS": f"{pattern.task_seconds},{pattern.idle_seconds}",
        "AIRFLOW__DAGCACHE__MODE": "enforce",
        "AIRFLOW__DAGCACHE__MAX_BYTES": "0",
        "AIRFLOW__DAGCACHE__METRICS_PORT": "0",
        "AIRFLOW__DAGCACHE__TRACE": str(traces),
    }


if __name__ == "__main__":
    main()
