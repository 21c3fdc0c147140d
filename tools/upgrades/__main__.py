"""Upgrades and rollbacks with one warm store on disk: ``python -m tools.upgrades``.

A process of each environment in turn looks all versions of one database up. In an environment that has had a process
before, they are thawed. In a new one none are, and they are stored. Each DAG is what Airflow loads there. Versions with
a class of a plugin are never stored. The environments are those of `tools.matrix`, and one with another version of
dagcache.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dagcache.demo.playground import environment
from tools import environments, matrix

_VERSIONS = 60
_LOOK = Path(__file__).with_name("look.py")
_NEXT = "0.0.1"
_DAGCACHE = ("dagcache", "sizing", "metrics", "pyproject.toml", "README.md", "LICENSE")
_KEY = "of a store that is thrown away"
_LONGEST_SECONDS = 900
_LEAST = 0.9
"""Of the versions: those with a plugin's class are not stored, and a lookup waits for at most 250 ms until the store is
open."""


class Step(NamedTuple):
    """A process after a change."""

    change: str
    row: str
    """Of `tools.matrix`."""
    has_other_dagcache: bool = False

    @property
    def environment(self) -> tuple[str, bool]:
        """What decides whether the store has a generation for the process."""
        return self.row, self.has_other_dagcache


STEPS = (
    Step("first start", "3.3.1"),
    Step("restart", "3.3.1"),
    Step("upgrade of Airflow", "3.3.2"),
    Step("restart", "3.3.2"),
    Step("another dagcache", "3.3.2", has_other_dagcache=True),
    Step("restart", "3.3.2", has_other_dagcache=True),
    Step("rollback of dagcache", "3.3.2"),
    Step("upgrade of Python", "3.3.2-py3.13"),
    Step("restart", "3.3.2-py3.13"),
    Step("rollback of Python", "3.3.2"),
    Step("rollback of Airflow", "3.3.1"),
)


def faults(found: Mapping[str, Any], *, is_known: bool) -> Iterator[str]:
    """What is wrong with the figures of a process whose environment has, or has not, been there before."""
    versions = found["versions"]
    least = versions * _LEAST
    if is_known and found["hits"] < least:
        yield f"{found['hits']} of {versions} versions were thawed"
    if not is_known and found["hits"]:
        yield f"{found['hits']} records of another environment were used"
    if not is_known and found["stored"] < least:
        yield f"{found['stored']} of {versions} versions were stored"
    yield from (f"{found[name]} {name}" for name in ("forged", "refused", "errors") if found[name])
    yield from found["different"]


def run(step: Step, env: Mapping[str, str], other_dagcache: Path) -> dict[str, Any]:
    """The figures of a step's process."""
    python = str(python_of(step.row))
    command([python, "-m", "airflow", "db", "migrate"], env)
    paths = [other_dagcache] if step.has_other_dagcache else []
    path = os.pathsep.join(map(str, [*paths, matrix.ROOT]))
    found: dict[str, Any] = json.loads(command([python, str(_LOOK)], {**env, "PYTHONPATH": path}).splitlines()[-1])
    return found


def python_of(row: str) -> Path:
    """The interpreter of a row's environment, which is built if there is none."""
    base = matrix.python_of(row)
    if base is None:
        sys.exit(f"the interpreter of {row} is not installed")
    return environments.build(matrix.VENVS / row, base, matrix.requirements(row))


def command(words: Iterable[str], env: Mapping[str, str]) -> str:
    """The output of a command; this process exits with the end of the errors if it fails."""
    words = list(words)
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False, timeout=_LONGEST_SECONDS)
    if done.returncode:
        sys.exit(f"{' '.join(words)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout


def install_other_dagcache(folder: Path) -> Path:
    """The checkout under another version, installed beside the environments; the folder for ``PYTHONPATH``."""
    source, installed = folder / "source", folder / "installed"
    source.mkdir()
    for name in _DAGCACHE:
        there = matrix.ROOT / name
        (shutil.copytree if there.is_dir() else shutil.copy)(there, source / name)
    project = source / "pyproject.toml"
    text, count = re.subn(r'^version = ".*"$', f'version = "{_NEXT}"', project.read_text(), flags=re.MULTILINE)
    assert count == 1, f"{count} versions in pyproject.toml"
    project.write_text(text)
    pip = ("-m", "pip", "install", "--quiet", "--no-deps", "--target", str(installed), str(source))
    command([str(python_of(STEPS[0].row)), *pip], os.environ)
    return installed


def steps(scratch: Path) -> Iterator[tuple[Step, dict[str, Any]]]:
    """Each step with the figures of its process, over one home."""
    home, other = scratch / "home", scratch / "other"
    for each in (home, other):
        each.mkdir()
    env = environment(home, metrics_port=0, warm_start="disk", warm_start_path=home / "warm", warm_start_key=_KEY)
    playground = ("-m", "dagcache.demo.playground", "--home", str(home), "--versions", str(_VERSIONS))
    command([str(python_of(STEPS[0].row)), *playground], env)
    other_dagcache = install_other_dagcache(other)
    for step in STEPS:
        yield step, run(step, env, other_dagcache)


def main() -> int:
    """Run the steps; 0 if no figure is wrong."""
    failed, known = False, set[tuple[str, bool]]()
    with tempfile.TemporaryDirectory() as scratch:
        for step, found in steps(Path(scratch)):
            wrong = list(faults(found, is_known=step.environment in known))
            known.add(step.environment)
            failed = failed or bool(wrong)
            figures = ", ".join(f"{found[name]} {name}" for name in ("versions", "hits", "misses", "stored"))
            sys.stdout.write(f"{step.change} ({found['environment']}): {figures}: {'; '.join(wrong) or 'ok'}\n")
            sys.stdout.flush()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
