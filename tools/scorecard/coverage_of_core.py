"""How much of the code the normal suite reaches, branches included."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from tools.scorecard.outcome import Outcome
from tools.scorecard.processes import MeasureError, last_line, run, run_tests
from tools.scorecard.reruns import CORE_ROOMS

ON_TOP = {"config.py", "errors.py", "forks.py", "log_limits.py", "pressure.py", "stats.py"}
"""The core's modules outside of its rooms."""


def branch_coverage() -> Outcome:
    """Of the core: its rooms, and its modules on the top level."""
    with tempfile.TemporaryDirectory() as folder:
        data, report = Path(folder, "data"), Path(folder, "report.json")
        tests = run_tests(coverage=data)
        coverage = [sys.executable, "-m", "coverage"]
        run([*coverage, "combine", "-q", f"--data-file={data}"])
        options = ["--fail-under=0", f"--data-file={data}", "-o", str(report)]
        _, output, errors = run([*coverage, "json", "-q", *options])
        if not report.exists():
            raise MeasureError(f"the report is missing: {last_line(output + errors)}")
        files = json.loads(report.read_text())["files"]
    core = {Path(name): facts["summary"] for name, facts in files.items() if _is_core(Path(name))}
    total = sum(each["num_statements"] + each["num_branches"] for each in core.values())
    reached = sum(each["covered_lines"] + each["covered_branches"] for each in core.values())
    gaps = [f"{path.name} {facts['percent_covered']:.1f}" for path, facts in core.items() if facts["missing_lines"]]
    figure = f"{100 * reached / total:.2f} % of {len(core)} files ({tests.outcome.figure}) {', '.join(gaps[:5])}"
    return Outcome(figure, passed=tests.outcome.passed is True and reached == total)


def _is_core(path: Path) -> bool:
    return path.parent.name in CORE_ROOMS or (path.parent.name == "dagcache" and path.name in ON_TOP)
