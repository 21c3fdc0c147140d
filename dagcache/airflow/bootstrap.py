"""The entry point ``airflow.policy``, which Airflow imports in each of its processes.

It is small, imports the standard library only, and never raises. It waits for the two modules that build a DAG bag. An
imported one is passed to `dagcache.airflow.hook`. The module of the API server's application is passed to
`dagcache.airflow.shutdown`. A process without such a module, a task process above all, imports
no other module of dagcache from here.

The other finders find a use site as they do without this finder, and their loader loads it. A wrapper hides that loader
until the module is executed. Other objects stay unchanged.
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
"""The modules in which Airflow builds its long-lived DAG bags, and the component of each."""

SERVER = "airflow.api_fastapi.main"
"""The module with the application of an API server, whose end `dagcache.airflow.shutdown` watches."""


def install(module: ModuleType, name: str = "") -> None:
    """Give a use site the cached bag; any error leaves Airflow's own bag in place."""
    name = name or module.__name__
    if name == SERVER:
        _watch_shutdown(module)
        return
    try:
        from dagcache.airflow import hook

        hook.install(module, SITES[name])
    except Exception:
        _complain(f"dagcache is off in {name}: Airflow's own cache serves")


def _watch_shutdown(module: ModuleType) -> None:
    with suppress(Exception):  # then an announcement stays until another process removes it
        from dagcache.airflow import shutdown

        shutdown.watch(module)


def _complain(message: str) -> None:
    with suppress(Exception):  # a log handler of the host may fail, too
        logging.getLogger("dagcache").exception(message)


class UseSiteFinder:
    """A finder that leaves finding to the others, and has `install` run after a use site is executed."""

    def __init__(self) -> None:
        self._under_way: set[tuple[int, str]] = set()

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """The spec of the other finders with a wrapped loader, for a use site; None for all other modules.

        Errors of other finders pass, as without this finder.
        """
        if name not in SITES and name != SERVER:
            return None
        search = threading.get_ident(), name
        if search in self._under_way:  # another finder asks all finders, this one included
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
        """The spec that the interpreter finds without this finder, by the interpreter's rules."""
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
    """The spec from a finder of PEP 302, as Python 3.10 and 3.11 ask it; later versions skip such a finder."""
    from importlib.util import spec_from_loader

    loader = finder.find_module(name, path)
    return None if loader is None else spec_from_loader(name, loader)


def _watch(spec: ModuleSpec) -> None:
    """Have a module handed over after its spec executes it. A spec that cannot be changed is left as it is."""
    try:
        loader: Any = spec.loader
        if loader is not None and type(loader) is not _Handover:
            spec.loader = _Handover(loader, spec)  # type: ignore[assignment] # it behaves as the loader does
    except Exception:
        _complain("dagcache is off, because an import cannot be watched: Airflow's own cache serves")


class _Handover:
    """A wrapper that runs a loader and then `install`. Otherwise it acts as the loader; a running module has none.

    The loader itself is not changed, because it may serve other modules, as that of a zip file does.
    """

    def __init__(self, loader: Any, spec: ModuleSpec) -> None:
        self.__loader = loader
        self.__spec = spec

    def __getattr__(self, name: str) -> Any:
        """The attributes of the loader and no others: the interpreter checks which ones exist."""
        loader = object.__getattribute__(self, "_Handover__loader")
        found = getattr(loader, name)
        if name == "exec_module":
            return functools.partial(self.__execute, found)
        if name == "load_module":
            return functools.partial(self.__load, found)
        return found

    @property  # type: ignore[misc] # for ``isinstance``: tools check which loader they replace
    def __class__(self) -> type:  # pyright: ignore[reportIncompatibleMethodOverride]
        return type(self.__loader)

    def __execute(self, execute: Any, module: ModuleType) -> None:
        self.__step_aside(module)
        execute(module)
        if _is_lazy(self.__loader):
            _watch(self.__spec)  # not executed yet: the loader in the spec will do that
        else:
            install(module, self.__spec.name)

    def __load(self, load: Any, *args: Any) -> Any:
        """Load and execute in one step, as loaders before PEP 451 do."""
        self.__step_aside(None)
        module = load(*args)
        install(module, self.__spec.name)
        return module

    def __step_aside(self, module: ModuleType | None) -> None:
        """Replace this wrapper by the loader wherever it stands, so that the module's users find the usual loader."""
        own = getattr(module, "__spec__", None)
        for holder, name in (self.__spec, "loader"), (own, "loader"), (module, "__loader__"):
            with suppress(Exception):
                if getattr(holder, name) is self:
                    setattr(holder, name, self.__loader)


def _is_lazy(loader: object) -> bool:
    """Whether a loader executes a module only at the first access."""
    util = sys.modules.get("importlib.util")
    return util is not None and isinstance(loader, util.LazyLoader)


def watch() -> None:
    """Wait for the use sites; one that is already imported is served at once. Idempotent."""
    if not any(type(finder) is UseSiteFinder for finder in sys.meta_path):
        sys.meta_path.insert(0, UseSiteFinder())
    for name in (*SITES, SERVER):
        module = sys.modules.get(name)
        if module is not None:
            install(module, name)


def is_off() -> bool:
    """Whether the environment or airflow.cfg has ``mode = off``; then no import hook is installed.

    Airflow itself is not asked, because that loads all providers in each process. The hook reads other sources.
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
