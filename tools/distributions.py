"""The contents of the built distributions: ``python -m tools.distributions FOLDER``.

The wheel has only the package with its data. The sdist also has the documentation and the tests.
"""

from __future__ import annotations

import sys
import tarfile
import zipfile
from collections.abc import Collection, Sequence
from pathlib import Path

IN_WHEEL = (
    "dagcache/py.typed",
    "dagcache/__main__.py",
    "dagcache/metrics/alerts.yaml",
    "dagcache/metrics/dashboard.json",
    "dagcache/sizing/walk.py",
)
IN_SDIST = (
    "CHANGELOG.md",
    "LICENSE",
    "PYPI.md",
    "README.md",
    "docs/metrics.md",
    "docs/monitoring/alerts.yaml",
    "metrics/alerts.yaml",
    "metrics/dashboard.json",
    "pyproject.toml",
    "sizing/walk.py",
    "tests/unit/test_layering.py",
    "tests/in_airflow/constraints.txt",
    "tools/monitoring/alerts.py",
)


def faults(folder: Path) -> list[str]:
    """The faults of the wheel and the sdist in a folder."""
    wheels, sdists = list(folder.glob("*.whl")), list(folder.glob("*.tar.gz"))
    if len(wheels) != 1 or len(sdists) != 1:
        return [f"expected one wheel and one sdist in {folder}, found {len(wheels)} and {len(sdists)}"]
    with zipfile.ZipFile(wheels[0]) as wheel:
        in_wheel = wheel.namelist()
    with tarfile.open(sdists[0]) as sdist:
        in_sdist = [member.name.partition("/")[2] for member in sdist.getmembers() if member.isfile()]
    foreign = [name for name in in_wheel if not name.startswith(("dagcache/", "dagcache-"))]
    compiled = [name for name in in_sdist if name.endswith(".pyc")]
    return [
        *_missing("wheel", IN_WHEEL, in_wheel),
        *_missing("sdist", IN_SDIST, in_sdist),
        *(f"the wheel has {name}" for name in foreign),
        *(f"the sdist has {name}" for name in compiled),
    ]


def _missing(where: str, wanted: Sequence[str], found: Collection[str]) -> list[str]:
    return [f"the {where} has no {name}" for name in wanted if name not in found]


def main(argv: Sequence[str] | None = None) -> int:
    """Print the faults; 0 if there are none."""
    (folder,) = sys.argv[1:] if argv is None else argv
    found = faults(Path(folder))
    sys.stdout.writelines(f"{fault}\n" for fault in found)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
