"""A throw-away MariaDB server, at a time zone five hours ahead of UTC."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import final

import pymysql

_FAST_AND_UNSAFE = ("--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=16M", "--innodb-log-file-size=8M")
_START_SECONDS = 120.0
_USER = "nobody"  # the server refuses to run as root


def missing() -> str:
    """Why there can be no server here; empty if there can."""
    return "" if _program() else "MariaDB is not installed: mariadbd"


@final
class MariaDb:
    """A server with a directory of its own, on a socket that only this machine sees. Stopped on exit."""

    def __enter__(self) -> MariaDb:
        self._folder = Path(tempfile.mkdtemp(prefix="mdb"))  # a socket's path must be short
        data = self._folder / "data"
        data.mkdir()
        for folder in (self._folder, data):
            folder.chmod(0o777)
        account = [f"--user={_USER}"] if os.geteuid() == 0 else []
        self._log = (self._folder / "log").open("w+")
        # Without tables of accounts, so without the script that makes them, which is of another package.
        options = [f"--datadir={data}", f"--socket={self.socket}", "--skip-networking", "--skip-grant-tables"]
        command = [_program(), "--no-defaults", *account, *options, "--default-time-zone=+05:00", *_FAST_AND_UNSAFE]
        self._server = subprocess.Popen(command, stdout=self._log, stderr=self._log)
        self._wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.terminate()
        self._server.wait(_START_SECONDS)
        self._log.close()
        shutil.rmtree(self._folder)

    @property
    def socket(self) -> Path:
        """The server's socket."""
        return self._folder / "s"

    def url(self, database: str, driver: str = "") -> str:
        """The URL of a database."""
        scheme = f"mysql+{driver}" if driver else "mysql"
        return f"{scheme}://root@localhost/{database}?unix_socket={self.socket}"

    def run(self, statement: str) -> None:
        """Execute one statement."""
        with pymysql.connect(unix_socket=str(self.socket), user="root", autocommit=True) as connection:
            connection.cursor().execute(statement)

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self._server.poll() is None:
            if self.socket.exists():  # not before it listens
                self.run("SELECT 1")
                return
            time.sleep(0.1)
        self._log.seek(0)
        raise RuntimeError(f"MariaDB did not start: {self._log.read()[-2000:]}")


def _program() -> str:
    return shutil.which("mariadbd") or shutil.which("mariadbd", path="/usr/sbin") or ""
