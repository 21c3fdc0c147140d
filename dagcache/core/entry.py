"""An entry, its copies, and the candidates that they are made from."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from math import inf
from typing import Any, NamedTuple

from dagcache.eviction.access_history import AccessHistory
from dagcache.eviction.node import Node
from dagcache.stats import EntryInfo

FRESH_SECONDS = 0.05
"""Seconds after a noted use in which hits are not noted, because noting takes microseconds. Idle times are exact to
this. With half a second, only every second use in a faster sweep would be noted. Live copies would leave for frozen
ones, and a fifth more of the lookups would thaw."""

FRESH_SHARE = 0.125
"""The same as a part of the TTL, for short TTLs."""

USES_BEFORE_REWEIGHING = 16
"""Noted hits on a live copy before its value is weighed again. The number doubles each time without a change."""

ENTRY_OVERHEAD = 965
"""Bytes of an entry beside its copies: records, tables, deadline and future ghosts, as measured by a test. A usual key,
such as an id, is not included, because its owner has it anyway; `Candidate.record_bytes` comes on top."""

LIVE_OVERHEAD = 315
"""Bytes of a live copy beside the value itself, as measured by the same test."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A loaded value, frozen and weighed, that is offered for admission."""

    key: Hashable
    value: Any
    live_bytes: int
    frozen: bytes | None = None
    """The frozen form; None = the value has none, or the cache keeps none."""
    load_seconds: float = 0.0
    serialized_bytes: int = 0
    family: Hashable | None = None
    """The DAG that the key is a version of; None = unknown."""
    order: Any = 0
    """Position among the versions of the family."""
    own_references: int | None = None
    """Number of references to the value from its own parts; None = unknown."""
    content: Hashable = None
    """Identity of the content that was loaded for the key."""
    record_bytes: int = 0
    """Bytes of an unusually large key and of the loader's own records of it; part of the overhead."""

    @property
    def least_bytes(self) -> int:
        """Bytes of its smallest form, with overhead."""
        if self.frozen is None:
            return self.live_bytes + LIVE_OVERHEAD + ENTRY_OVERHEAD + self.record_bytes
        return len(self.frozen) + ENTRY_OVERHEAD + self.record_bytes


class ThawedCopy(NamedTuple):
    """A value that was just thawed."""

    value: Any
    seconds: float
    """Duration of the thaw."""
    own_references: int
    """Number of references to the value from its own parts."""


class LiveCopy(Node):
    """A resident object graph. Lookups find it without a lock.

    ``value_bytes`` are the bytes of the value alone; ``cost`` is the seconds to restore it.
    """

    __slots__ = ("due", "entry", "fresh", "own_references", "ticket", "uses", "value", "value_bytes")

    def __init__(self, entry: Entry, value: object, value_bytes: int, cost: float, own: int | None) -> None:
        nbytes = value_bytes + LIVE_OVERHEAD + (entry.overhead_bytes if entry.frozen is None else 0)
        super().__init__(entry, nbytes, nbytes / cost)
        self.entry = entry
        self.value = value
        self.value_bytes = value_bytes
        self.own_references = own
        self.ticket = 0
        """Number of the ticket under which lookups of the entry find the value while it waits; 0 = they do not."""
        self.fresh = 0.0
        """Time until which hits are not noted, seconds."""
        self.uses = 0
        """Noted hits since the value was last weighed. Written without a lock: a lost update costs one count."""
        self.due = USES_BEFORE_REWEIGHING
        """Number of these hits after which the value is weighed again."""


class FrozenCopy(Node):
    """The resident frozen form; its bytes include the overhead of the entry."""

    __slots__ = ("data",)

    def __init__(self, entry: Entry, data: bytes, cost_density: float) -> None:
        super().__init__(entry, len(data) + entry.overhead_bytes, cost_density)
        self.data = data


class Entry(AccessHistory):
    """A key with its access history and its copies: at least one while it is resident."""

    __slots__ = (
        "content",
        "expires",
        "family",
        "frozen",
        "idle_limit",
        "key",
        "live",
        "load_seconds",
        "loaded_bytes",
        "order",
        "record_bytes",
        "serialized_bytes",
        "thaw_seconds",
        "thawed_bytes",
        "thawed_bytes_are_exact",
        "ticket",
    )

    def __init__(self, candidate: Candidate, now: float) -> None:
        super().__init__(now)
        self.key = candidate.key
        self.record_bytes = candidate.record_bytes
        self.live: LiveCopy | None = None
        self.frozen: FrozenCopy | None = None
        self.loaded_bytes = candidate.live_bytes
        """Bytes of the loaded value."""
        self.thawed_bytes = 0
        """Bytes of the latest thawed copy when it was thawed; 0 = none yet."""
        self.thawed_bytes_are_exact = False
        """Whether they are from a walk. The frozen form never changes, so no further walk is needed."""
        self.serialized_bytes = candidate.serialized_bytes
        self.load_seconds = candidate.load_seconds
        self.thaw_seconds = 0.0
        self.family = candidate.family
        self.order = candidate.order
        self.content = candidate.content
        self.ticket = 0
        """Number of the ticket of the latest value that left the live tier and may be served again; 0 = none. The
        value may be gone."""
        self.idle_limit = inf
        """Seconds without a use after which it expires."""
        self.expires = inf
        """Time at which it expires because of its age, seconds."""

    @property
    def thaws_to_bytes(self) -> int:
        """Bytes of a copy if it were thawed now: those of the latest one, else of the loaded value."""
        return self.thawed_bytes or self.loaded_bytes

    @property
    def live_bytes(self) -> int:
        """Bytes of the live copy, or of one if it were thawed now."""
        live = self.live  # read without the lock: it may leave meanwhile
        return self.thaws_to_bytes if live is None else live.value_bytes

    @property
    def overhead_bytes(self) -> int:
        """Bytes beside the copies, without the overhead of a live copy."""
        return ENTRY_OVERHEAD + self.record_bytes

    @property
    def copies_bytes(self) -> int:
        """Bytes of the copies with their overhead."""
        if self.frozen is None:
            return self.live.nbytes if self.live is not None else 0
        return self.frozen.nbytes + (self.live.nbytes if self.live is not None else 0)

    def info(self, now: float) -> EntryInfo[Any]:
        """Return a snapshot for observers."""
        live, frozen = self.live, self.frozen  # read without the lock: they may leave meanwhile
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
