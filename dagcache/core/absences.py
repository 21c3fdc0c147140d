"""Absences: keys without a value, remembered for a short time (negative caching). Off unless `negative_ttl` is set.

The loader of a missing key runs at each lookup, because a lookup keeps nothing that it does not have. A record of the
absence answers the lookups of the next seconds. It has a TTL of its own, from the load on and not from the last use, as
in the DNS (RFC 2308): a value may appear at any time, and it must be found soon, however often it is asked for.

Only an answer of the loader is remembered, a bare ``None``. An error is not: nothing shows that it would come again,
and the exception would keep the frames of its traceback alive.

Records are bounded in number, and to a part of the budget. The oldest leave first.

References: Andrews, *Negative caching of DNS queries*, RFC 2308, 1998; dnspython's resolver caches negative answers in
this way. Caffeine keeps no null, and its users store an `Optional.empty()` that expires after seconds (its issues 118,
391 and 1943). Neither Caffeine, cachetools nor aiocache keeps an error.
"""

from __future__ import annotations

from collections.abc import Hashable
from itertools import islice
from typing import NamedTuple

from dagcache.core.ledger import UNLIMITED, Ledger

MOST_ABSENCES = 10_000
"""The most records. A caller that asks for random keys replaces the records of others, and nothing else."""

BUDGET_PART = 64
"""Records take at most this part of the budget (a sixty-fourth)."""

ABSENCE_BYTES = 320
"""Bytes of a record with a usual key, as measured by a test. The cache may be the only holder of the key."""

_EXPIRED_AT_ONCE = 2  # expired records that a new one removes: more than come in


class _Absence(NamedTuple):
    until: float
    nbytes: int


class Absences:
    """The keys that are known to have no value. Not thread-safe: called under the cache's lock.

    ``ttl``: seconds that a record is valid; 0 = nothing is remembered. The bytes are in ``ledger.absence_bytes``.
    """

    __slots__ = ("_by_key", "_ledger", "ttl")

    def __init__(self, ttl: float, ledger: Ledger) -> None:
        self.ttl = ttl
        self._ledger = ledger
        self._by_key: dict[Hashable, _Absence] = {}  # the oldest first: all have the same TTL

    def __len__(self) -> int:
        return len(self._by_key)

    def has(self, key: Hashable, now: float) -> bool:
        """Whether a key is known to have no value."""
        if not self._by_key:
            return False
        absence = self._by_key.get(key)
        return absence is not None and now <= absence.until

    def note(self, key: Hashable, key_bytes: int, now: float) -> None:
        """Remember that a key has no value. ``key_bytes``: the bytes of an unusually large key."""
        self.forget(key)
        nbytes = ABSENCE_BYTES + key_bytes
        if not self.ttl or nbytes > self._most_bytes:
            return
        self._expire_some(now)
        self._by_key[key] = _Absence(now + self.ttl, nbytes)
        self._ledger.absence_bytes += nbytes
        self.trim()

    def forget(self, key: Hashable) -> None:
        """Remember no longer that a key has no value."""
        absence = self._by_key.pop(key, None) if self._by_key else None
        if absence is not None:
            self._ledger.absence_bytes -= absence.nbytes

    def expire(self, now: float) -> None:
        """Forget all absences that are no longer valid."""
        for key in [key for key, absence in self._by_key.items() if now > absence.until]:
            self.forget(key)

    def trim(self) -> None:
        """Forget the oldest absences until their bounds hold."""
        while len(self._by_key) > MOST_ABSENCES or self._ledger.absence_bytes > self._most_bytes:
            self.forget(next(iter(self._by_key)))

    def clear(self) -> None:
        """Forget all absences."""
        self._by_key.clear()
        self._ledger.absence_bytes = 0

    def check_invariants(self) -> None:
        """Raise AssertionError if the bytes differ from the records, or the records exceed their bounds."""
        assert self._ledger.absence_bytes == sum(absence.nbytes for absence in self._by_key.values())
        assert self._ledger.absence_bytes <= self._most_bytes
        assert len(self._by_key) <= MOST_ABSENCES
        assert self.ttl or not self._by_key

    @property
    def _most_bytes(self) -> int:
        budget = self._ledger.enforced_budget
        return UNLIMITED if budget == UNLIMITED else budget // BUDGET_PART

    def _expire_some(self, now: float) -> None:
        for key in list(islice(self._by_key, _EXPIRED_AT_ONCE)):
            if now > self._by_key[key].until:
                self.forget(key)
