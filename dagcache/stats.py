"""The statistics contract of the cache, in prose and as frozen values.

**Lookups.** ``get``, ``cache[key]``, ``get_or_load``, ``fetch`` and ``pop`` are lookups (``key in cache`` is not). A
lookup that returns, or raises an error of the loader, counts as exactly one of three:

- *hit (live)*: the object graph was resident, or came to be while the lookup waited for its turn, or had left the live
  tier and was not freed yet (see ``waiting``);
- *hit (frozen)*: the bytes were resident and were thawed, by this lookup or by one that it joined;
- *miss*: neither.

So ``hits_live + hits_frozen + misses`` is exactly the number of lookups, with any number of threads.

**Misses.** A miss counts as exactly one of four, so ``loads + load_failures + joins + absent == misses``:

- *load*: this lookup ran its loader, and the loader returned a value;
- *load failure*: this lookup ran its loader, and the loader raised;
- *join*: another thread was loading the key already, and this lookup shares its value;
- *absent*: nothing to load: the loader returned ``None``, or the lookup had none, or the key was known to have no value
  (``negative_ttl``). The last ones are counted in ``absent_known`` as well.

A lookup is not counted if it is interrupted (``KeyboardInterrupt`` and similar; after its value was found and counted,
while evicted values are taken apart, the count stays), refused because it would wait for itself, or short of the memory
for a thaw (``MemoryError``; the entry stays, unless the lookup is a ``pop``).

**Removals.** Every entry that was admitted leaves exactly once, by one of the causes of `RemovalCause`. A live copy
that is given up while its frozen copy stays is a *demotion* and no removal. A loaded value that was never admitted is a
*rejection*, by one of the reasons of `Rejection`.

**Bytes.** ``live_bytes + frozen_bytes + overhead_bytes`` is the weight of the residents, and of the records of absent
keys; the budget bounds it at every moment. ``waiting_bytes`` is the weight of values that left (demoted, removed, or
served and not kept) and are not freed yet, because a caller holds them or because their turn has not come. After each
call the sum of the four, ``total_bytes``, is within the budget, if callers hold at most a quarter of it. Held bytes
beyond that are in the sum, and take no room from the residents, because evicting cannot free them.
``serialized_bytes`` is the serialised length of the same entries, as stated by the loaders; 0 for those without a
statement.

**Values that left.** Each of them was taken apart (``taken_apart``), died when its holders dropped it (``died``), was
left to the collector (``unbroken_cycles``), or waits (``waiting``).

**Idle entries.** An expired entry is not found by a lookup, and is not in ``len``, iteration and ``entries()``. The
bytes and the numbers of entries here also count expired entries that are not removed yet. If very many entries expire
at the same time, they are removed and freed in a few milliseconds per call.

Counters only grow; ``clear`` does not reset them. A snapshot is consistent: it is taken under the cache's lock.
"""

from __future__ import annotations

import enum
from bisect import bisect_left
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

K_co = TypeVar("K_co", covariant=True)

DURATION_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Upper bounds of the duration histograms, in seconds."""

WEIGHT_BOUNDS = tuple(float(4**power) for power in range(5, 16))
"""Upper bounds of the histogram of resident entries' weights, in bytes: 1 KiB to 1 GiB."""


class RemovalCause(enum.Enum):
    """Why an entry left the cache."""

    SIZE = "size"
    """Its bytes were needed for others, or the budget shrank."""
    EXPIRED = "expired"
    """It was not looked up for longer than the TTL, or was older than ``max_age``."""
    REPLACED = "replaced"
    """A new value was assigned to its key."""
    EXPLICIT = "explicit"
    """It was deleted or the cache was cleared."""
    STALE = "stale"
    """It was found to be out of date or damaged."""


