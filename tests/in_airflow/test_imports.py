"""The hook gets in beside other tools' import hooks, and stays out of the way when it is off."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.in_airflow.support import run_python, variables

_OLD_FINDER = """
import sys, warnings
warnings.simplefilter("ignore", ImportWarning)

class Legacy:
    def find_module(self, name, path=None):
        return None

sys.meta_path.insert(0, Legacy())
import airflow
if {last}:
    sys.meta_path.insert(0, sys.meta_path.pop(1))
import airflow.jobs.scheduler_job_runner as scheduler
import airflow.api_fastapi.common.dagbag as api
for module in scheduler, api:
    name = next(name for name in ("CachedDBDagBag", "DBDagBag") if hasattr(module, name))
    print("bag:", getattr(module, name).__module__, type(module.__spec__.loader).__name__)
print("finders:", sum("dagcache" in type(finder).__module__ for finder in sys.meta_path))
"""


@pytest.mark.parametrize("last", [True, False], ids=["before ours", "behind ours"])
@pytest.mark.parametrize("mode", ["enforce", "off"])
def test_an_old_import_hook_does_not_keep_a_component_from_starting(mode: str, last: bool, tmp_path: Path) -> None:
    """One of PEP 302, without ``find_spec``: the scheduler's module could not be imported, also with ``mode = off``."""
    env = variables(tmp_path, f"sqlite:///{tmp_path}/airflow.db", mode=mode)
    lines = run_python(_OLD_FINDER.format(last=last and mode != "off"), env).splitlines()
    bags = [line.split()[1:] for line in lines if line.startswith("bag: ")]
    assert [bag.startswith("dagcache.") for bag, _ in bags] == [mode != "off"] * 2
    assert {loader for _, loader in bags} == {"SourceFileLoader"}
    assert f"finders: {int(mode != 'off')}" in lines


def test_mode_off_in_airflow_cfg_is_seen_by_the_entry_point(tmp_path: Path) -> None:
    """Without asking Airflow, which would load all providers in each process."""
    (tmp_path / "airflow.cfg").write_text("[dagcache]\nmode = Off\n")
    env = variables(tmp_path, f"sqlite:///{tmp_path}/airflow.db")
    code = (
        "import sys, airflow\n"
        "print('loaded:', 'dagcache.airflow.bootstrap' in sys.modules)\n"
        "print('finders:', sum('dagcache' in type(finder).__module__ for finder in sys.meta_path))\n"
        "print('ours:', 'dagcache.airflow.hook' in sys.modules, 'dagcache.core.cache' in sys.modules)\n"
    )
    lines = run_python(code, env).splitlines()
    assert {"loaded: True", "finders: 0", "ours: False False"} <= set(lines)
