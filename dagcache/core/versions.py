"""The version index: which version of a family is the newest.

An older version that is no longer used does not come back, so the policy evicts it early.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

from dagcache.core.entry import Entry


class _Family:
    __slots__ = ("members", "newest", "order")

    def __init__(self, entry: Entry) -> None:
        self.newest = entry
        self.order: Any = entry.order
        self.members = 0


class VersionIndex:
    """Marks resident entries as superseded. Not thread-safe: called under the cache's lock.

    A family is known while one of its versions is resident. Only the newest version can become superseded, so the work
    for a new version does not grow with the number of versions.
    """

    __slots__ = ("_families",)

    def __init__(self) -> None:
        self._families: dict[Hashable, _Family] = {}

    def add(self, entry: Entry) -> None:
        """Add an entry that became resident."""
        if entry.family is None:
            return
        family = self._families.get(entry.family)
        if family is None:
            family = self._families[entry.family] = _Family(entry)
        elif entry.order > family.order:
            family.newest.superseded = True
            family.newest = entry
            family.order = entry.order
        elif entry.order < family.order:
            entry.superseded = True
        else:
            family.newest = entry  # the same version, loaded again
        family.members += 1

    def remove(self, entry: Entry) -> None:
        """Remove a resident entry."""
        if entry.family is None:
            return
        family = self._families[entry.family]
        family.members -= 1
        if not family.members:
            del self._families[entry.family]

    def clear(self) -> None:
        """Remove all entries."""
        self._families.clear()

    def check_invariants(self, residents: Iterable[Entry]) -> None:
        """Raise AssertionError unless each family has the count and the newest version of its residents."""
        members: dict[Hashable, int] = {}
        for entry in residents:
            if entry.family is not None:
                members[entry.family] = members.get(entry.family, 0) + 1
                order = self._families[entry.family].order
                assert entry.order <= order
                assert entry.superseded == (entry.order < order)
        assert members == {key: family.members for key, family in self._families.items()}
