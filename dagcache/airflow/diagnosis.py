"""Facts about Airflow for `dagcache doctor`, reported line by line by a separate process.

``python -m dagcache.airflow.diagnosis`` writes one line of JSON per fact, ``{"fact": name, ...}``. It does so as soon
as the fact is known, because the caller has a time limit and a database may not answer. No line shows a password.

This module must not import `dagcache.airflow.bootstrap` before it knows whether Airflow has done so: that import
installs the hook.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

from dagcache.airflow.configuration_file import airflow_cfg
from dagcache.airflow.provider_info import OPTIONS, SECTION, known_names, names_in_environment
from dagcache.concurrency.time_limit import try_for
from dagcache.errors import ConfigError
from dagcache.metrics.file_sd import default_directory
from dagcache.redaction import MASK, Secrets, is_ambiguous

DATABASE_SECONDS = 10.0
"""The time limit for an answer of the metadata database."""

_CONNECTION = "sql_alchemy_conn"
_LONGEST = 300  # characters of an error message from other code
_SOURCES = {"env var": "environment", "airflow.cfg": "airflow.cfg"}
_HIDDEN = {"cmd", "secret"}


class Reporter:
    """A writer of facts and errors. Only errors are masked: a password may be a common word that facts contain."""

    def __init__(self, out: TextIO) -> None:
        self.secrets = Secrets()
        self._out = out

    def report(self, fact: str, **content: Any) -> None:
        """Write one line."""
        self._out.write(json.dumps({"fact": fact, **content}, default=str) + "\n")
        self._out.flush()

    def report_failure(self, fact: str, error: BaseException, **content: Any) -> None:
        """Write one line about an error, with secrets masked."""
        text = " ".join(self.secrets.mask(str(error)).split())[:_LONGEST]
        self.report(fact, error=f"{type(error).__name__}: {text}", **content)


def main() -> None:
    """Report all facts; a failure to find one out is reported in its place."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # Airflow logs to stdout
    reporter = Reporter(out)
    for url in _connections_as_written():
        reporter.secrets.add_url(url)
    for fact, find_out in (
        ("airflow", report_airflow),
        ("settings", report_settings),
        ("components", report_components),
        ("warm_start", report_warm_start),
        ("database", report_database),
    ):
        _attempt(reporter, fact, find_out)
    out.close()
    os._exit(0)  # a daemon thread may still wait for the database


def _attempt(reporter: Reporter, fact: str, find_out: Callable[[Reporter], None], **content: Any) -> None:
    try:
        find_out(reporter)
    except Exception as error:
        reporter.report_failure(fact, error, **content)


def _connections_as_written() -> list[str]:
    """The connections in the environment and in airflow.cfg, as written: Airflow may fail to read them."""
    found = [value for name, value in os.environ.items() if _CONNECTION in name.lower()]
    with suppress(OSError, UnicodeDecodeError):
        lines = airflow_cfg().read_text(encoding="utf-8").splitlines()
        found += [line.partition("=")[2].strip() for line in lines if _CONNECTION in line.lower()]
    return found


def report_airflow(reporter: Reporter) -> None:
    """Report the version and the home of Airflow."""
    from airflow import __version__
    from airflow.configuration import AIRFLOW_HOME, conf

    for name in (_CONNECTION, f"{_CONNECTION}_async"):
        reporter.secrets.add_url(_connection(conf, name))
    reporter.report("airflow", version=__version__, home=str(AIRFLOW_HOME))


def _connection(conf: Any, name: str) -> str:
    try:
        return str(conf.get("database", name, fallback="") or "")
    except Exception:
        return os.environ.get(f"AIRFLOW__DATABASE__{name.upper()}", "")


# ---- settings ----


def report_settings(reporter: Reporter) -> None:
    """Report each option with its text and source, and the names that are set and unknown."""
    from airflow.configuration import conf

    _know_secrets()
    sources = _sources(conf)
    rows = []
    for option in OPTIONS:
        text, error = _read(conf, option.name)
        source = sources.get(option.name, "default")
        if source == "hidden" or (option.sensitive and text):
            reporter.secrets.add(text or "")
            text = MASK
        value = option.default if text is None else text
        rows.append({"name": option.name, "value": value, "source": source, "error": error})
    unknown = (set(sources) | names_in_environment()) - known_names()
    reporter.report("settings", settings=rows, unknown=sorted(unknown))


def _know_secrets() -> None:
    """Have Airflow know which settings are secrets, and may come from a command or a secrets backend.

    Each of its components does so when it starts. Until Airflow 3.1 other processes do not.
    """
    with suppress(ImportError):  # another version of Airflow
        from airflow.utils.providers_configuration_loader import providers_configuration_loaded

        providers_configuration_loaded(lambda: None)()


def _read(conf: Any, name: str) -> tuple[str | None, str]:
    try:
        return conf.get(SECTION, name, fallback=None), ""
    except Exception as error:
        return None, f"Airflow cannot read it ({type(error).__name__}); in airflow.cfg, % is written %%"


