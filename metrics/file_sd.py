"""Where Prometheus finds the processes: one ``file_sd`` file for each, in one directory; written and read back."""

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
_MOST_FILES = 1024
_MOST_BYTES = 64 * 1024


class Targets:
    """Announces endpoints as ``<component>-<machine>-<pid>.json``; takes the files back at exit, and those of the dead.

    The machine is in the name because containers that share a directory share process ids as well. Never raises; what
    cannot be written is one warning. Not thread-safe.
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
        except Exception as error:  # a path may be anything
            self._warn(error)
        else:
            self._written.add((os.getpid(), path))

    def remove(self) -> None:
        """Take back what this process announced; what a parent announced stays."""
        _remove(self._written)

    def _remove_dead(self) -> None:
        for path in list(self._directory.iterdir()):
            pid = announcer(path)
            if pid is not None and not _is_alive(pid):
                with suppress(OSError):  # another user's
                    path.unlink(missing_ok=True)

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            reason = getattr(error, "strerror", None) or type(error).__name__
            _log.warning("Prometheus is not told of this process in %s: %s", self._directory, reason)


def announcer(path: Path) -> int | None:
    """The process of this machine whose file that is, by its name; None: another machine's, or somebody else's."""
    match = re.fullmatch(rf".+-{re.escape(_plain(_machine()))}-([0-9]+)\.(json|draft)", path.name)
    return None if match is None else int(match[1])


def announced(
    directory: Path,
    understand: Callable[[Any, dict[str, Any]], T],
    *,
    here: bool = False,
    most_files: int = _MOST_FILES,
) -> list[T]:
    """What is made of each target in a directory's ``file_sd`` files, in the order of their names.

    Args:
        directory: may be missing.
        understand: ``understand(target, group)`` is called with each target and the group that it is in, as they were
            parsed; it may be anything.
        here: only the files of processes of this machine.
        most_files: what comes after so many is left out.

    A file that cannot be read or understood is left out as a whole; so is one of more than 64 KiB. Thread-safe.

    """
    paths: list[Path] = []
    with suppress(OSError):
        paths = sorted(path for path in directory.glob("*.json") if not here or announcer(path) is not None)
    return [made for path in paths[:most_files] for made in _read(path, understand)]


def _read(path: Path, understand: Callable[[Any, dict[str, Any]], T]) -> list[T]:
    # It may go in this very moment, or be anything.
    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        with path.open("rb") as file:
            groups = json.loads(file.read(_MOST_BYTES))
        return [understand(target, group) for group in groups for target in group["targets"]]
    return []


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
            _log.warning("%s stays behind: %s", path, error.strerror)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # somebody else's
        return True
    return True
