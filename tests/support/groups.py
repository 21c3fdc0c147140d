"""Real control groups with a memory limit, where this machine lets the tests make them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from dagcache.sizing.cgroups import Version, _directories

MIB = 2**20

LIMIT_FILE: dict[Version, str] = {"cgroup2": "memory.max", "cgroup1": "memory.limit_in_bytes"}
USE_FILE: dict[Version, str] = {"cgroup2": "memory.current", "cgroup1": "memory.usage_in_bytes"}


class NoGroupError(Exception):
    """The reason for which no group can be made here."""


class MemberDiedError(Exception):
    """The process in the group has ended by itself, or by the kernel."""


class Group:
    """A control group with a memory limit."""

    def __init__(self, directory: Path, version: Version) -> None:
        self.directory = directory
        self.version = version

    @property
    def limit_file(self) -> Path:
        """The file that states the limit."""
        return self.directory / LIMIT_FILE[self.version]

    def limit_to(self, nbytes: int) -> None:
        """Set the limit, in bytes."""
        self.limit_file.write_text(str(nbytes))

    def raw_use(self) -> int:
        """The bytes that the kernel charges to the group, including reclaimable pages."""
        return int((self.directory / USE_FILE[self.version]).read_text())


@contextmanager
def made_group(version: Version, above: Path | None = None, needs: str = "") -> Iterator[Group]:
    """A new group in the process's own one (version 1), or at the top of the mount (version 2), or in the given one.

    ``needs``: a file that the group must have; by default the one that states the memory limit.

    Raises:
        NoGroupError: this machine has no such controller, or does not let this user make a group.

    """
    needs = needs or LIMIT_FILE[version]
    group = Group((above or _place(version)) / f"dagcache-test-{uuid4().hex}", version)
    try:
        group.directory.mkdir()
    except OSError as error:
        raise NoGroupError(f"no group can be made in {group.directory.parent}: {error.strerror}") from None
    try:
        if not (group.directory / needs).exists():
            raise NoGroupError(f"groups in {group.directory.parent} have no {needs}")
        yield group
    finally:
        with suppress(OSError):
            group.directory.rmdir()


def _place(version: Version) -> Path:
    directories = list(_directories(Path("/"), version))
    if not directories:
        raise NoGroupError(f"there is no memory controller of {version} here")
    # In version 2 a group that holds processes cannot hand controllers down, except in the root.
    return directories[-1] if version == "cgroup2" else directories[0]


class Member:
    """A process in a group that executes commands one at a time and reports the results."""

    def __init__(self, group: Group, **settings: Any) -> None:
        command = [sys.executable, "-m", "tests.support.member", json.dumps(settings)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._answer() == "ready"
        (group.directory / "cgroup.procs").write_text(str(self._process.pid))

    def __call__(self, command: str, argument: int = 0) -> Any:
        """The answer to a command."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([command, argument]) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def end(self) -> None:
        """End the process, and wait for it: an empty group can be removed."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with suppress(OSError):
                stream.close()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise MemberDiedError
        return json.loads(line)
