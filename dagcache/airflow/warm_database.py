"""The database of a warm store: that of ``warm_start_url``, or Airflow's metadata database, by an engine of its own."""

from __future__ import annotations

from typing import Any

from dagcache.airflow.warm_key import database_url
from dagcache.database.warm.database import WarmDatabase, database_at, engine_arguments
from dagcache.errors import LoadError
from dagcache.warm_start.opening import OffError

_NO_SQLITE = (
    "warm_start = database is refused on SQLite, where another writer can fail the scheduler's statements:"
    " set warm_start = disk"
)


def warm_database() -> WarmDatabase:
    """The database by the settings, not connected yet.

    Raises:
        OffError: it cannot be used; the message has no password.

    """
    text = database_url()
    if not text:
        return _metadata_database()
    if text.partition(":")[0].partition("+")[0].strip().lower() == "sqlite":
        raise OffError(_NO_SQLITE)
    try:
        return database_at(text)
    except LoadError as error:
        raise OffError(f"[dagcache] warm_start_url: {error}") from None


def _metadata_database() -> WarmDatabase:
    """As Airflow reaches it: with the arguments of its driver, and by a function of a deployment's own."""
    from airflow import settings
    from airflow.configuration import conf

    engine: Any = settings.engine
    if engine is None:
        raise OffError("this process has no metadata database")
    if engine.url.get_backend_name() == "sqlite":
        raise OffError(_NO_SQLITE)
    given: Any = {}
    if conf.has_option("database", "sql_alchemy_connect_args"):
        given = conf.getimport("database", "sql_alchemy_connect_args")
    arguments, connecting = engine_arguments(engine.url, given)
    schema = str(conf.get("database", "sql_alchemy_schema", fallback="") or "").strip()
    made = _made(settings, engine.url.render_as_string(hide_password=False), arguments, connecting)
    return WarmDatabase(made, schema=schema, is_airflows=True)


def _made(settings: Any, url: str, arguments: dict[str, Any], connecting: dict[str, Any]) -> Any:
    make = getattr(settings, "create_metadata_engine", None)  # a deployment may replace it; not in all versions
    if make is not None:
        return make(url, engine_args=arguments, connect_args=connecting)
    from sqlalchemy import create_engine

    return create_engine(url, connect_args=connecting, **arguments)
