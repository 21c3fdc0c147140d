"""Imports run downwards only; the core imports no third-party package; each foreign library has one home."""

from __future__ import annotations

import ast
import functools
import os
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import dagcache
from tests.support.patience import PATIENCE

ROOT = Path(dagcache.__file__).parent

LEVELS = [
    ["errors", "forks", "own_version", "redaction"],
    ["log_limits"],
    ["concurrency"],
    ["sizing"],
    ["config", "stats", "eviction", "reclaim"],
    ["freezing"],
    ["core"],
    ["pressure", "traces", "inspection", "warm_start"],
    ["database"],
    ["metrics"],
    ["airflow"],
    ["advice", "demo"],
    ["cli"],
    ["attribution", "loader", "policy", "recorded", "simulation", "trace"],  # former names
    ["public", "__main__"],
    [""],
]
"""Packages and top-level modules, from the bottom up; "" is the package itself. A module may import lower levels
and, within its own package, any module that does not import it in turn."""

HOMES = {
    "pympler": ("sizing.audit",),
    "prometheus_client": ("metrics",),
    "airflow": ("airflow", "demo"),
    "sqlalchemy": ("database", "advice.history", "airflow", "demo"),
    "psutil": ("cli",),
    "rich": ("cli",),
    "plotext": ("cli.advise.drawing",),
    "matplotlib": ("cli.advise.drawing",),
}
"""The modules, or folders, that may import a foreign library: one, but for SQLAlchemy, which Airflow wants as well."""

MOVING = {
    "airflow.foreign",
    "airflow.graphs",
    "airflow.diagnosis",
    "airflow.loading_code",
    "airflow.reporting",
    "demo.sweep",
}
"""Modules that import by a computed name, because Airflow's modules have moved from one version to the next."""

APART = {"sizing.audit": "cli.audit"}
"""Modules that one package alone may import: pympler is imported for an audit only."""


