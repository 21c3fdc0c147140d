"""A throw-away PgBouncer in transaction mode, before a throw-away PostgreSQL server."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import final

from tests.support import postgres

_PORT = 6432
_START_SECONDS = 120.0
_CONFIGURATION = """
[databases]
* = host={server} user=postgres

[pgbouncer]
auth_type = any
listen_addr =
listen_port = {port}
unix_socket_dir = {folder}
pool_mode = transaction
default_pool_size = {connections}
logfile = {folder}/log
"""


def missing() -> str:
    """Why there can be no pooler here; empty if there can."""
    return postgres.missing() or ("" if _program() else "PgBouncer is not installed: pgbouncer")


@final
class PgBouncer:
    """A pooler that gives each transaction one of ``connections`` connections to the server. Stopped on exit."""

    def __init__(self, cluster: postgres.Cluster, connections: int = 2) -> None:
        self._server = cluster.folder
        self._connections = connections

    def __enter__(self) -> PgBouncer:
        self._folder = Path(tempfile.mkdtemp(prefix="pb"))  # a socket's path must be short
        self._folder.chmod(0o777)
        configuration = self._folder / "ini"
        configuration.write_text(
            _CONFIGURATION.format(server=self._server, port=_PORT, folder=self._folder, connections=self._connections)
        )
        self._process = subprocess.Popen(
            [*postgres.unprivileged(), _program(), "--quiet", str(configuration)], cwd="/", stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + _START_SECONDS
        while not (self._folder / f".s.PGSQL.{_PORT}").exists():
            if time.monotonic() > deadline or self._process.poll() is not None:
                log = self._folder / "log"
                said = log.read_text() if log.exists() else "nothing"
                self._stop()
                raise RuntimeError(f"PgBouncer did not start: {said}")
            time.sleep(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def url(self, database: str, driver: str) -> str:
        """The URL of one of the server's databases."""
        return postgres.url_of(database, self._folder, driver, _PORT)

    def _stop(self) -> None:
        self._process.kill()
        self._process.wait(_START_SECONDS)
        shutil.rmtree(self._folder)


def _program() -> str:
    return shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin") or ""
