"""What the store holds: an entry, its copies, and the facts it arrives with."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from dagcache.eviction.access_history import AccessHistory
from dagcache.eviction.node import Node
from dagcache.stats import EntryInfo

FRESH_SECONDS = 0.05
"""A hit so soon after the last noted use is not noted: idle times are exact to this. Noting
one takes microseconds. Were it half a second, what stays live would seem to be used every second time only, in a sweep
that takes less, and make way for what is not: a fifth more of the lookups thawed."""

FRESH_SHARE = 0.125
"""Of the TTL: with short ones, a hit is noted again after this part of it."""

USES_BEFORE_REWEIGHING = 16
"""Noted hits on a live copy before its value is weighed again. While nothing changes the number doubles each time."""

ENTRY_OVERHEAD = 930
"""Bytes that the cache spends on an entry beside its copies: records, tables, deadline, its ghosts to come. Measured by
a test; a usual key, such as an id, is not included, as its owner has it anyway. `Candidate.key_bytes` is on top."""

LIVE_OVERHEAD = 315
"""Bytes that the cache spends on a live copy beside the value itself; measured by the same test."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A value on its way in, frozen and weighed, and what is known of it."""

    key: Hashable
    value: Any
    live_bytes: int
    frozen: bytes | None = None
    """None: it has no frozen form, or the cache keeps none."""
    load_seconds: float = 0.0
    serialized_bytes: int = 0
    family: Hashable | None = None
    """What the key is a version of; None = unknown."""
    order: Any = 0
    """Its place among its family's versions."""
    own_references: int | None = None
    """How many references to the value come from its own parts; None = unknown."""
    content: Hashable = None
    """Which content of the key it is."""
    key_bytes: int = 0
    """Bytes of a key that weighs more than usual; part of the overhead."""

    @property
    def least_bytes(self) -> int:
        """What the smallest way to keep it costs, overhead included."""
        if self.frozen is None:
            return self.live_bytes + LIVE_OVERHEAD + ENTRY_OVERHEAD + self.key_bytes
        return len(self.frozen) + ENTRY_OVERHEAD + self.key_bytes


class LiveCopy(Node):
    """A resident object graph. Lookups find it without a lock.

    ``value_bytes`` is the weight of the value alone; ``cost`` the seconds to bring it back.
    """

    __slots__ = ("due", "entry", "fresh", "own_references", "uses", "value", "value_bytes")

    def __init__(self, entry: Entry, value: object, value_bytes: int, cost: float, own: int | None) -> None:
        nbytes = value_bytes + LIVE_OVERHEAD + (entry.overhead_bytes if entry.frozen is None else 0)
        super().__init__(entry, nbytes, nbytes / cost)
        self.entry = entry
        self.value = value
        self.value_bytes = value_bytes
        self.own_references = own
        self.fresh = 0.0
        """Until when a hit needs not be noted, seconds."""
        self.uses = 0
        """Noted hits since the value was last weighed. Written without a lock: a lost update costs a count."""
        self.due = USES_BEFORE_REWEIGHING
        """How many of them make another weighing due."""


class FrozenCopy(Node):
    """Resident bytes; they weigh what the entry costs without a live copy."""

    __slots__ = ("data",)

    def __init__(self, entry: Entry, data: bytes, cost_density: float) -> None:
        super().__init__(entry, len(data) + entry.overhead_bytes, cost_density)
        self.data = data


class Entry(AccessHistory):
    """A key, its history, and its copies: at least one while it is resident."""

    __slots__ = (
        "content",
        "family",
        "frozen",
        "key",
        "key_bytes",
        "live",
        "load_seconds",
        "loaded_bytes",
        "order",
        "serialized_bytes",
        "thaw_seconds",
        "thawed_bytes",
        "thawed_bytes_are_exact",
    )

    def __init__(self, candidate: Candidate, now: float) -> None:
        super().__init__(now)
        self.key = candidate.key
        self.key_bytes = candidate.key_bytes
        self.live: LiveCopy | None = None
        self.frozen: FrozenCopy | None = None
        self.loaded_bytes = candidate.live_bytes
        """What the value weighed as it came in."""
        self.thawed_bytes = 0
        """What the latest thawed copy weighed when it was thawed; 0 = none yet."""
        self.thawed_bytes_are_exact = False
        """Whether that is from a walk. The frozen bytes never change, so no further walk is needed."""
        self.serialized_bytes = candidate.serialized_bytes
        self.load_seconds = candidate.load_seconds
        self.thaw_seconds = 0.0
        self.family = candidate.family
        self.order = candidate.order
        self.content = candidate.content

    @property
    def thaws_to_bytes(self) -> int:
        """What a copy would weigh that is thawed now, bytes: what the latest one did, or else the loaded value."""
        return self.thawed_bytes or self.loaded_bytes

    @property
    def live_bytes(self) -> int:
        """What its live copy weighs, or else what one would weigh that is thawed now, bytes."""
        live = self.live  # without the lock: it may leave in the middle of this
        return self.thaws_to_bytes if live is None else live.value_bytes

    @property
    def overhead_bytes(self) -> int:
        """Bytes that it costs beside its copies, without the overhead of a live one."""
        return ENTRY_OVERHEAD + self.key_bytes

    @property
    def copies_bytes(self) -> int:
        """What its copies and their overhead weigh, bytes."""
        if self.frozen is None:
            return self.live.nbytes if self.live is not None else 0
        return self.frozen.nbytes + (self.live.nbytes if self.live is not None else 0)

    def info(self, now: float) -> EntryInfo[Any]:
        """What an observer may know."""
        live, frozen = self.live, self.frozen  # without the lock: they may leave in the middle of this
        return EntryInfo(
            key=self.key,
            tier="live" if live is not None else "frozen",
            live_bytes=live.value_bytes if live is not None else 0,
            frozen_bytes=len(frozen.data) if frozen is not None else 0,
            serialized_bytes=self.serialized_bytes,
            idle_seconds=max(0.0, now - self.used),
            hits=self.hits,
            load_seconds=self.load_seconds,
            family=self.family,
            order=self.order,
        )
