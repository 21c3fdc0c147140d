"""The driver of a database URL: the installed one, if the URL leaves the choice.

``postgresql://`` means psycopg2 to SQLAlchemy 2.0 and psycopg 3 to SQLAlchemy 2.1. An operator who types it means the
database, so any installed driver of it serves.
"""

from __future__ import annotations

from sqlalchemy.engine import URL

_PACKAGES = {
    "postgresql": {"psycopg2": "psycopg2-binary", "psycopg": "psycopg[binary]"},
    "mysql": {"mysqldb": "mysqlclient", "pymysql": "pymysql"},
    "mariadb": {"mysqldb": "mysqlclient", "pymysql": "pymysql"},
}
"""The synchronous drivers of a database, in the order of preference, and the packages that bring them."""


def with_installed_driver(url: URL) -> URL:
    """The URL with a driver that is installed. A driver that the URL names stays.

    Raises:
        ImportError: there is none; the message names the packages to install, and no part of the URL but its scheme.

    """
    backend, _, named = url.drivername.partition("+")
    candidates = [named] if named else [*_PACKAGES.get(backend, ())]
    choices = [url.set(drivername=f"{backend}+{driver}") for driver in candidates] or [url]
    for choice in choices:
        if _is_installed(choice):
            return choice
    raise ImportError(_remedy(url.drivername, backend, named))


def _is_installed(url: URL) -> bool:
    dialect = url.get_dialect()
    try:
        dialect.import_dbapi()
    except ImportError:
        return False
    return True


def _remedy(scheme: str, backend: str, named: str) -> str:
    packages = _PACKAGES.get(backend, {})
    if named:
        package = packages.get(named, "")
        command = f": pip install '{package}'" if package else ""
        others = [f"{backend}+{driver}://" for driver in packages if driver != named]
        also = f", or write {' or '.join(others)} if its driver is installed" if others else ""
        return f"the driver of {scheme} is not installed{command}{also}"
    commands = " or ".join(f"pip install '{package}'" for package in packages.values())
    return f"no driver of {scheme} is installed{f': {commands}' if commands else ''}"
