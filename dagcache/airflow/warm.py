"""The warm store of a component, by its settings. `dagcache.warm_start` is imported only where the setting is on.

A fault in these settings turns off the warm store and not the cache.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from dagcache.airflow import own_process
from dagcache.airflow.settings import Settings
from dagcache.errors import ConfigError, DagCacheError
from dagcache.log_limits import report
from dagcache.sizing.limits import ByteLimit

if TYPE_CHECKING:
    from dagcache.warm_start.generation import Generation
    from dagcache.warm_start.store import CountedStore

DISK = "disk"
DATABASE = "database"
FORMS = f"{DISK}, {DATABASE}, or empty for none"
FOLDER = "dagcache-warm"
"""Below AIRFLOW_HOME."""

_UNLIMITED = 2**63 - 1


class Fingerprint(Protocol):
    """The identity of everything that frozen copies depend on."""

    def digest(self) -> str:
        """Of all parts, hexadecimal."""
        ...

    def parts(self) -> Mapping[str, str]:
        """The parts by name, as texts for people."""
        ...


def store_for(settings: Settings, fingerprint: Fingerprint, *, home: Path | None = None) -> CountedStore | None:
    """The warm store by the settings; None if it is off, or a setting is wrong: then the log has a line. Never raises.

    The store gets its key, and opens its files or connections, at its first use. ``home``: AIRFLOW_HOME; None:
    Airflow's.
    """
    if not settings.warm_start:
        return None
    try:
        return _store(settings, fingerprint, home)
    except ConfigError as error:
        report("warm start, setting", "warm start is off: [dagcache] %s", error)
    except Exception as error:
        report("warm start", "warm start is off, because it failed", error=error)
    return None


def folder_of(settings: Settings, home: Path | None = None) -> Path:
    """The folder of the warm store."""
    if settings.warm_start_path:
        return Path(settings.warm_start_path)
    return (home or own_process.home()) / FOLDER


def max_bytes_of(settings: Settings) -> int:
    """The limit of the warm store, bytes.

    Raises:
        ConfigError: it cannot be read, or is a percentage.

    """
    text = settings.warm_start_max_bytes
    limit = ByteLimit.parse(text, setting="warm_start_max_bytes")
    if limit.is_relative:
        raise ConfigError("warm_start_max_bytes", text, "bytes as 256MiB, 1.5GB, 268435456, or 0 for no limit")
    return limit.resolve(0) or _UNLIMITED


def diagnose(settings: Settings) -> dict[str, Any]:
    """Facts about the warm store for `dagcache doctor`: JSON types, without a key."""
    found: dict[str, Any] = {"kind": settings.warm_start}
    if not settings.warm_start:
        return found
    from dagcache.warm_start.opening import OffError

    try:
        _check_kind(settings)
        found["max_bytes"] = max_bytes_of(settings)
        examine = _examine_disk if settings.warm_start == DISK else _examine_database
        examine(settings, found)
    except (DagCacheError, OffError) as error:
        found["error"] = str(error)
    except Exception as error:
        found["error"] = getattr(error, "strerror", None) or type(error).__name__  # its text may show a password
    return found


def _examine_disk(settings: Settings, found: dict[str, Any]) -> None:
    from dagcache.airflow.warm_key import is_separate, secret_key
    from dagcache.warm_start.inventory import inventory

    folder = folder_of(settings)
    found["path"] = str(folder)
    secret_key()
    found["has_separate_key"] = is_separate()
    try:
        found["generations"] = [_facts(each) for each in inventory(folder)]
    except FileNotFoundError:
        if folder.parent.is_dir():
            found["missing"] = True  # no process has stored a version yet
        else:
            found["error"] = "its parent directory does not exist, and is not created"


def _examine_database(_: Settings, found: dict[str, Any]) -> None:
    from dagcache.airflow.warm_database import warm_database
    from dagcache.airflow.warm_key import separate_key
    from dagcache.database.warm.inventory import NoTablesError, inventory

    database = warm_database()
    found["database"] = database.name
    separate_key()
    found["has_separate_key"] = True
    try:
        with database.load_errors():
            found["generations"] = [_facts(each) for each in inventory(database, int(time.time()))]
    except NoTablesError:
        found["missing"] = True
    finally:
        database.close()


def _facts(each: Generation) -> dict[str, Any]:
    return {"records": each.records, "bytes": each.nbytes, "is_in_use": each.is_in_use, "parts": dict(each.parts)}


def _store(settings: Settings, fingerprint: Fingerprint, home: Path | None) -> CountedStore:
    _check_kind(settings)
    common = {
        "digest": fingerprint.digest(),
        "parts": fingerprint.parts(),
        "max_bytes": max_bytes_of(settings),
    }
    if settings.warm_start == DATABASE:
        return _in_database(common)
    return _on_disk(folder_of(settings, home), common)


def _on_disk(folder: Path, common: Mapping[str, Any]) -> CountedStore:
    from dagcache.airflow.warm_key import secret_key
    from dagcache.warm_start.disk import DiskStore

    return DiskStore(folder, secret=secret_key, **common)


def _in_database(common: Mapping[str, Any]) -> CountedStore:
    from dagcache.airflow.warm_database import warm_database
    from dagcache.airflow.warm_key import separate_key
    from dagcache.database.warm.store import DatabaseStore

    return DatabaseStore(warm_database, secret=separate_key, **common)


def _check_kind(settings: Settings) -> None:
    if settings.warm_start not in (DISK, DATABASE):
        raise ConfigError("warm_start", settings.warm_start, FORMS)
