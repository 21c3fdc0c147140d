"""Where Prometheus finds the processes: one ``file_sd`` file for each, in one directory."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import weakref
from pathlib import Path

_log = logging.getLogger("dagcache")

_LOOPBACK = re.compile(r"localhost|127\.[0-9.]+|::1")


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
        machine = socket.gethostname() or "localhost"
        name = "localhost" if _LOOPBACK.fullmatch(host) else machine
        content = [{"targets": [f"{name}:{port}"], "labels": {"component": component}}]
        path = self._directory / f"{_plain(component)}-{_plain(machine)}-{os.getpid()}.json"
        draft = path.with_suffix(".draft")
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._remove_dead(_plain(machine))
            draft.write_text(json.dumps(content) + "\n", encoding="utf-8")
            draft.replace(path)
        except OSError as error:
            self._warn(error)
        else:
            self._written.add((os.getpid(), path))

    def remove(self) -> None:
        """Take back what this process announced; what a parent announced stays."""
        _remove(self._written)

    def _remove_dead(self, machine: str) -> None:
        ours = re.compile(rf".+-{re.escape(machine)}-([0-9]+)\.(json|draft)")
        for path in list(self._directory.iterdir()):
            match = ours.fullmatch(path.name)
            if match is not None and not _is_alive(int(match[1])):
                path.unlink(missing_ok=True)

    def _warn(self, error: OSError) -> None:
        if not self._warned:
            _log.warning("Prometheus is not told of this process in %s: %s", self._directory, error.strerror)
            self._warned = True


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
