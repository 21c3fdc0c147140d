"""A throw-away PostgreSQL server."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import final

from tests.support.patience import PATIENCE

_PROGRAMS = ("initdb", "pg_ctl", "createdb")
_SUPERUSER = "postgres"
_FAST_AND_UNSAFE = "-c fsync=off -c full_page_writes=off -c max_connections=100"


def missing() -> str:
    """Why there can be no server here; empty if there can."""
    if _binaries() is None:
        return f"PostgreSQL is not installed: no folder holds {', '.join(_PROGRAMS)}"
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        return "PostgreSQL does not run as root, and there is no setpriv"
    if importlib.util.find_spec("psycopg2") is None:
        return "psycopg2 is not installed"
    return ""


@final
class Cluster:
    """A server of its own, in a directory of its own, on a socket that only this machine sees. Stopped on exit."""

    def __enter__(self) -> Cluster:
        self._folder = Path(tempfile.mkdtemp(prefix="pg"))  # a socket's path must be short
        if os.geteuid() == 0:
            shutil.chown(self._folder, _SUPERUSER, _SUPERUSER)
        self._folder.chmod(0o711)
        self._run("initdb", "--auth=trust", "--no-sync", f"--username={_SUPERUSER}", f"--pgdata={self._data}")
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            shutil.rmtree(self._folder)

    @property
    def folder(self) -> Path:
        """The folder of the server's socket."""
        return self._folder

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-k {self._folder} -c listen_addresses='' {_FAST_AND_UNSAFE}"
        log = self._folder / "log"
        self._run("pg_ctl", "start", "--wait", f"--pgdata={self._data}", f"--log={log}", f"--options={options}")

    def stop(self) -> None:
        """Stop it as a crash would, connections or not; harmless if it is stopped."""
        if (self._data / "postmaster.pid").exists():
            self._run("pg_ctl", "stop", "--wait", "--mode=immediate", f"--pgdata={self._data}")

    def create(self, name: str, template: str = "template1") -> str:
        """Create a database as a copy of another, and return its URL."""
        self._run("createdb", f"--host={self._folder}", f"--username={_SUPERUSER}", f"--template={template}", name)
        return url_of(name, self._folder)

    def _run(self, program: str, *arguments: str) -> None:
        binaries = _binaries()
        assert binaries is not None
        command = [*unprivileged(), str(binaries / program), *arguments]
        # Into a file, not a pipe: the server inherits it and keeps it open.
        with tempfile.TemporaryFile("w+") as output:
            code = subprocess.run(
                command, cwd="/", stdout=output, stderr=output, timeout=PATIENCE, check=False
            ).returncode
            if code:
                output.seek(0)
                raise RuntimeError(f"{program} failed with {code}: {output.read()}")


def url_of(name: str, folder: Path, driver: str = "psycopg2", port: int = 5432) -> str:
    """The URL of a database, by the socket in a folder."""
    return f"postgresql+{driver}://{_SUPERUSER}@/{name}?host={folder}&port={port}"


def unprivileged() -> list[str]:
    """The command that starts another one without the rights of root, which these servers refuse to have."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", f"--reuid={_SUPERUSER}", f"--regid={_SUPERUSER}", "--clear-groups"]


def _binaries() -> Path | None:
    """Where all programs are that are used here: on Debian not on the path, though links to some of them may be."""
    folders = [Path(entry) for entry in os.environ.get("PATH", "").split(os.pathsep)]
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    complete = (folder for folder in folders if all((folder / name).exists() for name in _PROGRAMS))
    return next(complete, None)