def modules() -> dict[str, Path]:
    """Every module of the package by its name within it, links followed; packages without content left out."""
    found = {}
    for folder, _, names in os.walk(ROOT, followlinks=True):
        for path in (Path(folder, name) for name in names if name.endswith(".py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            if name == "__init__" or path.stem != "__init__" or ast.parse(path.read_text()).body[1:]:
                found[name.removesuffix("__init__").removesuffix(".")] = path
    return dict(sorted(found.items()))


MODULES = modules()


@functools.cache
def imports(source: str) -> tuple[str, ...]:
    """The full names of the modules that a source imports, wherever in it, by statement or by a call with a literal."""
    return tuple(_imports(source))


def _imports(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.level or not node.module):
            yield "."  # could load a second copy of a module
        elif isinstance(node, ast.ImportFrom):
            for full in (f"{node.module}.{alias.name}" for alias in node.names):
                yield full if full.removeprefix("dagcache.") in MODULES else str(node.module)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            yield ast.literal_eval(node.args[0]) if isinstance(node.args[0], ast.Constant) else "?"


def room(name: str) -> str:
    """The package of a module, or the module itself where it stands on top level."""
    return name.partition(".")[0]


def level(name: str) -> int:
    """The number of a module's level."""
    return next((number for number, rooms in enumerate(LEVELS) if room(name) in rooms), len(LEVELS))


def within(package: str) -> dict[str, set[str]]:
    """For each module of a package the modules of the same package that it imports."""
    inside = {name: path for name, path in MODULES.items() if room(name) == package}
    return {
        name: {found for each in imports(path.read_text()) if (found := each.removeprefix("dagcache.")) in inside}
        for name, path in inside.items()
    }


def lives_in(name: str, homes: tuple[str, ...]) -> bool:
    """Whether a module is one of a library's homes, or in a folder that is."""
    return any(f"{name}.".startswith(f"{home}.") for home in homes)


def faults(name: str, source: str) -> list[str]:
    """The imports by which a module breaks a rule."""
    wrong = []
    for imported in imports(source):
        top, _, inner = imported.partition(".")
        if imported == "?":
            allowed = name in MOVING
        elif top == "dagcache":
            beside = room(inner) == room(name) and inner in MODULES
            allowed = (beside or level(inner) < level(name)) and lives_in(name, (APART.get(inner, name),))
        else:
            allowed = top in sys.stdlib_module_names or lives_in(name, HOMES.get(top, ()))
        if not allowed:
            wrong.append(imported)
    return wrong


def test_every_package_has_one_level() -> None:
    """A new package says where it belongs, and one that is removed leaves its place."""
    assert sorted(set(map(room, MODULES))) == sorted(name for rooms in LEVELS for name in rooms)


@pytest.mark.parametrize("package", sorted(set(map(room, MODULES))))
def test_modules_of_a_package_do_not_import_in_a_circle(package: str) -> None:
    """`TopologicalSorter` raises `CycleError` otherwise."""
    assert set(TopologicalSorter(within(package)).static_order()) == set(within(package))


@pytest.mark.parametrize("name", MODULES)
def test_imports_keep_the_rules(name: str) -> None:
    """No module imports from its own layer or a higher one, nor a foreign library that lives elsewhere."""
    assert not faults(name, MODULES[name].read_text())


@pytest.mark.parametrize(("library", "home"), [(library, home) for library, homes in HOMES.items() for home in homes])
def test_a_home_is_inhabited(library: str, home: str) -> None:
    sources = [path.read_text() for name, path in MODULES.items() if lives_in(name, (home,))]
    assert library in {name.partition(".")[0] for source in sources for name in imports(source)}


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("core.store", "from dagcache import DagCache"),
        ("core.store", "import dagcache"),
        ("core.store", "from dagcache.pressure import MemoryPressure"),
        ("eviction.policy", "from dagcache.core.store import Store"),
        ("eviction.policy", "from dagcache.stats import Tally"),
        ("sizing.walk", "from dagcache.stats import Tally"),
        ("core.cache", "from dagcache.metrics.collector import CacheCollector"),
        ("core.cache", "from dagcache.sizing.audit import audit"),
        ("core.cache", "from sizing.walk import weigh"),
        ("core.cache", "from .store import Store"),
        ("core.cache", "from . import store"),
        ("core.cache", "def later():\n    import prometheus_client"),
        ("core.cache", "from prometheus_client import Counter"),
        ("core.cache", "import pympler.asizeof"),
        ("core.cache", "import importlib\nimportlib.import_module('pympler.asizeof')"),
        ("core.cache", "from importlib import import_module\nimport_module(chosen)"),
        ("core.cache", "from dagcache.unheard_of import anything"),
        ("core.cache", "from dagcache.core.unheard_of import anything"),
        ("metrics.collector", "import airflow"),
    ],
)
def test_a_broken_rule_is_noticed(name: str, source: str) -> None:
    """Each way of breaking one, in a source of its own."""
    assert faults(name, source)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("core.cache", "import os\nfrom dagcache.core import hit_path\nfrom dagcache.core.store import Store"),
        ("sizing.audit", "import importlib\nimportlib.import_module('pympler.asizeof')"),
        ("metrics.collector", "from prometheus_client.core import CounterMetricFamily"),
    ],
)
def test_what_is_allowed_is_no_fault(name: str, source: str) -> None:
    """The standard library, lower levels, and the library with its home here."""
    assert not faults(name, source)


def test_importing_the_cache_imports_nothing_foreign() -> None:
    """At start-up a scheduler pays only for this package and the standard library."""
    code = (
        "import sys; import dagcache; known = {*sys.stdlib_module_names, 'dagcache', '__main__'};"
        "print(sorted({name.partition('.')[0] for name in sys.modules} - known))"
    )
    output = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, cwd=ROOT.parent, timeout=PATIENCE
    )
    assert output.stdout.strip() == "[]", output.stdout + output.stderr


def test_the_package_names_what_it_offers_and_nothing_else() -> None:
    """Though it imports nothing until it is asked."""
    assert set(dagcache.__all__) <= set(dir(dagcache))
    assert all(getattr(dagcache, name) for name in dagcache.__all__)
    with pytest.raises(AttributeError, match="no attribute 'DagCash'"):
        _ = dagcache.DagCash
