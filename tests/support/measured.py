"""Branch coverage of a child process, if the process that starts it is measured."""

from __future__ import annotations

import os
import sys

from tests.support.paths import ROOT


def measured() -> dict[str, str]:
    """The variables by which coverage measures a child; none if it does not measure this process.

    For children that end by themselves and have seconds to do it: coverage writes its data at the interpreter's end.
    """
    if "coverage" not in sys.modules:
        return {}
    from coverage import Coverage

    current = Coverage.current()
    if current is None:
        return {}
    data = os.path.abspath(str(current.get_option("run:data_file")))
    return {"COVERAGE_PROCESS_START": str(ROOT / "pyproject.toml"), "COVERAGE_FILE": data}
