"""The contents of the built distributions: ``python -m tools.distributions FOLDER``.

The wheel has the files of the package, byte for byte, and nothing else. So tests of the code need not run against the
wheel as well. The sdist also has the documentation and the tests.
"""

from __future__ import annotations

import sys
import tarfile
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "dagcache"
OUTSIDE = ("metrics", "sizing")
"""Folders of the package that are beside it in the checkout."""
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


def faults(folder: Path, checkout: Path = ROOT) -> list[str]:
    """The faults of the wheel and the sdist in a folder, built from a checkout."""
    wheels, sdists = list(folder.glob("*.whl")), list(folder.glob("*.tar.gz"))
    if len(wheels) != 1 or len(sdists) != 1:
        return [f"expected one wheel and one sdist in {folder}, found {len(wheels)} and {len(sdists)}"]
    with zipfile.ZipFile(wheels[0]) as wheel:
        in_wheel = {name: wheel.read(name) for name in wheel.namelist()}
    with tarfile.open(sdists[0]) as sdist:
        in_sdist = [member.name.partition("/")[2] for member in sdist.getmembers() if member.isfile()]
    compiled = [name for name in in_sdist if name.endswith(".pyc")]
    return [
        *_differences(dict(files_of_package(checkout)), in_wheel),
        *_missing("sdist", IN_SDIST, in_sdist),
        *(f"the sdist has {name}" for name in compiled),
    ]


def files_of_package(checkout: Path) -> Iterator[tuple[str, bytes]]:
    """The files of an installed package: the path, and the content."""
    for place, name in ((PACKAGE, PACKAGE), *((each, f"{PACKAGE}/{each}") for each in OUTSIDE)):
        folder = checkout / place
        for path in folder.rglob("*"):
            inner = path.relative_to(folder)
            is_outside = place == PACKAGE and inner.parts[0] in OUTSIDE  # a link
            if path.is_file() and path.suffix != ".pyc" and not is_outside:
                yield f"{name}/{inner.as_posix()}", path.read_bytes()


def _differences(wanted: Mapping[str, bytes], found: Mapping[str, bytes]) -> list[str]:
    foreign = [name for name in found if name not in wanted and not name.startswith(f"{PACKAGE}-")]
    other = [name for name, content in wanted.items() if found.get(name, content) != content]
    return [
        *_missing("wheel", list(wanted), found),
        *(f"the wheel has {name}" for name in foreign),
        *(f"the wheel has another {name}" for name in other),
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
