"""Imports run downwards only; the core imports no third-party package; each foreign library has one home."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import dagcache

ROOT = Path(dagcache.__file__).parent

LAYERS = [
    ["errors", "gcpause", "history", "clock", "pace"],
    ["sizing"],
    ["stats", "config", "ghosts", "freezing", "reclaim", "flights", "exclusion"],
    ["policy", "entry", "costs"],
    ["deadlines", "families", "intake", "hits"],
    ["store"],
    ["reaper", "telling"],
    ["cache"],
    ["metrics"],
]
"""From the bottom up. A module may import what stands in lower layers, and its neighbours as `SIDEWAYS` says."""

SIDEWAYS = {
    "freezing": {"gcpause"},
    "telling": {"reaper"},
    "policy": {"ghosts", "history"},
    "ghosts": {"history"},
    "sizing": {"sizing"},
    "metrics": {"metrics"},
}

HOMES = {"pympler": "sizing/audit.py", "prometheus_client": "metrics/collector.py"}


def modules() -> list[Path]:
    """Every module of the package, links followed."""
    return sorted(path for folder in (ROOT, ROOT / "sizing", ROOT / "metrics") for path in folder.glob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """The full names of everything a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import can load a second copy of a module"
            yield node.module or ""
            if node.module == "dagcache":
                yield from (f"dagcache.{alias.name}" for alias in node.names)


def room(path: Path) -> str:
    """The name of a module in `LAYERS`."""
    relative = path.relative_to(ROOT)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def floor(name: str) -> int:
    """The number of a room's layer."""
    return next(number for number, layer in enumerate(LAYERS) if name in layer)


def test_every_module_has_a_layer() -> None:
    """A new file must say where it belongs."""
    assert {room(path) for path in modules()} - {"__init__"} == {name for layer in LAYERS for name in layer}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_downwards(path: Path) -> None:
    """No module imports from its own layer or a higher one, but for the neighbours it is allowed."""
    here = room(path)
    if here == "__init__":
        return
    for name in imports(path):
        if name.startswith("dagcache."):
            there = name.split(".")[1]
            assert floor(there) < floor(here) or there in SIDEWAYS.get(here, ()), f"{here} imports {there}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_foreign_libraries_stay_at_home(path: Path) -> None:
    """Whatever is not of the standard library is imported in exactly one file."""
    for name in imports(path):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top != "dagcache":
            assert HOMES.get(top) == path.relative_to(ROOT).as_posix(), f"{path} imports {top}"


def test_importing_the_cache_imports_nothing_foreign() -> None:
    """What a scheduler pays for at start-up is this package and the standard library."""
    import subprocess

    code = (
        "import sys; import dagcache; known = set(sys.stdlib_module_names) | {'dagcache'};"
        "print(sorted({name.partition('.')[0] for name in sys.modules} - known))"
    )
    output = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, cwd=ROOT.parent)
    assert output.stdout.strip() == "['__main__']" or output.stdout.strip() == "[]", output.stdout + output.stderr
