"""What `dagcache doctor` wants to know of Airflow: asked in a process of its own, told line by line.

``python -m dagcache.airflow.diagnosis`` writes one line of JSON per fact, ``{"fact": name, ...}``, each as soon as it
is known: whoever asked may lose patience, with a database that does not answer above all. No line tells a password.

Nothing here may import `dagcache.airflow.bootstrap` before it is known whether Airflow has: importing it is what puts
the hook in.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import unquote

from dagcache.airflow.options import OPTIONS, SECTION
from dagcache.concurrency.time_limit import try_for
from dagcache.errors import ConfigError
from dagcache.metrics.file_sd import default_directory

DATABASE_SECONDS = 10.0
"""What the metadata database is given to answer."""

_ENVIRONMENT = f"AIRFLOW__{SECTION.upper()}__"
_PASSWORD = re.compile(r"://[^/\s]*?:([^\s]*)@")
_PASSWORD_OF_NO_URL = re.compile(r":([^\s]*)@")
_PASSWORD_BY_NAME = re.compile(r"[?&;\s](?:password|passwd|pwd|sslpassword)=([^&;\s]+)", re.IGNORECASE)
_URL_WITH_USER = re.compile(r"\S+://\S*@\S*")
_CONNECTION = "sql_alchemy_conn"
_LONGEST = 300  # characters of somebody else's message
_SOURCES = {"env var": "environment", "airflow.cfg": "airflow.cfg"}
_HIDDEN = {"cmd", "secret"}


class Secrets:
    """Texts that must not be told."""

    def __init__(self) -> None:
        self._texts: set[str] = set()

    def add(self, text: str) -> None:
        """Hide a text, as it is and as URLs write it."""
        self._texts.update(form for form in (text, unquote(text)) if form)
        # Where a password holds what divides an URL, a driver may take a part of it for the host.
        self._texts.update(part for part in re.split("[@:/]", text) if part)

    def add_passwords_of(self, url: str) -> None:
        """Hide what stands where an URL has its passwords."""
        user = _PASSWORD.search(url) or _PASSWORD_OF_NO_URL.search(url)
        for match in (*([user] if user else []), *_PASSWORD_BY_NAME.finditer(url)):
            self.add(match[1])

    def hide(self, text: str) -> str:
        """The text without them, and without any URL that names a user."""
        text = _URL_WITH_USER.sub("***", text)
        for secret in sorted(self._texts, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text


class Teller:
    """Writes facts, and what went wrong without secrets. Nothing else is searched for them: one may be a usual word."""

    def __init__(self, out: TextIO) -> None:
        self.secrets = Secrets()
        self._out = out

    def tell(self, fact: str, **content: Any) -> None:
        """One line."""
        self._out.write(json.dumps({"fact": fact, **content}, default=str) + "\n")
        self._out.flush()

    def tell_failure(self, fact: str, error: BaseException, **content: Any) -> None:
        """One line about what went wrong."""
        text = " ".join(self.secrets.hide(str(error)).split())[:_LONGEST]
        self.tell(fact, error=f"{type(error).__name__}: {text}", **content)


def main() -> None:
    """Tell all facts; what cannot be found out is told as a fact of its own."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # Airflow logs to stdout
    teller = Teller(out)
    for url in _connections_told():
        teller.secrets.add_passwords_of(url)
    for fact, find_out in (
        ("airflow", tell_airflow),
        ("settings", tell_settings),
        ("components", tell_components),
        ("database", tell_database),
    ):
        _attempt(teller, fact, find_out)
    out.close()
    os._exit(0)  # whoever still waits for a database does so in a daemon thread


def _attempt(teller: Teller, fact: str, find_out: Callable[[Teller], None], **content: Any) -> None:
    try:
        find_out(teller)
    except Exception as error:
        teller.tell_failure(fact, error, **content)


def _connections_told() -> list[str]:
    """The connections in the environment and in airflow.cfg, as they are written: Airflow may fail to read them."""
    told = [value for name, value in os.environ.items() if _CONNECTION in name.lower()]
    home = os.environ.get("AIRFLOW_HOME", "~/airflow")
    path = Path(os.environ.get("AIRFLOW_CONFIG", f"{home}/airflow.cfg")).expanduser()
    with suppress(OSError, UnicodeDecodeError):
        lines = path.read_text(encoding="utf-8").splitlines()
        told += [line.partition("=")[2].strip() for line in lines if _CONNECTION in line.lower()]
    return told


def tell_airflow(teller: Teller) -> None:
    """The version, and where the home is."""
    from airflow import __version__
    from airflow.configuration import AIRFLOW_HOME, conf

    for name in (_CONNECTION, f"{_CONNECTION}_async"):
        teller.secrets.add_passwords_of(_connection(conf, name))
    teller.tell("airflow", version=__version__, home=str(AIRFLOW_HOME))


