"""The module that the entry point ``airflow.policy`` names: Airflow imports it in each of its processes.

So it is small, imports the standard library only, and never raises. It waits for the two modules that build a DAG bag
and, when one of them has been imported, hands it to `dagcache.airflow.hook`. Everywhere else, in the processes that run
tasks above all, nothing more of dagcache is imported.
"""

from __future__ import annotations

import logging
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

SITES = {
    "airflow.jobs.scheduler_job_runner": "scheduler",
    "airflow.api_fastapi.common.dagbag": "api_server",
}
"""The modules in which Airflow builds its long-lived DAG bags, and whose they are."""


def install(module: ModuleType) -> None:
    """Give a use site our bag; whatever goes wrong leaves Airflow's own one in place."""
    try:
        from dagcache.airflow import hook

        hook.install(module, SITES[module.__name__])
    except Exception:
        logging.getLogger("dagcache").exception("dagcache is off in %s: Airflow's own cache serves", module.__name__)


class UseSiteFinder(MetaPathFinder):
    """Lets the other finders find a use site, and has `install` run once the module has been executed."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """The spec that the other finders give, its loader's last step extended; None for all other modules."""
        if name not in SITES:
            return None
        for finder in sys.meta_path:
            spec = None if isinstance(finder, UseSiteFinder) else finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    _extend(spec.loader)
                return spec
        return None


def _extend(loader: Any) -> None:
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        execute(module)
        install(module)

    loader.exec_module = exec_module


def watch() -> None:
    """Wait for the use sites; those that are imported already are served at once. Doing it twice is harmless."""
    if not any(isinstance(finder, UseSiteFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, UseSiteFinder())
    for name in SITES:
        module = sys.modules.get(name)
        if module is not None:
            install(module)


try:
    watch()
except Exception:
    logging.getLogger("dagcache").exception("dagcache is off: Airflow's own cache serves")
