"""Imports run downwards only; the core imports no third-party package; each foreign library has one home."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import dagcache

ROOT = Path(dagcache.__file__).parent

LAYERS = [
    ["errors", "lock", "log_limits", "own_version", "patience"],
    ["sizing.limits", "sizing.kernel_files", "sizing.blocks", "sizing.arrays"],
    ["sizing.instances"],
    ["sizing.walk"],
    ["sizing.durations", "sizing.estimate", "sizing.audit", "sizing.cgroups"],
    ["sizing.memory"],
    ["stats", "history", "clock", "pace", "gcpause", "allowance"],
    ["reducers", "set_order", "proven"],
    ["templates", "dictionary"],
    ["pickling"],
    ["config", "entry", "costs", "ghosts", "reclaim", "flights", "exclusion"],
    ["freezing"],
    ["reweighing"],
    ["policy", "deadlines", "families", "intake", "hits", "waiting_room"],
    ["store"],
    ["reaper", "simulation"],
    ["telling"],
    ["cache"],
    ["pressure", "heap", "trace", "attribution"],
    ["recorded"],
    ["metadata"],
    ["loader"],
    ["metrics.names", "metrics.ports", "metrics.targets", "metrics.scrape"],
    ["metrics.collector", "metrics.answers", "metrics.dashboard", "metrics.alerts"],
    ["metrics.server"],
    ["metrics.exposition"],
    ["airflow.foreign"],
    [
        "airflow.options",
        "airflow.graphs",
        "airflow.rows",
        "airflow.snapshots",
        "airflow.operator_links",
        "airflow.synthetic",
        "airflow.sharing",
        "airflow.payload",
        "airflow.workers",
    ],
    ["airflow.provider_info", "airflow.settings", "airflow.waiting", "airflow.quarantine", "airflow.confirmations"],
    ["airflow.component"],
    ["airflow.bag"],
    ["airflow.hook"],
    ["airflow.bootstrap"],
    ["airflow.playground", "airflow.sweep", "airflow.diagnosis"],
    ["advice.history", "advice.sizes"],
    ["advice.sampling", "advice.working_set"],
    ["advice.curve"],
    ["advice.recommend"],
    ["advice.report"],
    ["cli.broken_pipe", "cli.failure", "cli.figures", "cli.logs", "cli.processes", "cli.progress", "cli.run_counts"],
    ["cli.endpoints", "cli.live_view", "cli.polling", "cli.curve"],
    ["cli.comparison", "cli.home", "cli.checks", "cli.window"],
    ["cli.verdict"],
    ["cli.watch"],
    ["cli.picture"],
    ["cli.run", "cli.top", "cli.doctor", "cli.replay", "cli.advise"],
    ["cli.main"],
    ["cli.__main__"],
    ["public"],
    [""],
]
"""From the bottom up; "" is the package itself. A module may import what stands in lower layers, nothing beside it."""

HOMES = {
    "pympler": ("sizing.audit",),
    "prometheus_client": ("metrics",),
    "airflow": ("airflow",),
    "sqlalchemy": ("metadata", "loader", "advice.history", "airflow"),
    "psutil": ("cli",),
    "rich": ("cli",),
    "plotext": ("cli.curve",),
    "matplotlib": ("cli.curve",),
}
"""The modules, or folders, that may import a foreign library: one, but for SQLAlchemy, which Airflow wants as well."""

MOVING = {"airflow.foreign", "airflow.graphs", "airflow.sweep", "airflow.diagnosis"}
"""What may import by a name that it finds out: Airflow's modules have moved from one version to the next."""

APART = {"sizing.audit"}
"""What no other module may import, for its library is not always there."""


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


def imports(source: str) -> Iterator[str]:
    """The full names of the modules that a source imports, wherever in it, by statement or by a call with a literal."""
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


def floor(name: str) -> int:
    """The number of a module's layer."""
    return next((number for number, layer in enumerate(LAYERS) if name in layer), len(LAYERS))


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
            allowed = floor(inner) < floor(name) and inner not in APART
        else:
            allowed = top in sys.stdlib_module_names or lives_in(name, HOMES.get(top, ()))
        if not allowed:
            wrong.append(imported)
    return wrong


def test_every_module_has_one_layer() -> None:
    """A new file must say where it belongs, and one that is gone leaves its place."""
    assert sorted(MODULES) == sorted(name for layer in LAYERS for name in layer)


@pytest.mark.parametrize("name", MODULES)
def test_imports_keep_the_rules(name: str) -> None:
    """No module imports from its own layer or a higher one, nor a foreign library that lives elsewhere."""
    assert not faults(name, MODULES[name].read_text())


@pytest.mark.parametrize(("library", "home"), [(library, home) for library, homes in HOMES.items() for home in homes])
def test_a_home_is_inhabited(library: str, home: str) -> None:
    """A permission that nobody needs any more goes."""
    sources = [path.read_text() for name, path in MODULES.items() if lives_in(name, (home,))]
    assert library in {name.partition(".")[0] for source in sources for name in imports(source)}


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("store", "from dagcache.cache import DagCache"),
        ("store", "from dagcache import cache"),
        ("store", "from dagcache import DagCache"),
        ("store", "import dagcache"),
        ("store", "import dagcache.cache"),
        ("policy", "from dagcache.store import Store"),
        ("policy", "from dagcache.families import Families"),
        ("sizing.walk", "from dagcache.sizing.estimate import LearnedSizer"),
        ("sizing.walk", "from dagcache.stats import Tally"),
        ("cache", "from dagcache.metrics.collector import CacheCollector"),
        ("cache", "from dagcache.sizing.audit import audit"),
        ("cache", "from sizing.walk import weigh"),
        ("cache", "from .store import Store"),
        ("cache", "from . import store"),
        ("cache", "def later():\n    import prometheus_client"),
        ("cache", "from prometheus_client import Counter"),
        ("cache", "import pympler.asizeof"),
        ("cache", "import importlib\nimportlib.import_module('pympler.asizeof')"),
        ("cache", "from importlib import import_module\nimport_module(chosen)"),
        ("cache", "from dagcache.unheard_of import anything"),
        ("metrics.collector", "import airflow"),
    ],
)
def test_a_broken_rule_is_noticed(name: str, source: str) -> None:
    """Each way of breaking one, in a source of its own."""
    assert faults(name, source)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("cache", "import os\nfrom dagcache import hits\nfrom dagcache.store import Store"),
        ("sizing.audit", "import importlib\nimportlib.import_module('pympler.asizeof')"),
        ("metrics.collector", "from prometheus_client.core import CounterMetricFamily"),
    ],
)
def test_what_is_allowed_is_no_fault(name: str, source: str) -> None:
    """The standard library, what stands lower, and the library that lives here."""
    assert not faults(name, source)


def test_importing_the_cache_imports_nothing_foreign() -> None:
    """What a scheduler pays for at start-up is this package and the standard library."""
    code = (
        "import sys; import dagcache; known = {*sys.stdlib_module_names, 'dagcache', '__main__'};"
        "print(sorted({name.partition('.')[0] for name in sys.modules} - known))"
    )
    output = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, cwd=ROOT.parent, timeout=60
    )
    assert output.stdout.strip() == "[]", output.stdout + output.stderr


def test_the_package_names_what_it_offers_and_nothing_else() -> None:
    """Though it imports nothing until it is asked."""
    assert set(dagcache.__all__) <= set(dir(dagcache))
    assert all(getattr(dagcache, name) for name in dagcache.__all__)
    with pytest.raises(AttributeError, match="no attribute 'DagCash'"):
        _ = dagcache.DagCash
