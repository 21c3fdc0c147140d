"""An opened generation: its packs, the index over them, and the pack that this process writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from dagcache.concurrency.lock import Lock
from dagcache.warm_start import generation
from dagcache.warm_start.compaction import compact
from dagcache.warm_start.folder import Folder
from dagcache.warm_start.index import Index, Location
from dagcache.warm_start.keys import SigningKey
from dagcache.warm_start.pack import SUFFIX, Pack
from dagcache.warm_start.record_format import Head, content_of, decode_head, encode
from dagcache.warm_start.store import WarmKey, WarmRecord

MOST_PACKS: Final = 128
"""Packs that are open at the same time: each takes a file descriptor, of which a process may have 1024 only."""

_MOST_LISTINGS: Final = 3
_OPENING_SECONDS: Final = 10.0  # in a thread of its own
_REFRESH_SECONDS: Final = 0.05  # in the thread of a lookup
_NANOSECONDS: Final = 10**9


class FullError(Exception):
    """A record does not fit into ``max_bytes``, or into the longest record."""


class OpenedGeneration:
    """Reads are thread-safe. `write`, and `compact`, are for one thread at a time. Raises what the kernel reports.

    Args:
        store: the folder of the store.
        digest: the fingerprint.
        parts: the parts of the fingerprint, for its description.
        signing: the key of the records.
        max_bytes: the limit of all packs together. The packs of other processes count as of the last refresh.
        now: nanoseconds since 1970 in UTC.
        clock: monotonic seconds.

    Raises:
        UnsafeError: a folder or a file is not private.
        OSError: the kernel refuses a step.

    """

    def __init__(
        self,
        store: Path,
        *,
        digest: str,
        parts: Mapping[str, str],
        signing: SigningKey,
        max_bytes: int,
        now: Callable[[], int],
        clock: Callable[[], float],
    ) -> None:
        self.index = Index()
        self.signing = signing
        self._max_bytes = max_bytes
        self._now = now
        self._clock = clock
        self._packs: dict[str, Pack] = {}
        self._own: Pack | None = None
        self._bytes_of_others = 0
        self._refreshing = Lock()
        name = generation.name_of(digest, signing)
        root = Folder.at(store)
        with suppress(OSError):  # a folder that cannot be written can still be read
            generation.remove_unused(root, name, now() / _NANOSECONDS)
        self._folder = root.folder(name, create=True)
        self._is_marked = False
        with suppress(OSError):
            generation.describe(self._folder, digest, {**parts, "key": signing.name})
            generation.remove_unfinished(self._folder)
        self._refresh(_OPENING_SECONDS)

    def is_removed(self) -> bool:
        """Whether the folder was removed under this process."""
        return self._folder.is_removed()

    def refresh(self) -> None:
        """Read the heads of records that other processes have written meanwhile. Returns if another thread does it.

        Ends after 0.05 s, and a little more: the next call continues.
        """
        self._refreshing.try_run(self._refresh, _REFRESH_SECONDS)

    def find(self, version: bytes) -> Location | None:
        """The location of the newest content of a version. It follows a record to a compacted pack."""
        location = self.index.get(version)
        if location is not None and location.pack.is_removed():
            self.refresh()
            location = self.index.get(version)
        return location

    def read(self, location: Location) -> bytes:
        """The bytes of a record, fewer if the file was cut off. Not authenticated."""
        return location.pack.read(location.offset, location.length)

    def write(self, key: WarmKey, record: WarmRecord) -> int:
        """Write a record to the pack of this process. Returns its bytes; 0 if the content is stored already.

        Raises:
            FullError: the record does not fit.
            OSError: the kernel refuses a step.

        """
        known = self.index.get(key.version_id.bytes)
        if known is not None and known.content == content_of(key):
            return 0
        stored_at = max(self._now(), known.stored_at + 1 if known else 0)
        try:
            data = encode(key, record, stored_at, self.signing)
        except ValueError as error:
            raise FullError(str(error)) from error
        own = self._own_pack()
        is_full = self._bytes_of_others + own.scanned + len(data) > self._max_bytes
        if is_full and key.last_updated:  # without it, others depend on the record
            raise FullError(f"all packs together would exceed {self._max_bytes} bytes")
        offset = own.append(data)
        self.index.add_own(own, offset, _head_of(data))
        return len(data)

    def compact(self) -> None:
        """Replace the packs of processes that have ended by one, if that is worth it."""
        self._refreshing.run(self._compact)

    def after_fork_in_child(self) -> None:
        """Leave the pack to the parent, which has its lock; this process makes one of its own."""
        self._refreshing = Lock()
        self.index.after_fork_in_child()
        if self._own is not None:
            self._packs.pop(self._own.final_name, None)  # opened again by its name, with a descriptor of this process
            self._own = None

    def _own_pack(self) -> Pack:
        own = self._own
        if own is None or own.is_removed():
            own = Pack.create(self._folder, self._now())
            self._packs[own.final_name] = self._own = own  # before it can be found by its name
            own.publish(self._folder)
        return own

    def _compact(self) -> None:
        made = compact(self._folder, self._others(), self.index, self.signing, self._max_bytes, self._now())
        if made is not None:
            self._packs[made.name] = made
        self._leave_removed(self._clock() + _OPENING_SECONDS)

    def _refresh(self, seconds: float) -> None:
        self._is_marked = self._is_marked or self._folder.mark_as_used()
        until = self._clock() + seconds
        self._read_new(until)
        self._leave_removed(until)

    def _read_new(self, until: float) -> None:
        for _ in range(_MOST_LISTINGS):
            if self._open_new():
                break
        # The longest rest comes last: a sparse file must not keep the others from being read.
        for pack in sorted(self._others(), key=lambda each: each.size() - each.scanned):
            self.index.add(pack, pack.scan(lambda: self._clock() >= until), self._now())

    def _leave_removed(self, until: float) -> None:
        gone = {name: pack for name, pack in list(self._packs.items()) if pack.is_removed()}
        if gone:  # by another process's compaction: their records are in a pack that has its name already
            self._read_new(until)
        for name in gone:
            del self._packs[name]
        self.index.drop(gone.values())
        self._bytes_of_others = sum(pack.size() for pack in self._others())

    def _others(self) -> list[Pack]:
        own = self._own
        return [pack for pack in list(self._packs.values()) if pack is not own]

    def _open_new(self) -> bool:
        """Open the packs that are new, and `MOST_PACKS` at most. False if one was removed meanwhile.

        The records of a removed pack are in a newer one.
        """
        is_complete = True
        for name in self._folder.names():
            if len(self._packs) >= MOST_PACKS:
                break
            if name.endswith(SUFFIX) and name not in self._packs:
                try:
                    self._packs[name] = Pack.open(self._folder, name)
                except FileNotFoundError:
                    is_complete = False
        return is_complete


def _head_of(data: bytes) -> Head:
    head = decode_head(data)
    assert head is not None
    return head
