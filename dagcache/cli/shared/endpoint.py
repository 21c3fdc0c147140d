"""The endpoint of a process: its URL, as a user types it or as the process announces it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlunsplit

from dagcache.cli.shared.failure import InputError
from dagcache.metrics import file_sd
from dagcache.redaction import shown_url, split_http_url


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address at which a process serves metrics."""

    url: str
    """For scrapes; it may contain a password."""
    component: str = ""
    """As announced; empty: unknown."""

    @property
    def shown(self) -> str:
        """The URL without user, password and query."""
        return shown_url(self.url)


def parse_endpoint(text: str, component: str = "") -> Endpoint:
    """An endpoint by its URL; ``http://`` and ``/metrics`` may be omitted.

    Raises:
        ValueError: the text is not such a URL. The message does not contain it, because it may hold a password.

    """
    url = text if "://" in text else f"http://{text}"
    parts = split_http_url(url)
    return Endpoint(urlunsplit(parts._replace(path="/metrics" if parts.path in ("", "/") else parts.path)), component)


def chosen(urls: Iterable[str]) -> list[Endpoint]:
    """The endpoints that the option ``--url`` names.

    Raises:
        InputError: one of them is not a URL.

    """
    try:
        return [parse_endpoint(url) for url in urls]
    except ValueError as error:
        raise InputError(f"--url: {error}, such as http://localhost:11780/metrics") from None


def announced(directory: Path, *, here: bool = False, most_files: int = file_sd.MOST_FILES) -> list[Endpoint]:
    """The endpoints in the ``file_sd`` files of a directory, each once; unreadable files are skipped.

    ``here``: only those of processes on this machine. ``most_files``: the number of files to read at most.
    """
    return list(dict.fromkeys(file_sd.announced(directory, _understood, here=here, most_files=most_files)))


def processes(directory: Path) -> dict[int, list[Endpoint]]:
    """The endpoints of the processes of this machine that are announced in a directory, by process id."""
    return file_sd.announcers(directory, _understood)


def _understood(target: Any, group: dict[str, Any]) -> Endpoint:
    return parse_endpoint(target, str(group.get("labels", {}).get("component", "")))
