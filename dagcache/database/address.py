"""The address of a database, as logs and messages may show it: without passwords, also in the texts of errors."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from dagcache.database.drivers import with_installed_driver
from dagcache.errors import LoadError
from dagcache.redaction import AMBIGUOUS, Secrets, is_ambiguous, is_secret_name

_FORMS = "postgresql+psycopg2://user:password@host/airflow, mysql+mysqldb://..., or sqlite:////path/to/airflow.db"
_FILE = ("sqlite:///", "sqlite+pysqlite:///")  # no host and no user: an @ is a part of the path


class Address:
    """The public texts of a URL. Thread-safe; immutable."""

    def __init__(self, url: URL) -> None:
        self._url = url
        self._secrets = Secrets()
        for secret in _secrets_in(url):
            self._secrets.add(secret)

    @property
    def name(self) -> str:
        """The URL without its password and query; ``postgresql://***`` if its parts are ambiguous.

        The URL of an engine is checked as SQLAlchemy has parsed it, which may have dropped text.
        """
        named = f"{self._url.host}{self._url.database}{dict(self._url.query)}"
        if "@" in named and self._url.get_backend_name() != "sqlite":
            return f"{self._url.drivername}://***"
        return self._url.set(query={}).render_as_string(hide_password=True)

    def reason(self, error: Exception) -> str:
        """The first line of the driver's message, with secrets masked."""
        said = getattr(error, "orig", None) or error
        lines = str(said).strip().splitlines()
        return self._secrets.mask(lines[0] if lines else type(said).__name__)


def parsed_url(url: str | URL) -> URL:
    """A URL with a driver that is installed.

    Raises:
        LoadError: it is invalid, ambiguous or of an asynchronous driver, or no driver is installed. The message shows
            no part of it, because the part may be a password.

    """
    text = url.render_as_string(hide_password=False) if isinstance(url, URL) else url
    try:
        parsed = with_installed_driver(make_url(url))
        dialect = parsed.get_dialect()
    except (SQLAlchemyError, ValueError, TypeError, AttributeError):
        problem = f"the database URL is not understood; accepted: {_FORMS}"
    except ImportError as error:
        problem = str(error)
    else:
        if not dialect.is_async and (text.startswith(_FILE) or not is_ambiguous(text)):
            return parsed
        problem = (
            f"{parsed.drivername} is an asynchronous driver; accepted: {_FORMS}"
            if dialect.is_async
            else f"the database URL has {AMBIGUOUS}"
        )
    raise LoadError(problem)


def _secrets_in(url: URL) -> Iterator[str]:
    yield str(url.password or "")
    for name, values in url.normalized_query.items():
        if is_secret_name(name):
            yield from values
