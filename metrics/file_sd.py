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

T = TypeVar("T")

_log = logging.getLogger("dagcache")

_LOOPBACK = re.compile(r"localhost|127\.[0-9.]+|::1")
MOST_FILES = 1024
_MOST_BYTES = 64 * 1024


class Targets:
    """Announces endpoints as ``<component>-<machine>-<pid>.json``; removes them at exit, and those of dead processes.

    The name contains the machine because containers that share a directory have process ids in common. Never raises: a
    directory that cannot be written is one warning. Not thread-safe.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._written: set[tuple[int, Path]] = set()
        self._warned = False
        weakref.finalize(self, _remove, self._written)

    def add(self, component: str, host: str, port: int) -> None:
        """Announce an endpoint of this process that listens on ``host``: by the machine's name, or as localhost."""
        machine = _machine()
        name = "localhost" if _LOOPBACK.fullmatch(host) else machine
        content = [{"targets": [f"{name}:{port}"], "labels": {"component": component}}]
        path = self._directory / f"{_plain(component)}-{_plain(machine)}-{os.getpid()}.json"
        draft = path.with_suffix(".draft")
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._remove_dead()
            draft.write_text(json.dumps(content) + "\n", encoding="utf-8")
            draft.replace(path)
        except Exception as error:  # the path may be anything
            self._warn(error)
        else:
            self._written.add((os.getpid(), path))

    def remove(self) -> None:
        """Remove the announcements of this process; those of its parent stay."""
        _remove(self._written)

    def _remove_dead(self) -> None:
        for path in list(self._directory.iterdir()):
            pid = announcer(path)
            if pid is not None and not _is_alive(pid):
                with suppress(OSError):  # a file of another user
                    path.unlink(missing_ok=True)

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            reason = getattr(error, "strerror", None) or type(error).__name__
            _log.warning("could not announce this process to Prometheus in %s: %s", self._directory, reason)


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


def _remove(written: set[tuple[int, Path]]) -> None:
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
