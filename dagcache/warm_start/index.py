"""The index of a warm store: where the newest content of each version is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from dagcache.concurrency.lock import Lock
from dagcache.warm_start.pack import Pack
from dagcache.warm_start.record_format import Head

MOST_VERSIONS: Final = 250_000
"""Versions of other processes that are known, some 100 MB: heads are not authenticated, and cost a forger nothing."""

_MOST_FORGOTTEN: Final = 10_000


class Location(NamedTuple):
    """The place of a record."""

    pack: Pack
    offset: int
    length: int
    content: bytes
    stored_at: int
    """Nanoseconds since 1970 in UTC; 0 if the record claims a time in the future."""
    place: int
    """The number of the version, in the order of storing."""


class Index:
    """Locations by version id (16 bytes). Thread-safe; lookups take no lock, and no method does input or output."""

    def __init__(self) -> None:
        self._found: dict[bytes, Location] = {}
        self._order: list[bytes] = []
        self._forgotten: set[tuple[bytes, bytes]] = set()
        self._lock = Lock()

    def __len__(self) -> int:
        """The number of versions."""
        return len(self._found)

    def get(self, version: bytes) -> Location | None:
        """The location of a version."""
        return self._found.get(version)

    def locations(self) -> list[tuple[bytes, Location]]:
        """All versions and locations."""
        return list(self._found.items())

    def near(self, version: bytes, limit: int) -> list[bytes]:
        """A version and those that were stored after it, at most ``limit``; empty if it is not here."""
        location = self._found.get(version)
        near: list[bytes] = []
        if location is None:
            return near
        order = self._order
        for place in range(location.place, len(order)):
            if len(near) >= limit:
                break
            other = self._found.get(order[place])
            if other is not None and other.place == place:  # else it has left, and may have come back elsewhere
                near.append(order[place])
        return near

    def add(self, pack: Pack, found: Iterable[tuple[int, Head]], now: int) -> None:
        """Add the records of a scan. Of two records of a version, the one that was stored later counts.

        Records that were forgotten are left out. A time of storing after ``now`` counts as 0: else a clock that was
        wrong once would hide all later records.
        """
        self._lock.run(self._add, pack, found, now)

    def add_own(self, pack: Pack, offset: int, head: Head) -> None:
        """Add a record that this process has written: it counts, and is no longer forgotten."""
        self._lock.run(self._add_own, pack, offset, head)

    def move(self, moved: Iterable[tuple[bytes, Location, Pack, int]]) -> None:
        """Replace locations by another pack and offset, unless they have changed meanwhile."""
        self._lock.run(self._move, moved)

    def discard(self, version: bytes, content: bytes, *, forget: bool = False) -> None:
        """Remove a version if it has this content. ``forget``: do not add this content again."""
        self._lock.run(self._discard, version, content, forget)

    def drop(self, packs: Iterable[Pack]) -> None:
        """Remove all records of some packs."""
        among = set(map(id, packs))
        if among:
            self._lock.run(self._drop, among)

    def after_fork_in_child(self) -> None:
        """Replace the lock, which a thread of the parent may hold."""
        self._lock = Lock()

    def _add(self, pack: Pack, found: Iterable[tuple[int, Head]], now: int) -> None:
        for offset, head in found:
            stored_at = head.stored_at if head.stored_at <= now else 0
            known = self._found.get(head.version)
            if known is None and len(self._found) >= MOST_VERSIONS:
                continue
            if (known is None or stored_at >= known.stored_at) and (head.version, head.content) not in self._forgotten:
                self._put(pack, offset, head, stored_at)

    def _add_own(self, pack: Pack, offset: int, head: Head) -> None:
        self._forgotten.discard((head.version, head.content))
        self._put(pack, offset, head, head.stored_at)

    def _put(self, pack: Pack, offset: int, head: Head, stored_at: int) -> None:
        known = self._found.get(head.version)
        if known is None:
            place = len(self._order)
            self._order.append(head.version)
        else:
            place = known.place
        self._found[head.version] = Location(pack, offset, head.length, head.content, stored_at, place)

    def _move(self, moved: Iterable[tuple[bytes, Location, Pack, int]]) -> None:
        for version, location, pack, offset in moved:
            if self._found.get(version) is location:
                self._found[version] = location._replace(pack=pack, offset=offset)

    def _discard(self, version: bytes, content: bytes, forget: bool) -> None:
        known = self._found.get(version)
        if known is not None and known.content == content:
            del self._found[version]
        if forget:
            if len(self._forgotten) >= _MOST_FORGOTTEN:
                self._forgotten.clear()
            self._forgotten.add((version, content))

    def _drop(self, packs: set[int]) -> None:
        for version, location in list(self._found.items()):
            if id(location.pack) in packs:
                del self._found[version]
