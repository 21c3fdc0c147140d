"""The index of a warm store: where the newest content of each version is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from dagcache.warm_start import version_index
from dagcache.warm_start.pack import Pack
from dagcache.warm_start.record_format import Head
from dagcache.warm_start.version_index import VersionIndex


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


class Index(VersionIndex[Location]):
    """Locations in packs. Thread-safe; lookups take no lock, and no method does input or output."""

    def locations(self) -> list[tuple[bytes, Location]]:
        """All versions and locations."""
        return list(self._found.items())

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

    def drop(self, packs: Iterable[Pack]) -> None:
        """Remove all records of some packs."""
        among = set(map(id, packs))
        if among:
            self._lock.run(self._drop, among)

    def _add(self, pack: Pack, found: Iterable[tuple[int, Head]], now: int) -> None:
        for offset, head in found:
            stored_at = head.stored_at if head.stored_at <= now else 0
            known = self._found.get(head.version)
            if known is None and len(self._found) >= version_index.MOST_VERSIONS:
                continue
            if (known is None or stored_at >= known.stored_at) and (head.version, head.content) not in self._forgotten:
                self._place(pack, offset, head, stored_at)

    def _add_own(self, pack: Pack, offset: int, head: Head) -> None:
        self._forgotten.discard((head.version, head.content))
        self._place(pack, offset, head, head.stored_at)

    def _place(self, pack: Pack, offset: int, head: Head, stored_at: int) -> None:
        self._put(head.version, lambda place: Location(pack, offset, head.length, head.content, stored_at, place))

    def _move(self, moved: Iterable[tuple[bytes, Location, Pack, int]]) -> None:
        for version, location, pack, offset in moved:
            if self._found.get(version) is location:
                self._found[version] = location._replace(pack=pack, offset=offset)

    def _drop(self, packs: set[int]) -> None:
        for version, location in list(self._found.items()):
            if id(location.pack) in packs:
                del self._found[version]
