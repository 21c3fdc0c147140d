"""A pack: an append-only file of records, with one writer.

The writer holds a lock on the file (``flock``) as long as it lives. Nothing waits for this lock: it says only that the
writer is alive, also to a process in another container, where its process id means nothing. A pack gets its name after
the lock is held. So no process ever takes the pack of a live writer for an abandoned one.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from dagcache.warm_start.folder import Descriptor, Folder
from dagcache.warm_start.record_format import HEAD_BYTES, MAGIC, Head, decode_head

SUFFIX: Final = ".pack"
UNFINISHED: Final = ".new-"
"""The beginning of the name that a pack has before it is complete or locked."""

_CHUNK: Final = 64 * 1024
_MOST_RESYNCS: Final = 1000  # a file with more damage is given up from there on


class Pack:
    """An open pack. Reads are thread-safe; scans and writes are for one thread at a time."""

    def __init__(self, name: str, opened: Descriptor) -> None:
        self.name = name
        self._opened = opened
        self.scanned = 0
        """The offset up to which the records are known, bytes."""

    @classmethod
    def open(cls, folder: Folder, name: str) -> Pack:
        """Open a pack for reading; the kernel begins to read it ahead.

        Raises:
            UnsafeError: other users may have written it, or it is a link.
            OSError: it cannot be opened.

        """
        opened = folder.open(name)
        if hasattr(os, "posix_fadvise"):  # pragma: no branch - not on macOS
            os.posix_fadvise(opened.number, 0, 0, os.POSIX_FADV_WILLNEED)
        return cls(name, opened)

    @classmethod
    def create(cls, folder: Folder, stored_at: int) -> Pack:
        """Create a pack without a final name, locked; `publish` gives it the name.

        Raises:
            OSError: it cannot be created.

        """
        unique = f"{stored_at:016x}-{secrets.token_hex(4)}"
        pack = cls(f"{UNFINISHED}{unique}", folder.create(f"{UNFINISHED}{unique}"))
        pack.lock()
        return pack

    @property
    def final_name(self) -> str:
        """The name after `publish`."""
        return self.name if self.name.endswith(SUFFIX) else self.name.removeprefix(UNFINISHED) + SUFFIX

    def publish(self, folder: Folder) -> None:
        """Give it its final name: from now on other processes read it.

        Raises:
            OSError: it cannot be renamed.

        """
        folder.rename(self.name, self.final_name)
        self.name = self.final_name

    def lock(self) -> bool:
        """Take the lock of the writer, if no process has it. Never waits."""
        try:
            fcntl.flock(self._opened.number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def unlock(self) -> None:
        """Give the lock back."""
        with suppress(OSError):
            fcntl.flock(self._opened.number, fcntl.LOCK_UN)

    def size(self) -> int:
        """The size of the file, bytes."""
        return self._opened.status().st_size

    def is_removed(self) -> bool:
        """Whether the file has no name any more: it was compacted or cleared."""
        return self._opened.status().st_nlink == 0

    def read(self, offset: int, length: int) -> bytes:
        """Some bytes; fewer at the end of the file.

        Raises:
            OSError: the read fails.

        """
        return self._opened.read(offset, length)

    def append(self, data: bytes) -> int:
        """Write one record, or a batch of records, by one call to the kernel. Returns its offset.

        Raises:
            OSError: the write fails, or only a part was written; that part is cut off again.

        """
        offset = self.scanned
        written = self._opened.write(data)
        if written < len(data):
            with suppress(OSError):
                os.ftruncate(self._opened.number, offset)
            raise OSError(f"{written} of {len(data)} bytes were written")
        self.scanned += written
        return offset

    def scan(self, is_over: Callable[[], bool] = bool) -> list[tuple[int, Head]]:
        """The offset and the head of each record behind ``scanned``. Damaged parts are skipped.

        An incomplete record at the end stays unread: its writer may be in the middle of it, or was killed. As soon as
        ``is_over``, the scan ends; the next one continues from there. A sparse file may have any size.

        Raises:
            OSError: a read fails.

        """
        found: list[tuple[int, Head]] = []
        size, at, resyncs = self.size(), self.scanned, 0
        while at + HEAD_BYTES <= size and resyncs < _MOST_RESYNCS and not is_over():
            head = decode_head(self.read(at, HEAD_BYTES))
            end = at + head.length if head else size + 1
            if head and end <= size:
                found.append((at, head))
            if end == size or self.read(end, len(MAGIC)) == MAGIC:
                at = end
                continue
            following = self._next_magic(at + 1, size, is_over)
            if following is None:
                at = end if end <= size else at
                break
            at, resyncs = following, resyncs + 1
        self.scanned = at
        return found

    def _next_magic(self, start: int, size: int, is_over: Callable[[], bool]) -> int | None:
        """The offset of the next magic number, or that of the rest if the scan is over; None: there is none."""
        while start + len(MAGIC) <= size:
            if is_over():
                return start
            chunk = self.read(start, _CHUNK)
            place = chunk.find(MAGIC)
            if place >= 0:
                return start + place
            if len(chunk) < len(MAGIC):
                return None
            start += len(chunk) - len(MAGIC) + 1
        return None