class Rejection(enum.Enum):
    """Why a value was served and not kept."""

    OVERSIZE = "oversize"
    """It weighs more than the whole budget."""
    POLICY = "policy"
    """The residents were predicted to be worth more."""
    SIZER = "sizer"
    """It could not be weighed."""
    OVERTAKEN = "overtaken"
    """Its key was assigned, deleted or cleared while it was being loaded."""
    CLOSED = "closed"
    """The cache is closed."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many observations fell where. Cumulative counts are for the exporter to make."""

    bounds: tuple[float, ...]
    """Upper bounds, inclusive, ascending; observations above the last are in ``counts[-1]``."""
    counts: tuple[int, ...]
    """One per bound and one above."""
    total: float
    """The sum of all observations, in their unit."""

    @property
    def count(self) -> int:
        """The number of observations."""
        return sum(self.counts)

    @classmethod
    def of(cls, bounds: Sequence[float], observations: Sequence[float]) -> Histogram:
        """Count the observations, each into the first bound that is not below it."""
        tally = Tally(bounds)
        for observation in observations:
            tally.observe(observation)
        return tally.snapshot()


class Tally:
    """A histogram that is still growing. Not thread-safe: written under the cache's lock."""

    __slots__ = ("_bounds", "_counts", "_total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._total = 0.0

    def observe(self, observation: float) -> None:
        """Add one observation."""
        self._counts[bisect_left(self._bounds, observation)] += 1
        self._total += observation

    def snapshot(self) -> Histogram:
        """Freeze what was observed so far."""
        return Histogram(self._bounds, tuple(self._counts), self._total)


@dataclass(frozen=True, slots=True)
class EntryInfo(Generic[K_co]):
    """One resident entry, as an observer sees it."""

    key: K_co
    tier: str
    """``"live"`` (with or without a frozen copy) or ``"frozen"``."""
    live_bytes: int
    """The weight of the live copy; 0 while there is none."""
    frozen_bytes: int
    """The weight of the frozen copy; 0 if the value cannot be frozen."""
    serialized_bytes: int
    """The serialised size at the source, as the loader gave it; 0 = unknown."""
    idle_seconds: float
    """Time since the last use, exact to one second."""
    hits: int
    """Uses since it was first seen; those within a twentieth of a second of each other may count as one."""
    load_seconds: float
    """The time of the last load; 0 for an assigned value."""
    family: Hashable | None = None
    """The thing of which the key is a version (in Airflow, the DAG's id); None = unknown."""
    order: float = 0
    """Its place among its family's versions (in Airflow, the version's number)."""


@dataclass(frozen=True, slots=True)
class FamilyCost:
    """The costs of one family of keys (in Airflow, of a DAG) since the cache was created."""

    loads: int
    load_seconds: float
    thaws: int
    thaw_seconds: float
    newer_versions: int
    """The number of times that a load had a greater order than all loads before it (in Airflow: new versions)."""


class EntryFacts(NamedTuple):
    """The facts about an entry that explain what its lookups cost. Bytes and seconds."""

    live_bytes: int
    frozen_bytes: int
    load_seconds: float
    family: Hashable | None
    order: float
    record_bytes: int = 0
    """Bytes of an unusually large key and of the loader's own records of it (`Loaded.record_bytes`)."""


class LookupEvent(NamedTuple):
    """One lookup, as `DagCache.watch` reports it. A tuple, since each hit makes one."""

    key: Any
    tier: str
    """``"live"``, ``"frozen"``, ``"miss"``, or ``"absent"``: there was nothing, or the loader failed."""
    seconds: float
    """The time of the load or thaw; 0 if this lookup did none."""
    facts: EntryFacts | None
    """Of the entry, or of the loaded value; None if there is none."""


@dataclass(frozen=True, slots=True)
class WarmStats:
    """Figures of a warm store since the start of its process. Bytes and seconds. The defaults stand for no store."""

    hits: int = 0
    """Keys with a record."""
    misses: int = 0
    """Keys without one, also those in ``stale`` and ``forged``."""
    stale: int = 0
    """Misses for which the store has other content of the version."""
    forged: int = 0
    """Misses for which the store has a record that is damaged or forged."""
    refused: int = 0
    """Hits that name a class that may not be unpickled."""
    stored: int = 0
    """Records written."""
    errors: Mapping[str, int] = field(default_factory=dict)
    """By kind."""
    bytes_read: int = 0
    bytes_written: int = 0
    read_seconds: float = 0.0
    write_seconds: float = 0.0
    records: int = 0
    """Versions that have a record now."""
    is_passed_over: bool = False
    """Whether the store is not used now, after an error or a slow call, or because its folder is unsafe."""


@dataclass(frozen=True, slots=True)
class ComponentStats:
    """Figures of a component that its cache does not know. The defaults are those of a component without faults."""

    quarantined: int = 0
    """Versions in quarantine now."""
    quarantines: int = 0
    """Times that a version was put in quarantine."""
    quarantine_misses: int = 0
    """Lookups of versions that were in quarantine."""
    warm: WarmStats | None = None
    """Of the warm store; None without one."""
    internal_errors: int = 0
    """Faults between the component and the cache that were logged and survived; `CacheStats` counts its own."""


@dataclass(frozen=True, slots=True)
class CacheStats:
    """One consistent snapshot; the module's docstring is the contract. Bytes and seconds throughout."""

    name: str
    hits_live: int
    hits_frozen: int
    misses: int
    loads: int
    load_failures: int
    joins: int
    absent: int
    absent_known: int
    """Of these, lookups whose loader was not called because the key was known to have no value."""
    evictions: Mapping[RemovalCause, int]
    evicted_bytes: Mapping[RemovalCause, int]
    demotions: int
    demoted_bytes: int
    rejections: Mapping[Rejection, int]
    thaw_failures: int
    """Frozen copies that did not give their value back: each became a miss."""
    unfrozen: int
    """Values that have no frozen form, kept live only."""
    listener_failures: int
    taken_apart: int
    """Values that left and were taken apart, when a census had shown that no caller holds a part of them."""
    died: int
    """Values that left and died without that, of their last reference."""
    unbroken_cycles: int
    """Values that left and could not be taken apart; the collector frees their memory."""
    internal_errors: int
    """Faults of the cache's own that were logged and survived; anything but 0 is a bug to report."""
    load_seconds: Histogram
    thaw_seconds: Histogram
    entry_bytes: Histogram
    """The weights of the present residents, all tiers of an entry together."""
    max_bytes: int
    """The budget; 0 = unbounded."""
    changed_settings: int
    """The number of settings that were changed since the cache was created; see `DagCache.changed_settings`."""
    live_bytes: int
    frozen_bytes: int
    overhead_bytes: int
    waiting_bytes: int
    """Of values that left the cache and are not freed yet, most of them held by callers."""
    waiting: int
    """Values that left the cache and are held."""
    serialized_bytes: int
    live_entries: int
    """Entries with a live copy."""
    frozen_entries: int
    """Entries with a frozen copy, live or not."""
    entries: int
    absences: int
    """Keys that are remembered to have no value. Their bytes are in ``overhead_bytes``."""
    next_victim_idle_seconds: float
    """How long the next victim has been idle; a young one means: grow. 0 if there is none."""
    sizing_error_ratio: float
    """The recent mean of (estimate - exact) / exact, of loaded or thawed values: the larger; 0 while none is known."""
    sizing_seconds: float

    @property
    def hits(self) -> int:
        """Lookups served without a load."""
        return self.hits_live + self.hits_frozen

    @property
    def lookups(self) -> int:
        """All lookups that ended."""
        return self.hits + self.misses

    @property
    def total_bytes(self) -> int:
        """The process's memory that the cache's values take."""
        return self.live_bytes + self.frozen_bytes + self.overhead_bytes + self.waiting_bytes
