"""The driver of a URL: the one that is installed."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from sqlalchemy.engine import make_url

from dagcache.database.connection import MetadataDatabase
from dagcache.database.drivers import with_installed_driver
from dagcache.errors import LoadError

Install = Callable[..., None]
_ALL = ("psycopg2", "psycopg", "MySQLdb", "pymysql")


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Pretend that these drivers are installed, and no others."""

    def pretend(*names: str) -> None:
        for name in _ALL:
            if name in names:
                pytest.importorskip(name)
            else:
                monkeypatch.setitem(sys.modules, name, None)

    return pretend


@pytest.mark.parametrize(
    ("url", "installed", "expected"),
    [
        ("postgresql://h/db", ["psycopg2"], "postgresql+psycopg2"),
        ("postgresql://h/db", ["psycopg"], "postgresql+psycopg"),
        ("mysql://h/db", ["pymysql"], "mysql+pymysql"),
        ("mariadb://h/db", ["pymysql"], "mariadb+pymysql"),
        ("postgresql+psycopg2://h/db", ["psycopg2", "psycopg"], "postgresql+psycopg2"),
        ("sqlite:///x.db", [], "sqlite"),
        ("sqlite+pysqlite:///x.db", [], "sqlite+pysqlite"),
    ],
)
def test_a_url_gets_the_driver_that_is_installed(
    url: str, installed: list[str], expected: str, install: Install
) -> None:
    install(*installed)
    assert with_installed_driver(make_url(url)).drivername == expected


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        (
            "postgresql://u:s3cr3t@h/db",
            r"no driver of postgresql is installed: pip install 'psycopg2-binary' or pip install 'psycopg\[binary\]'",
        ),
        (
            "postgresql+psycopg2://u:s3cr3t@h/db",
            r"the driver of postgresql\+psycopg2 is not installed: pip install 'psycopg2-binary',"
            r" or write postgresql\+psycopg:// if its driver is installed",
        ),
        (
            "mysql://u:s3cr3t@h/db",
            "no driver of mysql is installed: pip install 'mysqlclient' or pip install 'pymysql'",
        ),
    ],
)
def test_without_a_driver_the_error_names_the_package_and_shows_no_password(
    url: str, remedy: str, install: Install
) -> None:
    install()
    with pytest.raises(LoadError, match=remedy) as caught:
        MetadataDatabase(url)
    assert "s3cr3t" not in str(caught.value)
