"""Announcements for Prometheus' ``file_sd``: one file per process, all in one directory; written and read back."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from dagcache.metrics.process_age import process_age

T = TypeVar("T")

_log = logging.getLogger("dagcache")

RENEWAL_SECONDS = 30.0
"""The time between two renewals of a process's files."""
STALE_SECONDS = 150.0
"""A file that was not renewed for so long has no process. Well below the ten minutes of the alert on dead endpoints."""

_CLOCK_STEP = 1.0
"""More than the coarsest step of the clocks of files and processes, in seconds."""

_ALL_ADDRESSES = {"", "0.0.0.0", "::", "[::]"}
_ANNOUNCEMENT = re.compile(r"([A-Za-z0-9_.]+)-[A-Za-z0-9_.]+-[0-9]+\.json")
_File = tuple[int, Path]
"""The process that writes it, and its path."""
MOST_FILES = 1024
_MOST_BYTES = 64 * 1024


class Targets:
    """Announces endpoints as ``<component>-<machine>-<pid>.json``, and removes them at exit.

    The name contains the machine because containers that share a directory have process ids in common. A process may
    end without a farewell, and a machine with all of its processes. So each process calls `renew` every
    `RENEWAL_SECONDS`: it renews the times of its own files, and removes the files of dead processes of this machine,
    of process ids that belong to another program by now, and all files without a renewal for `STALE_SECONDS`. Never
    raises: a directory that cannot be written is one warning. `add`, `register` and `renew` are for one thread at a
    time; `remove` is for any thread.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._contents: dict[_File, str] = {}
        self._written: set[_File] = set()
        self._warned = False
        weakref.finalize(self, _remove, self._written)

    def add(self, component: str, host: str, port: int) -> None:
        """Announce an endpoint of this process that listens on ``host``, as `address` names it."""
        self.register(component, host, port)
        self.renew()

    def register(self, component: str, host: str, port: int) -> None:
        """Have the next `renew` announce an endpoint. Touches no file."""
        content = [{"targets": [address(host, port)], "labels": {"component": component}}]
        path = self._directory / f"{_plain(component)}-{_plain(_machine())}-{os.getpid()}.json"
        self._contents[os.getpid(), path] = json.dumps(content) + "\n"

    def renew(self) -> None:
        """Renew the files of this process, write the missing ones, and remove the files of others that are gone."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            own = [path for pid, path in list(self._contents) if pid == os.getpid()]
            now = max(map(self._renew, own), default=None)
            if now is not None:
                self._remove_dead(now)
        except Exception as error:  # the path may be anything
            self._warn(error)

    def remove(self) -> None:
        """Remove the announcements of this process; those of its parent stay."""
        for file in [file for file in self._contents if file[0] == os.getpid()]:
            self._contents.pop(file, None)
        _remove(self._written)

    def _renew(self, path: Path) -> float:
        """Renew or write one file. Returns its time, by the clock of the file's server."""
        file = os.getpid(), path
        content = self._contents.get(file, "")
        if not (file in self._written and _touch(path)):
            draft = path.with_suffix(".draft")
            draft.write_text(content, encoding="utf-8")
            draft.replace(path)
            self._written.add(file)
        renewed = path.stat().st_mtime
        if file not in self._contents:  # `remove` was faster
            _remove(self._written)
        return renewed

    def _remove_dead(self, now: float) -> None:
        for path in list(self._directory.iterdir()):
            with suppress(OSError):  # a file of another user, or one that is gone
                if _is_dead(path, now):
                    path.unlink(missing_ok=True)

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            reason = getattr(error, "strerror", None) or type(error).__name__
            _log.warning("could not announce this process to Prometheus in %s: %s", self._directory, reason)


def address(host: str, port: int) -> str:
    """The address of an endpoint that listens on ``host``, as ``name:port``.

    An endpoint on all addresses has the name of the machine. One on a single address has that address, because
    the name of the machine, or ``localhost``, may lead to another one. An IPv6 address is in brackets.
    """
    return f"{bracketed(_machine() if host in _ALL_ADDRESSES else host)}:{port}"


