"""A private folder, reached by its descriptor: no path is resolved twice, and no link is followed.

The folder and its files belong to the user of the process, and no other user has a permission on them. Any other owner
or mode, or a link, raises `UnsafeError`: another user may have put the content there.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from dagcache.warm_start.opening import OffError

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # the last one: a pipe does not block
_OF_OTHERS = 0o077


class UnsafeError(OffError):
    """A folder or a file that other users may have written. The message names the path and the cause."""

    kind: ClassVar[str] = "folder"


class Descriptor:
    """An open file or folder. It is closed with the last reference.

    Use its methods rather than its number: a method holds a reference until it returns, so that the number is not
    closed, and does not belong to another file, in the middle of a call.
    """

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    def read(self, offset: int, length: int) -> bytes:
        """Some bytes of a file; fewer at its end."""
        return os.pread(self.number, length, offset)

    def write(self, data: bytes) -> int:
        """Write by one call to the kernel. Returns the number of bytes written."""
        return os.write(self.number, data)

    def status(self) -> os.stat_result:
        """The status of the file or folder, also of one without a name."""
        return os.fstat(self.number)

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        """Close it."""
        close(self.number)


class Folder:
    """An open folder."""

    def __init__(self, path: Path, opened: Descriptor) -> None:
        self.path = path
        self._opened = opened

    @property
    def _number(self) -> int:
        return self._opened.number

    @classmethod
    def at(cls, path: Path, *, create: bool = True) -> Folder:
        """Open a folder, and create it (not its parents) with mode 0700.

        Raises:
            UnsafeError: it is a link, not a folder, of another user, or open to other users.
            OSError: it cannot be created or opened.

        """
        return cls(path, _open_folder(str(path), None, path, create=create))

    def folder(self, name: str, *, create: bool = False) -> Folder:
        """A folder in this one, opened under the same conditions."""
        return Folder(self.path / name, _open_folder(name, self._number, self.path / name, create=create))

    def is_removed(self) -> bool:
        """Whether the folder has no name any more."""
        return self._opened.status().st_nlink == 0

    def mark_as_used(self) -> bool:
        """Hold a shared lock as long as this folder is open. False if an examination excludes it. Never waits."""
        return self._lock(fcntl.LOCK_SH)

    def is_used(self) -> bool:
        """Whether another open folder holds the shared lock: of this process, or of another one. Never waits."""
        if not self._lock(fcntl.LOCK_EX):
            return True
        self._lock(fcntl.LOCK_UN)
        return False

    def modified(self) -> float:
        """The time of the last change of its list of names, seconds since 1970 in UTC."""
        return self._opened.status().st_mtime

    def names(self) -> list[str]:
        """The names of everything in it, sorted."""
        return sorted(os.listdir(self._number))

    def open(self, name: str) -> Descriptor:
        """Open a file for reading.

        Raises:
            UnsafeError: as for folders.
            OSError: it cannot be opened.

        """
        return self._file(name, os.O_RDONLY)

    def create(self, name: str) -> Descriptor:
        """Create a file with mode 0600 for appending; each write goes to its end.

        Raises:
            OSError: it cannot be created, or exists.

        """
        return self._file(name, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL)

    def rename(self, name: str, other: str) -> None:
        """Give a file another name, and replace the file that has it."""
        os.rename(name, other, src_dir_fd=self._number, dst_dir_fd=self._number)

    def remove(self, name: str) -> None:
        """Remove a file."""
        os.unlink(name, dir_fd=self._number)

    def remove_folder(self, name: str) -> None:
        """Remove an empty folder in this one."""
        os.rmdir(name, dir_fd=self._number)

    def status(self, name: str) -> os.stat_result:
        """The status of a name in it; links are not followed."""
        return os.stat(name, dir_fd=self._number, follow_symlinks=False)

    def _lock(self, kind: int) -> bool:
        try:
            fcntl.flock(self._number, kind | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def _file(self, name: str, flags: int) -> Descriptor:
        path = self.path / name
        with _links_refused(path):
            opened = Descriptor(os.open(name, flags | _FILE, 0o600, dir_fd=self._number))
        check(opened.status(), path, is_folder=False)
        return opened


def check(found: os.stat_result, path: Path, *, is_folder: bool) -> None:
    """Raise `UnsafeError` unless this user alone has permissions on a folder or a file."""
    kind = "folder" if is_folder else "file"
    if not (stat.S_ISDIR if is_folder else stat.S_ISREG)(found.st_mode):
        raise UnsafeError(f"{path} is not a {kind}")
    if found.st_uid != os.geteuid():
        raise UnsafeError(f"{path} belongs to user {found.st_uid}, not to user {os.geteuid()} of this process")
    if found.st_mode & _OF_OTHERS:
        expected = "0700" if is_folder else "0600"
        raise UnsafeError(f"{path} has mode {stat.S_IMODE(found.st_mode):04o}, expected {expected}")


def _open_folder(name: str, parent: int | None, path: Path, *, create: bool) -> Descriptor:
    with _links_refused(path):
        try:
            opened = Descriptor(os.open(name, _FOLDER, dir_fd=parent))
        except FileNotFoundError:
            if not create:
                raise
            _create_folder(name, parent)
            opened = Descriptor(os.open(name, _FOLDER, dir_fd=parent))
    check(opened.status(), path, is_folder=True)
    return opened


def _create_folder(name: str, parent: int | None) -> None:
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:  # another process was faster
        return


@contextmanager
def _links_refused(path: Path) -> Iterator[None]:
    """Name a link as such: the kernel reports it in two ways."""
    try:
        yield
    except OSError as error:
        if path.is_symlink():
            raise UnsafeError(f"{path} is a symbolic link") from error
        raise
