"""The order in which versions were stored, and the contents that are not to be used again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

from dagcache.concurrency.lock import Lock

MOST_VERSIONS: Final = 250_000
"""Versions of other processes that are known, some 100 MB: heads are not authenticated, and cost a forger nothing."""

_MOST_FORGOTTEN: Final = 10_000


class Placed(Protocol):
    """An entry of an index."""

    @property
    def content(self) -> bytes:
        """The content of the version, 16 bytes."""
        ...

    @property
    def place(self) -> int:
        """The number of the version, in the order of storing."""
        ...


E = TypeVar("E", bound=Placed)


class VersionIndex(Generic[E]):
    """Entries by version id (16 bytes). Thread-safe; lookups take no lock, and no method does input or output."""

    def __init__(self) -> None:
        self._found: dict[bytes, E] = {}
        self._order: list[bytes] = []
        self._forgotten: set[tuple[bytes, bytes]] = set()
        self._lock = Lock()

    def __len__(self) -> int:
        """The number of versions."""
        return len(self._found)

    def get(self, version: bytes) -> E | None:
        """The entry of a version."""
        return self._found.get(version)

    def near(self, version: bytes, limit: int) -> list[bytes]:
        """A version and those that were stored after it, at most ``limit``; empty if it is not here."""
        entry = self._found.get(version)
        near: list[bytes] = []
        if entry is None:
            return near
        order = self._order
        for place in range(entry.place, len(order)):
            if len(near) >= limit:
                break
            other = self._found.get(order[place])
            if other is not None and other.place == place:  # else it has left, and may have come back elsewhere
                near.append(order[place])
        return near

    def discard(self, version: bytes, content: bytes, *, forget: bool = False) -> None:
        """Remove a version if it has this content. ``forget``: do not add this content again."""
        self._lock.run(self._discard, version, content, forget)

    def after_fork_in_child(self) -> None:
        """Replace the lock, which a thread of the parent may hold."""
        self._lock = Lock()

    def _put(self, version: bytes, entry_at: Callable[[int], E]) -> None:
        """Set the entry of a version, by its place: that which it has, or the last one."""
        known = self._found.get(version)
        if known is None:
            place = len(self._order)
            self._order.append(version)
        else:
            place = known.place
        self._found[version] = entry_at(place)

    def _discard(self, version: bytes, content: bytes, forget: bool) -> None:
        known = self._found.get(version)
        if known is not None and known.content == content:
            del self._found[version]
        if forget:
            if len(self._forgotten) >= _MOST_FORGOTTEN:
                self._forgotten.clear()
            self._forgotten.add((version, content))