def _connection(conf: Any, name: str) -> str:
    try:
        return str(conf.get("database", name, fallback="") or "")
    except Exception:
        return os.environ.get(f"AIRFLOW__DATABASE__{name.upper()}", "")


# ---- settings ----


def tell_settings(teller: Teller) -> None:
    """Each option, its text, and who says so; and what is set that is no option."""
    from airflow.configuration import conf

    sources = _sources(conf)
    rows = []
    for option in OPTIONS:
        text, error = _read(conf, option.name)
        source = sources.get(option.name, "default")
        if source == "hidden":
            teller.secrets.add(text or "")
            text = "***"
        value = option.default if text is None else text
        rows.append({"name": option.name, "value": value, "source": source, "error": error})
    known = {option.name for option in OPTIONS}
    teller.tell("settings", settings=rows, unknown=sorted((set(sources) | _in_environment()) - known))


def _read(conf: Any, name: str) -> tuple[str | None, str]:
    try:
        return conf.get(SECTION, name, fallback=None), ""
    except Exception as error:
        return None, f"Airflow cannot read it ({type(error).__name__}); in airflow.cfg, % is written %%"


def _sources(conf: Any) -> dict[str, str]:
    """Where each option that is set is set."""
    try:
        shown = conf.as_dict(display_source=True, display_sensitive=True, raw=True).get(SECTION, {})
    except Exception:
        return dict.fromkeys(_in_environment(), "environment")
    found = {name: str(source) for name, (_, source) in shown.items()}
    return {
        name: "hidden" if source in _HIDDEN else _SOURCES[source]
        for name, source in found.items()
        if source in _SOURCES or source in _HIDDEN
    }


def _in_environment() -> set[str]:
    return {name.removeprefix(_ENVIRONMENT).lower() for name in os.environ if name.startswith(_ENVIRONMENT)}


# ---- the hook ----


def tell_components(teller: Teller) -> None:
    """For each component: which class it builds its bag of, and why it is not ours; what the budget comes to."""
    import_module("airflow.settings")  # by now it has loaded its policies, if it ever will
    loaded = "dagcache.airflow.bootstrap" in sys.modules
    teller.tell("bootstrap", loaded=loaded)
    from dagcache.airflow.bootstrap import SITES

    for module, component in SITES.items():

        def find_out(teller: Teller, module: str = module, component: str = component) -> None:
            hook = _hooked(module) if loaded else {}
            teller.tell("component", component=component, module=module, **hook, **_settled(teller, component))

        _attempt(teller, "component", find_out, component=component, module=module)


def _hooked(module: str) -> dict[str, Any]:
    from dagcache.airflow import hook
    from dagcache.airflow.bag import CachedLookups

    site = import_module(module)
    name = next((name for name in hook.BAG_NAMES if hasattr(site, name)), None)
    bag: Any = getattr(site, name) if name else None
    found = {"name": name, "class": _full_name(bag), "hooked": False, "replaced": "", "unknown": ""}
    if isinstance(bag, type) and issubclass(bag, CachedLookups):
        found.update(hooked=True, replaced=_full_name(bag.__bases__[1]))
    else:
        found["unknown"] = hook.unknown_shape(bag) or hook.unknown_model()
    return found


def _full_name(found: Any) -> str:
    return f"{found.__module__}.{found.__qualname__}" if isinstance(found, type) else repr(found)


def _settled(teller: Teller, component: str) -> dict[str, Any]:
    """The settings of a component as it would use them, or why it cannot."""
    from dagcache.airflow.hook import settings_of
    from dagcache.sizing.memory import memory_limit

    try:
        settings = settings_of(component)
    except ConfigError as error:
        return {"refused": teller.secrets.hide(str(error))}
    memory = memory_limit()
    return {
        "enabled": settings.enabled,
        "mode": settings.cache.mode,
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


# ---- the database ----


def tell_database(teller: Teller) -> None:
    """Whether the metadata database answers, through a session of Airflow's own."""
    from airflow import settings

    url = settings.engine.url
    dialect = url.get_backend_name()
    # Without the user; and an @ in what is taken for the host is the end of a password.
    host = None if url.host is None or "@" in url.host else url.host
    where = {"dialect": dialect, "host": host, "port": url.port, "database": url.database}
    if url.password:
        teller.secrets.add(str(url.password))
    if dialect == "sqlite" and not Path(url.database or "").is_file():
        teller.tell("database", error="there is no such file", **where)  # asking SQLite would create it
        return
    failure = _within(DATABASE_SECONDS, _ask_database)
    if failure is None:
        teller.tell("database", **where)
    else:
        teller.tell_failure("database", failure, **where)


def _ask_database() -> None:
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.utils.session import create_session

    with create_session() as session:
        session.query(SerializedDagModel.id).limit(1).all()


def _within(seconds: float, ask: Callable[[], None]) -> BaseException | None:
    """Ask in a thread of its own; what went wrong, or None."""
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
