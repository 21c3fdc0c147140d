"""The warm store of a component, by its settings. `dagcache.warm_start` is imported only where the setting is on.

A fault in these settings turns off the warm store and not the cache. No text here shows a key.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from dagcache.airflow import own_process
from dagcache.airflow.configuration_file import airflow_setting
from dagcache.airflow.provider_info import SECTION
from dagcache.airflow.settings import Settings
from dagcache.errors import ConfigError
from dagcache.log_limits import report
from dagcache.sizing.limits import ByteLimit

if TYPE_CHECKING:
    from dagcache.warm_start.disk import DiskStore

FORMS = "disk, or empty for none"
FOLDER = "dagcache-warm"
"""Below AIRFLOW_HOME."""

_LEAST_CHARACTERS = 16
_UNLIMITED = 2**63 - 1
_KEY = "warm_start_key"


class Fingerprint(Protocol):
    """The identity of everything that frozen copies depend on."""

    def digest(self) -> str:
        """Of all parts, hexadecimal."""
        ...

    def parts(self) -> Mapping[str, str]:
        """The parts by name, as texts for people."""
        ...


class NoKeyError(Exception):
    """There is no key; the message says why, and never shows one."""


def store_for(settings: Settings, fingerprint: Fingerprint, *, home: Path | None = None) -> DiskStore | None:
    """The warm store by the settings; None if it is off, or cannot be made: then the log has a line. Never raises.

    The store opens its files at its first use. ``home``: AIRFLOW_HOME; None: Airflow's.
    """
    if not settings.warm_start:
        return None
    try:
        return _store(settings, fingerprint, home)
    except ConfigError as error:
        report("warm start, setting", "warm start is off: [dagcache] %s", error)
    except NoKeyError as error:
        report("warm start, key", "warm start is off: %s", error, level=logging.WARNING)
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


def secret_key() -> bytes:
    """The secret that records are signed with: ``warm_start_key``, else Airflow's own.

    Raises:
        NoKeyError: there is none, or ``warm_start_key`` cannot be read or is too short.

    """
    own = _own_key()
    if own:
        return b"dagcache\0" + own.encode()
    # With several keys, the first one is in use.
    airflows = _airflows("core", "fernet_key").split(",")[0].strip()
    airflows = airflows or airflow_setting("api_auth", "jwt_secret") or airflow_setting("api", "secret_key")
    if not airflows:
        raise NoKeyError("there is no [dagcache] warm_start_key, and no [core] fernet_key to derive one from")
    return b"airflow\0" + airflows.encode()


def diagnose(settings: Settings) -> dict[str, Any]:
    """Facts about the warm store for `dagcache doctor`: JSON types, without a key."""
    if not settings.warm_start:
        return {"kind": ""}
    found: dict[str, Any] = {"kind": settings.warm_start, "path": str(folder_of(settings)), "generations": []}
    try:
        _check_kind(settings)
        found["max_bytes"] = max_bytes_of(settings)
        secret_key()
        from dagcache.warm_start.inventory import inventory

        found["generations"] = [
            {"records": each.records, "bytes": each.nbytes, "is_in_use": each.is_in_use, "parts": dict(each.parts)}
            for each in inventory(folder_of(settings))
        ]
    except FileNotFoundError:
        if folder_of(settings).parent.is_dir():
            found["missing"] = True  # no process has stored a version yet
        else:
            found["error"] = "its parent directory does not exist, and is not created"
    except (ConfigError, NoKeyError) as error:
        found["error"] = str(error)
    except Exception as error:
        found["error"] = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return found


def _store(settings: Settings, fingerprint: Fingerprint, home: Path | None) -> DiskStore:
    _check_kind(settings)
    max_bytes = max_bytes_of(settings)
    secret = secret_key()
    from dagcache.warm_start.disk import DiskStore

    return DiskStore(
        folder_of(settings, home),
        digest=fingerprint.digest(),
        parts=fingerprint.parts(),
        secret=secret,
        max_bytes=max_bytes,
    )


def _check_kind(settings: Settings) -> None:
    if settings.warm_start != "disk":
        raise ConfigError("warm_start", settings.warm_start, FORMS)


def _own_key() -> str:
    """The text of ``warm_start_key``; empty if it is not set.

    A key that is set and cannot be read is an error: the weaker key of Airflow must not stand in for it.
    """
    text = _airflows(SECTION, _KEY).strip()
    if not text:
        names = (f"{_KEY}_cmd", f"{_KEY}_secret")
        unread = [name for name in names if airflow_setting(SECTION, name)]
        if unread:
            raise NoKeyError(f"[dagcache] {unread[0]} is set, and Airflow got no key from it")
        return ""
    if len(text) < _LEAST_CHARACTERS:
        raise NoKeyError(f"[dagcache] {_KEY} has fewer than {_LEAST_CHARACTERS} characters")
    return text


def _airflows(section: str, name: str) -> str:
    """A secret as Airflow has it, also from a command or a secrets backend."""
    from airflow.configuration import conf

    try:
        return str(conf.get(section, name, fallback="") or "")
    except Exception as error:  # its text may quote the output of a command
        raise NoKeyError(f"Airflow cannot read [{section}] {name} ({type(error).__name__})") from None
