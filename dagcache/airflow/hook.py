"""The hook: replaces the bag class of a use site, if this version of Airflow is supported."""

from __future__ import annotations

import inspect
import logging
import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from dagcache.airflow.ineffective import settings_without_effect
from dagcache.airflow.settings import Settings, read_settings
from dagcache.airflow.workers import count_workers
from dagcache.errors import ConfigError

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

    Idempotent. Faults that an operator can cause do not raise.
    """
    name = next((name for name in BAG_NAMES if hasattr(module, name)), None)
    base: Any = getattr(module, name) if name else None
    fault = unknown_shape(base) or unknown_model()
    if fault:
        _log.error("dagcache is off in the %s: unsupported version of Airflow (%s)", component, fault)
        return False
    try:
        settings = settings_of(component)
    except ConfigError as error:
        _log.error("dagcache is off in the %s: [dagcache] %s", component, error)
        return False
    from dagcache.airflow.bag import CachedLookups

    if issubclass(base, CachedLookups):
        return True
    if not settings.enabled:
        _log.info("dagcache is off in the %s: [dagcache] mode = off", component)
        return False
    assert name is not None
    setattr(module, name, _bag_class(base, component, settings))
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


def _bag_class(base: Any, component: str, settings: Settings) -> type:
    from dagcache.airflow.bag import cached_bag
    from dagcache.airflow.component import Component

    def make_component() -> Component:
        ignored = settings_without_effect(component)
        made = Component(settings, home=_home(), serves=_serves(component), without_effect=ignored)
        if not _is_master():
            made.start()
        return made

    return cached_bag(base, component, make_component)


def _home() -> Path:
    from airflow.configuration import AIRFLOW_HOME

    return Path(AIRFLOW_HOME)


def _serves(component: str) -> bool:
    """Whether this process is the component itself.

    The triggerer and the DAG processor also build the API server's bag, for their in-process execution API.
    """
    return component == "scheduler" or "airflow.api_fastapi.main" in sys.modules


def _is_master() -> bool:
    """Whether this process may be gunicorn's master, which builds the application before it forks workers."""
    return "gunicorn.arbiter" in sys.modules