def _sources(conf: Any) -> dict[str, str]:
    """The source of each option that is set."""
    try:
        shown = conf.as_dict(display_source=True, display_sensitive=True, raw=True).get(SECTION, {})
    except Exception:
        return dict.fromkeys(names_in_environment(), "environment")
    found = {name: str(source) for name, (_, source) in shown.items()}
    return {
        name: "hidden" if source in _HIDDEN else _SOURCES[source]
        for name, source in found.items()
        if source in _SOURCES or source in _HIDDEN
    }


# ---- the hook ----


def report_components(reporter: Reporter) -> None:
    """Report for each component the class of its bag, the reason if it is not ours, and the budget."""
    import_module("airflow.settings")  # loads Airflow's policies, and with them the entry point
    loaded = "dagcache.airflow.bootstrap" in sys.modules
    reporter.report("bootstrap", loaded=loaded)
    from dagcache.airflow.bootstrap import SITES

    for module, component in SITES.items():

        def find_out(reporter: Reporter, module: str = module, component: str = component) -> None:
            hook = _hooked(module) if loaded else {}
            reporter.report("component", component=component, module=module, **hook, **_settled(reporter, component))

        _attempt(reporter, "component", find_out, component=component, module=module)


def _hooked(module: str) -> dict[str, Any]:
    from dagcache.airflow import hook
    from dagcache.airflow.bag import CachedLookups

    site = import_module(module)
    bag = hook.bag_of(site)
    found = {
        "name": hook.bag_name(site) or None,
        "class": _full_name(bag),
        "hooked": False,
        "replaced": "",
        "unknown": "",
    }
    if isinstance(bag, type) and issubclass(bag, CachedLookups):
        found.update(hooked=True, replaced=_full_name(bag.__bases__[1]))
    else:
        found["unknown"] = hook.unsupported_interpreter() or hook.unknown_shape(bag) or hook.unknown_model()
    return found


def _full_name(found: Any) -> str:
    return f"{found.__module__}.{found.__qualname__}" if isinstance(found, type) else repr(found)


def _settled(reporter: Reporter, component: str) -> dict[str, Any]:
    """The settings that a component uses, or the reason for refusing them."""
    from dagcache.airflow.hook import settings_of
    from dagcache.airflow.ineffective import settings_without_effect
    from dagcache.sizing.memory import memory_limit

    try:
        settings = settings_of(component)
    except ConfigError as error:
        return {"refused": reporter.secrets.mask(str(error))}
    memory = memory_limit()
    return {
        "enabled": settings.enabled,
        "mode": settings.cache.mode,
        "without_effect": settings_without_effect(component) if settings.enabled else [],
        "max_bytes": str(settings.cache.max_bytes),
        "budget": settings.cache.budget(),
        "workers": settings.cache.workers,
        "memory_limit": settings.cache.memory_limit or memory.bytes,
        "memory_source": "memory_limit" if settings.cache.memory_limit else memory.source,
        "memory_file": "" if settings.cache.memory_limit else memory.file,
        "metrics_host": settings.metrics_host,
        "metrics_ports": settings.metrics_ports,
        "targets": settings.metrics_targets or str(_default_targets()),
    }


def _default_targets() -> Path:
    from airflow.configuration import AIRFLOW_HOME

    return default_directory(Path(AIRFLOW_HOME))


# ---- warm start ----


def report_warm_start(reporter: Reporter) -> None:
    """Report the folder of the warm store and its content, or the reason for which it is off."""
    from dagcache.airflow import warm
    from dagcache.airflow.hook import settings_of

    with suppress(ConfigError):  # reported with the component
        settings = settings_of("scheduler")
        if settings.enabled:
            reporter.report("warm_start", **warm.diagnose(settings))


# ---- the database ----


def report_database(reporter: Reporter) -> None:
    """Report whether the metadata database answers in one of Airflow's sessions."""
    from airflow import settings
    from airflow.configuration import conf

    engine: Any = settings.engine  # None before Airflow has read its configuration
    url = engine.url
    dialect = url.get_backend_name()
    where: dict[str, Any] = {"dialect": dialect, "host": None, "port": None, "database": None}
    if dialect == "sqlite" or not is_ambiguous(_connection(conf, _CONNECTION)):
        where.update(host=url.host, port=url.port, database=url.database)  # not the user name
    if url.password:
        reporter.secrets.add(str(url.password))
    if dialect == "sqlite" and not Path(url.database or "").is_file():
        reporter.report("database", error="there is no such file", **where)  # asking SQLite would create it
        return
    failure = _within(DATABASE_SECONDS, _ask_database)
    if failure is None:
        reporter.report("database", **where)
    else:
        reporter.report_failure("database", failure, **where)


def _ask_database() -> None:
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.utils.session import create_session

    with create_session() as session:
        session.query(SerializedDagModel.id).limit(1).all()


def _within(seconds: float, ask: Callable[[], None]) -> BaseException | None:
    """Ask in a separate thread; the error, or None."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            ask()
        except BaseException as error:
            failures.append(error)

    if not try_for(seconds, run, "dagcache-diagnosis"):
        return TimeoutError(f"no answer within {seconds:g} s")
    return failures[0] if failures else None


if __name__ == "__main__":
    main()