def bracketed(host: str) -> str:
    """A host as a URL has it: an IPv6 address is in brackets."""
    host = host.strip("[]")
    return f"[{host}]" if ":" in host else host


def announcer(path: Path) -> int | None:
    """The process id in the name of a file of this machine; None for other machines and other files."""
    match = re.fullmatch(rf".+-{re.escape(_plain(_machine()))}-([0-9]+)\.(json|draft)", path.name)
    return None if match is None else int(match[1])


def announced(
    directory: Path,
    understand: Callable[[Any, dict[str, Any]], T],
    *,
    here: bool = False,
    most_files: int = MOST_FILES,
) -> list[T]:
    """The targets in a directory's ``file_sd`` files, each as ``understand`` returns it, in the order of the names.

    Args:
        directory: may be missing.
        understand: called as ``understand(target, group)`` with each target and its group, both as parsed from JSON:
            they may be of any type.
        here: only the files of processes of this machine.
        most_files: later files are skipped.

    A file that cannot be read or understood is skipped as a whole; so is a file of more than 64 KiB. Thread-safe.

    """
    paths: list[Path] = []
    with suppress(OSError):
        paths = sorted(path for path in directory.glob("*.json") if not here or announcer(path) is not None)
    return [made for path in paths[:most_files] for made in _read(path, understand)]


def announcers(directory: Path, understand: Callable[[Any, dict[str, Any]], T]) -> dict[int, list[T]]:
    """The targets of the processes of this machine that are announced in a directory, by process id.

    ``understand`` and unreadable files are as in `announced`. Thread-safe.
    """
    found: dict[int, list[T]] = {}
    with suppress(OSError):
        for path in sorted(directory.glob("*.json"))[:MOST_FILES]:
            pid = announcer(path)
            if pid is not None:
                found.setdefault(pid, []).extend(_read(path, understand))
    return found


def _read(path: Path, understand: Callable[[Any, dict[str, Any]], T]) -> list[T]:
    # The file may vanish at any moment, and its content may be anything.
    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        with path.open("rb") as file:
            groups = json.loads(file.read(_MOST_BYTES))
        return [understand(target, group) for group in groups for target in group["targets"]]
    return []


def default_directory(airflow_home: Path) -> Path:
    """The directory of announcements where the setting ``metrics_targets`` is empty."""
    return airflow_home / "dagcache" / "targets"


def _machine() -> str:
    return socket.gethostname() or "localhost"


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.]", "_", text)


def _touch(path: Path) -> bool:
    """Set the time of a file to now, by the clock of its server. False: there is no such file."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def _is_dead(path: Path, now: float) -> bool:
    """Whether a file is an announcement without a process; ``now`` is a time by the clock of the file's server."""
    pid = announcer(path)
    if pid is not None and not _is_alive(pid):
        return True
    age = now - path.stat().st_mtime
    if pid is not None and _is_younger(pid, age):
        return True
    # A process of another machine cannot be asked. One of this machine renews its file, unless it hangs.
    return age > STALE_SECONDS and _is_announcement(path)


def _is_younger(pid: int, seconds: float) -> bool:
    """Whether a process started after a file was last renewed, so many seconds ago: another program has its id now."""
    age = process_age(pid)
    return age is not None and age < seconds - _CLOCK_STEP


def _is_announcement(path: Path) -> bool:
    """Whether a file has the name and the content that `Targets` writes; other programs may use the directory, too."""
    found = _ANNOUNCEMENT.fullmatch(path.name)
    groups = _read(path, lambda _target, group: group) if found else []
    if not found or len(groups) != 1:
        return False
    labels = groups[0].get("labels")
    return isinstance(labels, dict) and set(labels) == {"component"} and _plain(str(labels["component"])) == found[1]


def _remove(written: set[_File]) -> None:
    for entry in list(written):
        pid, path = entry
        if pid != os.getpid():
            continue
        written.discard(entry)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            _log.warning("could not remove %s: %s", path, error.strerror)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # a process of another user
        return True
    return True
