"""Upgrades and rollbacks with one warm store on disk: ``python -m tools.upgrades``, on an idle machine.

A process of each environment in turn looks up all versions of one database. An environment that has had a process
before thaws what that process has stored, and loads only what has no portable form. A new environment thaws nothing,
and stores all that the first one has stored. Each DAG is compared with Airflow's own load. The environments are
those of `tools.matrix`, and one with another version number of dagcache.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dagcache.demo.playground import environment
from tools import environments, matrix

_VERSIONS = 60
"""Generated ones, beside those of Airflow's examples."""
_LOOK = Path(__file__).with_name("look.py")
_OTHER = "0.0.1"
_DAGCACHE = ("dagcache", "sizing", "metrics", "pyproject.toml", "README.md", "LICENSE")
_KEY = "of a store that is thrown away"
_LEAST = 0.98
"""Of the versions: those with a plugin's class are never stored. Airflow has two such examples."""
_DICTIONARY = 1
"""A record that is not a version."""


class Step(NamedTuple):
    """A process after a change."""

    change: str
    row: str
    """Of `tools.matrix`: the versions of Airflow and of Python."""
    dagcache: str = ""
    """Its version number; empty: that of the checkout."""
    differing: frozenset[str] = frozenset()
    """Parts of the fingerprint that at least differ from those of the step before."""


_AIRFLOW = frozenset({"apache-airflow-core", "apache-airflow-task-sdk", "source of airflow.serialization"})
_PYTHON = frozenset({"python"})
STEPS = (
    Step("first start", "3.3.1-py3.11"),
    Step("restart", "3.3.1-py3.11"),
    Step("upgrade of Airflow", "3.3.2-py3.11", differing=_AIRFLOW),
    Step("restart", "3.3.2-py3.11"),
    Step("another dagcache", "3.3.2-py3.11", _OTHER, differing=frozenset({"dagcache"})),
    Step("restart", "3.3.2-py3.11", _OTHER),
    Step("rollback of dagcache", "3.3.2-py3.11", differing=frozenset({"dagcache"})),
    Step("upgrade of Python", "3.3.2-py3.13", differing=_PYTHON),
    Step("restart", "3.3.2-py3.13"),
    Step("rollback of Python", "3.3.2-py3.11", differing=_PYTHON),
    Step("rollback of Airflow", "3.3.1-py3.11", differing=_AIRFLOW),
)
"""These two versions of Airflow have the same tables: a rollback needs no downgrade of the database."""


def faults(step: Step, found: Mapping[str, Any], *, known: int | None, least: float) -> Iterator[str]:
    """What is wrong with the figures of a step's process.

    Args:
        step: the step.
        found: the figures, as `look` prints them.
        known: the records that the first process of this environment has stored; None for that process itself.
        least: the records that a first process has to store.

    """
    versions = f"of {found['versions']} versions"
    if known is not None and found["thawed"] < known - _DICTIONARY:
        yield f"{found['thawed']} {versions} were thawed, {known - _DICTIONARY} were stored"
    if known is not None and found["stored"]:
        yield f"{found['stored']} records were stored again"
    if known is None and (found["hits"] or found["thawed"]):
        yield f"{found['hits']} records of another environment were read, {found['thawed']} thawed"
    if known is None and found["stored"] < least:
        yield f"{found['stored']} records {versions} were stored"
    yield from (f"{found[name]} {name}" for name in ("forged", "refused", "errors") if found[name])
    yield from found["different"]
    airflow, _, python = step.row.partition("-py")
    if found["airflow"] != airflow or not found["python"].startswith(f"{python}."):
        yield f"it is not the environment {step.row}"
    if step.dagcache and found["dagcache"] != step.dagcache:
        yield f"it is not dagcache {step.dagcache}"


def missing_parts(step: Step, now: Mapping[str, str], before: Mapping[str, str]) -> list[str]:
    """The parts of the fingerprint that should differ from those of the step before, and do not."""
    return sorted(name for name in step.differing if now[name] == before[name])


def run(step: Step, env: Mapping[str, str], other_dagcache: Path) -> dict[str, Any]:
    """The figures of a step's process."""
    python = str(python_of(step.row))
    environments.run(python, "-m", "airflow", "db", "migrate", env=env)
    paths = [other_dagcache] if step.dagcache else []
    path = os.pathsep.join(map(str, [*paths, matrix.ROOT]))
    output = environments.run(python, str(_LOOK), env={**env, "PYTHONPATH": path})
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found


def python_of(row: str) -> Path:
    """The interpreter of a row's environment, which is built if there is none."""
    base = matrix.python_of(row)
    if base is None:
        sys.exit(f"the interpreter of {row} is not installed")
    return environments.build(matrix.VENVS / row, base, matrix.requirements(row))


def install_other_dagcache(folder: Path) -> Path:
    """The checkout under another version, installed beside the environments; the folder for ``PYTHONPATH``."""
    source, installed = folder / "source", folder / "installed"
    source.mkdir()
    for name in _DAGCACHE:
        there = matrix.ROOT / name
        (shutil.copytree if there.is_dir() else shutil.copy)(there, source / name)
    project = source / "pyproject.toml"
    text, count = re.subn(r'^version = ".*"$', f'version = "{_OTHER}"', project.read_text(), flags=re.MULTILINE)
    assert count == 1, f"{count} versions in pyproject.toml"
    project.write_text(text)
    pip = ("-m", "pip", "install", "--quiet", "--no-deps", "--target", str(installed), str(source))
    environments.run(str(python_of(STEPS[0].row)), *pip)
    return installed


def steps(scratch: Path) -> Iterator[tuple[Step, dict[str, Any]]]:
    """Each step with the figures of its process, over one home."""
    home, other = scratch / "home", scratch / "other"
    for each in (home, other):
        each.mkdir()
    env = environment(home, metrics_port=0, warm_start="disk", warm_start_path=home / "warm", warm_start_key=_KEY)
    playground = ("-m", "dagcache.demo.playground", "--home", str(home), "--versions", str(_VERSIONS))
    environments.run(str(python_of(STEPS[0].row)), *playground, env=env)
    other_dagcache = install_other_dagcache(other)
    for step in STEPS:
        yield step, run(step, env, other_dagcache)


def main() -> int:
    """Run the steps; 0 if no figure is wrong."""
    failed, parts = False, dict[str, str]()
    stored: dict[tuple[str, str], int] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for step, found in steps(Path(scratch)):
            place = step.row, step.dagcache
            least = next(iter(stored.values()), found["versions"] * _LEAST)
            wrong = list(faults(step, found, known=stored.get(place), least=least))
            wrong += (f"{name} is as before" for name in missing_parts(step, found["parts"], parts))
            stored.setdefault(place, found["stored"])
            parts, failed = found["parts"], failed or bool(wrong)
            environment = "Airflow {airflow}, Python {python}, dagcache {dagcache}".format_map(found)
            figures = "{versions} versions, {thawed} thawed, {stored} records stored".format_map(found)
            sys.stdout.write(f"{step.change} ({environment}): {figures}: {'; '.join(wrong) or 'ok'}\n")
            sys.stdout.flush()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
