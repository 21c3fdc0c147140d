"""The hook: replaces the bag class of a use site, if this version of Airflow is supported."""

from __future__ import annotations

import inspect
import logging
from configparser import RawConfigParser
from contextlib import suppress
from types import ModuleType
from typing import Any

from dagcache.airflow import loop_start, own_process
from dagcache.airflow.ineffective import settings_without_effect
from dagcache.airflow.provider_info import OPTIONS, SECTION, known_names, names_in_environment
from dagcache.airflow.reporting_bag import original, reporting
from dagcache.airflow.settings import Settings, read_settings
from dagcache.airflow.workers import count_workers
from dagcache.concurrency.global_lock import is_free_threaded
from dagcache.errors import ConfigError
from dagcache.log_limits import report

_log = logging.getLogger("dagcache")

BAG_NAMES = ("CachedDBDagBag", "DBDagBag")
"""The names of the class at the use sites: the first since Airflow 3.3.2."""

_SHAPE: dict[str, tuple[str, ...]] = {
    "_get_dag": ("version_id", "session"),
    "_read_dag": ("serdag",),
    "get_latest_version_of_dag": ("dag_id", "session"),
}
"""The methods that the cached bag overrides or calls, and their parameters."""


_MODEL = ("dag_version_id", "dag_hash", "latest_item_select_object")
"""The attributes of the table of serialised DAGs that only the cached bag uses."""


def install(module: ModuleType, component: str) -> bool:
    """Replace the bag class of a use site by a subclass of it; False, with one log line, if that is not possible.

    With a fault, the class only gets a constructor that exports the fault (`dagcache.airflow.reporting_bag`).
    Idempotent. Faults that an operator can cause do not raise.
    """
    base = bag_of(module)
    try:
        fault = unknown_shape(base) or unknown_model()
        if fault:
            _log.error("dagcache is off in the %s: unsupported version of Airflow (%s)", component, fault)
            return _export(module, component, "airflow")
        try:
            settings = settings_of(component)
        except ConfigError as error:
            _log.error("dagcache is off in the %s: [dagcache] %s", component, error)
            return _export(module, component, "setting")
        warn_of_unknown_settings()
        return _install(module, base, component, settings)
    except Exception:
        _export(module, component, "error")
        raise


def warn_of_unknown_settings() -> None:
    """Log the names that are set and are not settings: a misspelt one has no effect, and is easily missed."""
    unknown = sorted(_names_set() - known_names())
    if unknown:
        accepted = ", ".join(option.name for option in OPTIONS)
        message = "[dagcache] has no setting %s; the settings are %s"
        report("unknown settings", message, ", ".join(unknown), accepted, level=logging.WARNING)


def _names_set() -> set[str]:
    """The names in the environment and in airflow.cfg."""
    from airflow.configuration import conf

    names = names_in_environment()
    with suppress(Exception):  # there is no such section
        names |= {str(name).lower() for name in RawConfigParser.options(conf, SECTION)}
    return names


def bag_name(module: ModuleType) -> str:
    """The name of the bag class at a use site; empty if there is none."""
    return next((name for name in BAG_NAMES if hasattr(module, name)), "")


def bag_of(module: ModuleType) -> Any:
    """The bag class at a use site, without the constructor that exports a fault; None if there is none."""
    return original(getattr(module, bag_name(module) or "", None))


def _install(module: ModuleType, base: Any, component: str, settings: Settings) -> bool:
    from dagcache.airflow.bag import CachedLookups

    if issubclass(base, CachedLookups):
        return True
    if not settings.enabled:
        _log.info("dagcache is off in the %s: [dagcache] mode = off", component)
        return False
    fault = unsupported_interpreter()
    if fault:
        _log.error("dagcache is off in the %s: %s", component, fault)
        return False
    later = _follow_loop(module, component)
    setattr(module, bag_name(module), _bag_class(base, component, settings, later=later))
    if component == "scheduler":
        _serve_current_dags(module)
    return True


def _serve_current_dags(module: ModuleType) -> None:
    """Have the scheduler read the DAGs of new runs through its bag; without it, they are read as Airflow does."""
    try:
        from dagcache.airflow import current_dag

        current_dag.serve(getattr(module, "SchedulerJobRunner", None))
    except Exception as error:
        _log.warning("dagcache does not serve the DAGs of new runs: %s", type(error).__name__)


def _export(module: ModuleType, component: str, reason: str) -> bool:
    """Have each new bag export a fault, where there is a class of bags. Returns False: the cache is off."""
    with suppress(Exception):  # the class refuses a subclass, or the module a new name
        base = bag_of(module)
        if inspect.isclass(base) and not hasattr(base, "make_component"):  # else it is cached already
            setattr(module, bag_name(module), reporting(base, component, reason, later=_follow_loop(module, component)))
    return False


def unknown_shape(base: Any) -> str:
    """The reason why a bag class is not supported; empty if it is."""
    if not inspect.isclass(base):
        return f"no class {' or '.join(BAG_NAMES)} at the use site"
    for method, expected in _SHAPE.items():
        function = getattr(base, method, None)
        if not callable(function):
            return f"{base.__name__} has no {method}"
        parameters = tuple(inspect.signature(function).parameters)[1:]
        if parameters != expected:
            return f"{base.__name__}.{method} takes {', '.join(parameters)}"
    return ""


def unsupported_interpreter() -> str:
    """The reason why this Python is not supported in Airflow; empty if it is.

    Without the global lock, evicted DAGs wait for the collector, and no Airflow is tested.
    """
    return "unsupported build of Python (free-threaded)" if is_free_threaded() else ""


def unknown_model() -> str:
    """The reason why the table of serialised DAGs is not supported; empty if it is."""
    from airflow.models.serialized_dag import SerializedDagModel

    missing = [name for name in _MODEL if not hasattr(SerializedDagModel, name)]
    return f"SerializedDagModel has no {', '.join(missing)}" if missing else ""


def settings_of(component: str) -> Settings:
    """The settings in ``[dagcache]`` for a component.

    Raises:
        ConfigError: (a ValueError) names the setting, the value and the accepted forms.

    """
    from airflow.configuration import conf

    def get(name: str) -> str | None:
        try:
            text: str | None = conf.get("dagcache", name, fallback=None)
        except Exception as error:
            raise ConfigError(
                name, "?", f"a value that Airflow can read (in airflow.cfg, % is written %%): {error}"
            ) from error
        return text

    return read_settings(get, component, count_workers(_configured_workers()) if component == "api_server" else 1)


def _configured_workers() -> int:
    from airflow.configuration import conf

    with suppress(Exception):  # Airflow itself refuses an invalid number, unless its command line has one
        return int(conf.getint("api", "workers", fallback=1))
    return 1


def _follow_loop(module: ModuleType, component: str) -> bool:
    """Have the parts beside a scheduler's cache start with its loop; False if they start where the bag is built."""
    return component == "scheduler" and loop_start.watch(getattr(module, "SchedulerJobRunner", None))


def _bag_class(base: Any, component: str, settings: Settings, *, later: bool) -> type:
    from dagcache.airflow.bag import cached_bag
    from dagcache.airflow.component import Component

    def make_component() -> Component:
        made = Component(
            settings,
            home=own_process.home(),
            serves=own_process.serves(component),
            without_effect=settings_without_effect(component),
        )
        if made.serves and not later and not own_process.is_master():
            made.start()  # else with the loop or the first load: most DAG processors never load
        return made

    return cached_bag(base, component, make_component)
