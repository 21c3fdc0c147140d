"""The module that the entry point ``airflow.policy`` names: Airflow imports it in each of its processes.

So it is small, imports the standard library only, and never raises. It waits for the two modules that build a DAG bag
and, when one of them has been imported, hands it to `dagcache.airflow.hook`. Everywhere else, in the processes that run
tasks above all, nothing more of dagcache is imported.

The other finders find a use site as they do without this one, and their loader loads it. Until the module is executed,
that loader is hidden behind one that runs it; nothing of anybody else's is changed.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import threading
from contextlib import suppress
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

SITES = {
    "airflow.jobs.scheduler_job_runner": "scheduler",
    "airflow.api_fastapi.common.dagbag": "api_server",
}
"""The modules in which Airflow builds its long-lived DAG bags, and whose they are."""


def install(module: ModuleType, name: str = "") -> None:
    """Give a use site our bag; whatever goes wrong leaves Airflow's own one in place."""
    name = name or module.__name__
    try:
        from dagcache.airflow import hook

        hook.install(module, SITES[name])
    except Exception:
        _complain(f"dagcache is off in {name}: Airflow's own cache serves")


def _complain(message: str) -> None:
    with suppress(Exception):  # a handler of the host's may fail, too
        logging.getLogger("dagcache").exception(message)


class UseSiteFinder:
    """Has the other finders find a use site, and `install` run once it has been executed. Finds nothing itself."""

    def __init__(self) -> None:
        self._under_way: set[tuple[int, str]] = set()

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """The spec that the other finders give, with a loader that runs theirs; None for all other modules.

        Errors of other finders pass, as they would without this one.
        """
        if name not in SITES:
            return None
        search = threading.get_ident(), name
        if search in self._under_way:  # another finder asks all finders, and so this one again
            return None
        self._under_way.add(search)
        try:
            spec = self._ask_the_others(name, path, target)
        finally:
            self._under_way.discard(search)
        if spec is not None:
            _watch(spec)
        return spec

    def _ask_the_others(self, name: str, path: Any, target: Any) -> ModuleSpec | None:
        """What the interpreter would find without this finder, by the interpreter's rules."""
        for finder in sys.meta_path:
            if finder is self:
                continue
            find = getattr(finder, "find_spec", None)
            if find is not None:
                spec: ModuleSpec | None = find(name, path, target)
            elif sys.version_info < (3, 12):
                spec = _found_by_the_old_protocol(finder, name, path)
            else:
                continue
            if spec is not None:
                return spec
        return None


def _found_by_the_old_protocol(finder: Any, name: str, path: Any) -> ModuleSpec | None:
    """As Python 3.10 and 3.11 ask a finder of PEP 302; later ones pass it over."""
    from importlib.util import spec_from_loader

    loader = finder.find_module(name, path)
    return None if loader is None else spec_from_loader(name, loader)


def _watch(spec: ModuleSpec) -> None:
    """Have a module handed over once it has been executed by its spec. What cannot be watched is left as it is."""
    try:
        loader: Any = spec.loader
        if loader is not None and type(loader) is not _Handover:
            spec.loader = _Handover(loader, spec)  # type: ignore[assignment] # it is whatever that one is
    except Exception:
        _complain("dagcache is off, because an import cannot be watched: Airflow's own cache serves")


class _Handover:
    """Runs a loader, then `install`; in everything else it is that loader, and it is gone when the module runs.

    The loader itself may serve other modules, as a zip file's does.
    """

    def __init__(self, loader: Any, spec: ModuleSpec) -> None:
        self.__loader = loader
        self.__spec = spec

    def __getattr__(self, name: str) -> Any:
        """What the loader has, and no more: the interpreter goes by what there is."""
        loader = object.__getattribute__(self, "_Handover__loader")
        found = getattr(loader, name)
        if name == "exec_module":
            return functools.partial(self.__execute, found)
        if name == "load_module":
            return functools.partial(self.__load, found)
        return found

    @property  # type: ignore[misc] # for ``isinstance``: tools ask it what loader they are about to replace
    def __class__(self) -> type:
        return type(self.__loader)

    def __execute(self, execute: Any, module: ModuleType) -> None:
        self.__step_aside(module)
        execute(module)
        if _is_lazy(self.__loader):
            _watch(self.__spec)  # nothing has been executed yet: the spec has the loader that will do it
        else:
            install(module, self.__spec.name)

    def __load(self, load: Any, *args: Any) -> Any:
        """The one step of loaders before PEP 451."""
        self.__step_aside(None)
        module = load(*args)
        install(module, self.__spec.name)
        return module

    def __step_aside(self, module: ModuleType | None) -> None:
        """Put the loader back wherever this one stands, so that the module and its users find what they always do."""
        own = getattr(module, "__spec__", None)
        for holder, name in (self.__spec, "loader"), (own, "loader"), (module, "__loader__"):
            with suppress(Exception):
                if getattr(holder, name) is self:
                    setattr(holder, name, self.__loader)


def _is_lazy(loader: object) -> bool:
    """Whether a loader leaves a module's execution to the first access to it."""
    util = sys.modules.get("importlib.util")
    return util is not None and isinstance(loader, util.LazyLoader)


def watch() -> None:
    """Wait for the use sites; those that are imported already are served at once. Doing it twice is harmless."""
    if not any(type(finder) is UseSiteFinder for finder in sys.meta_path):
        sys.meta_path.insert(0, UseSiteFinder())
    for name in SITES:
        module = sys.modules.get(name)
        if module is not None:
            install(module, name)


def is_off() -> bool:
    """Whether ``mode = off`` stands in the environment or in airflow.cfg: then nothing of ours gets into any path.

    Airflow itself is not asked: that would load all providers, in each process. The hook reads what is not seen here.
    """
    text = os.environ.get("AIRFLOW__DAGCACHE__MODE")
    configuration = sys.modules.get("airflow.configuration")
    if text is None and configuration is not None:
        from configparser import RawConfigParser

        with suppress(Exception):
            text = RawConfigParser.get(configuration.conf, "dagcache", "mode", raw=True, fallback="")
    return str(text).strip().lower() == "off"


try:
    if not is_off():
        watch()
except Exception:
    _complain("dagcache is off: Airflow's own cache serves")
