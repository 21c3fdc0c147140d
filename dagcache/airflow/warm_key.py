"""The secret that the records of a warm store are signed with. No text here shows one."""

from __future__ import annotations

import logging
from typing import ClassVar

from dagcache.airflow.configuration_file import airflow_setting
from dagcache.airflow.provider_info import SECTION
from dagcache.warm_start.opening import OffError

_LEAST_CHARACTERS = 16
_KEY = "warm_start_key"
_URL = "warm_start_url"


class NoKeyError(OffError):
    """There is no key, or no URL; the message says why, and never shows one."""

    level: ClassVar[int] = logging.WARNING


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


def separate_key() -> bytes:
    """The secret of ``warm_start_key`` alone: task workers, which may reach the database, often have Airflow's.

    Raises:
        NoKeyError: there is none, or it cannot be read or is too short.

    """
    own = _own_key()
    if not own:
        raise NoKeyError("warm_start = database needs [dagcache] warm_start_key, a key that task workers do not have")
    return b"dagcache\0" + own.encode()


def is_separate() -> bool:
    """Whether ``warm_start_key`` is set.

    Raises:
        NoKeyError: it cannot be read or is too short.

    """
    return bool(_own_key())


def database_url() -> str:
    """The text of ``warm_start_url``; empty if it is not set.

    Raises:
        NoKeyError: it cannot be read.

    """
    return _sensitive(_URL)


def _own_key() -> str:
    text = _sensitive(_KEY)
    if text and len(text) < _LEAST_CHARACTERS:
        raise NoKeyError(f"[dagcache] {_KEY} has fewer than {_LEAST_CHARACTERS} characters")
    return text


def _sensitive(name: str) -> str:
    """The text of a sensitive setting; empty if it is not set.

    One that is set and cannot be read is an error: the weaker key of Airflow must not stand in for it.
    """
    text = _airflows(SECTION, name).strip()
    if not text:
        unread = [each for each in (f"{name}_cmd", f"{name}_secret") if airflow_setting(SECTION, each)]
        if unread:
            raise NoKeyError(f"[dagcache] {unread[0]} is set, and Airflow got {_NOUNS[name]} from it")
    return text


_NOUNS = {_KEY: "no key", _URL: "no URL"}


def _airflows(section: str, name: str) -> str:
    """A secret as Airflow has it, also from a command or a secrets backend."""
    from airflow.configuration import conf

    try:
        return str(conf.get(section, name, fallback="") or "")
    except Exception as error:  # its text may quote the output of a command
        raise NoKeyError(f"Airflow cannot read [{section}] {name} ({type(error).__name__})") from None
