"""Throw-away servers of MySQL and of MariaDB, at a time zone five hours ahead of UTC."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Literal, TypeAlias, final

import pymysql

Product: TypeAlias = Literal["mariadb", "mysql"]

UNPACKED = Path("/opt/mysql-for-tests")
"""The folder of `tests/services.sh` for a MySQL that is unpacked together with its own C library."""
_LIBRARIES = UNPACKED / "usr/lib/x86_64-linux-gnu"
_LOADER = _LIBRARIES / "ld-linux-x86-64.so.2"

_NO_FILES = "--no-defaults"  # of options; it must be the first one
_COMMON = ("--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=32M", "--innodb-doublewrite=0")
_OF_MARIADB = ("--innodb-log-file-size=8M",)
_OF_MYSQL = ("--innodb-redo-log-capacity=64M", "--performance-schema=0", "--mysqlx=0", "--secure-file-priv=")
_START_SECONDS = 120.0
_USER = "nobody"  # the server refuses to run as root


def missing(product: Product) -> str:
    """Why there can be no server of this product here; empty if there can."""
    if _program(product):
        return ""
    return "MariaDB is not installed: mariadbd" if product == "mariadb" else "MySQL is not installed: mysqld"


@final
class Server:
    """A server with a directory of its own, on a socket that only this machine sees. Stopped on exit."""

    def __init__(self, product: Product) -> None:
        self.product: Product = product

    def __enter__(self) -> Server:
        self._folder = Path(tempfile.mkdtemp(prefix="my"))  # a socket's path must be short
        data = self._folder / "data"
        data.mkdir()
        for folder in (self._folder, data):
            folder.chmod(0o777)
        account = [f"--user={_USER}"] if os.geteuid() == 0 else []
        command = [*_program(self.product), *account, f"--datadir={data}", *_COMMON]
        command += _OF_MARIADB if self.product == "mariadb" else _OF_MYSQL
        self._log = (self._folder / "log").open("w+")
        if self.product == "mysql":  # MariaDB starts in an empty directory
            subprocess.run([*command, "--initialize-insecure"], stdout=self._log, stderr=self._log, check=True)
        # Without accounts, so that MariaDB does not need its tables of them, which another package makes.
        options = [f"--socket={self.socket}", "--skip-networking", "--skip-grant-tables", "--default-time-zone=+05:00"]
        self._server = subprocess.Popen([*command, *options], stdout=self._log, stderr=self._log)
        try:
            self._wait()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    @property
    def socket(self) -> Path:
        """The server's socket."""
        return self._folder / "s"

    def url(self, database: str, driver: str = "") -> str:
        """The URL of a database."""
        scheme = f"mysql+{driver}" if driver else "mysql"
        return f"{scheme}://root@localhost/{database}?unix_socket={self.socket}&charset=utf8mb4"

    def run(self, *statements: str) -> None:
        """Execute statements on one connection."""
        with self._connect() as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def copy(self, original: str, copy: str) -> None:
        """Make a database with the tables, keys and rows of another one."""
        with self._connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = %s", (original,))
            tables = [name for (name,) in cursor.fetchall()]
            cursor.execute(f"CREATE DATABASE {copy}")
            cursor.execute("SET foreign_key_checks = 0")  # tables are made in the order of their names
            for table in tables:
                cursor.execute(f"SHOW CREATE TABLE {original}.`{table}`")
                definition = str(cursor.fetchall()[0][1])
                cursor.execute(f"USE {copy}")
                cursor.execute(definition)
                cursor.execute(f"INSERT INTO `{table}` SELECT * FROM {original}.`{table}`")

    def _connect(self) -> pymysql.Connection[pymysql.cursors.Cursor]:
        return pymysql.connect(unix_socket=str(self.socket), user="root", autocommit=True)

    def _stop(self) -> None:
        self._server.terminate()
        self._server.wait(_START_SECONDS)
        self._log.close()
        shutil.rmtree(self._folder)

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self._server.poll() is None:
            if self.socket.exists():  # not before it listens
                self.run("SELECT 1")
                return
            time.sleep(0.1)
        self._log.seek(0)
        raise RuntimeError(f"{self.product} did not start: {self._log.read()[-2000:]}")


def _program(product: Product) -> list[str]:
    """The command that starts a server; empty if there is none."""
    if product == "mariadb":
        return _found("mariadbd")
    installed = _found("mysqld")
    if installed and "MariaDB" not in _version(installed[0]):  # a link of MariaDB's has this name, too
        return installed
    server = UNPACKED / "usr/sbin/mysqld"
    if not server.exists():
        return []
    share = UNPACKED / "usr/share/mysql"
    places = (f"--basedir={UNPACKED}/usr", f"--lc-messages-dir={share}", f"--character-sets-dir={share}/charsets")
    return [str(_LOADER), "--library-path", str(_LIBRARIES), str(server), _NO_FILES, *places]


def _found(name: str) -> list[str]:
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    return [path, _NO_FILES] if path else []


def _version(program: str) -> str:
    return subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
