"""How much of the code the normal suite reaches, branches included."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from tools.scorecard.outcome import Outcome
from tools.scorecard.processes import MeasureError, last_line, run, run_tests

APART = {"loader.py", "metadata.py", "recorded.py", "trace.py", "simulation.py", "attribution.py"}
"""The package's own files that are not part of the core."""


def branch_coverage() -> Outcome:
    """Of the core: the package's own files, and `sizing`."""
    with tempfile.TemporaryDirectory() as folder:
        data, report = Path(folder, "data"), Path(folder, "report.json")
        tests = run_tests(coverage=data)
        told = ["--fail-under=0", f"--data-file={data}", "-o", str(report)]
        _, output, errors = run([sys.executable, "-m", "coverage", "json", "-q", *told])
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
    in_core = path.parent.name == "sizing" or path.parent == Path("dagcache")
    return in_core and path.name not in APART
