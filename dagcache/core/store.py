"""The single-threaded core: entries in two tiers, the byte ledger, deadlines. Time is an argument.

The rules that `check_invariants` recomputes from scratch:

- ``live + frozen + overhead`` never exceeds the budget (0 = unbounded); what callers hold of what left takes up to a
  quarter of the budget from that, as soon as `settle` is called;
- every resident entry has a copy, and sits in its tiers' policies with each copy it has;
- the table of live copies, which lookups read without a lock, holds exactly the entries' live copies.

Bytes enter and leave the ledger in one place, `_weigh`. Nothing is destroyed here: what leaves is handed to the caller,
who holds the lock and lets go of it first.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any

from dagcache.core.entry import (
    ENTRY_OVERHEAD,
    FRESH_SECONDS,
    FRESH_SHARE,
    LIVE_OVERHEAD,
    Candidate,
    Entry,
    FrozenCopy,
    LiveCopy,
)
from dagcache.core.expiry import Deadlines
from dagcache.core.versions import VersionIndex
from dagcache.eviction.cost_model import CostModel
from dagcache.eviction.ghosts import Ghosts
from dagcache.eviction.node import Node
from dagcache.eviction.policy import Policy
from dagcache.eviction.policy_clock import PolicyClock
from dagcache.sizing.estimate import Sized
from dagcache.stats import WEIGHT_BOUNDS, Histogram, Rejection, RemovalCause

GHOSTS_PER_ENTRY = 2  # four gain 1 % and cost 300 bytes, of the 4 KB that a frozen entry has
GHOSTS_AT_LEAST = 64

HELD_PART = 4
"""Values that left and are held by callers take no more than this part of the budget (a quarter) from the residents.
Evicting does not free them: a caller that holds much would empty the cache."""

HELD_DECAY = 11
"""Of what callers held before and do not hold now, the residents get 1 / 2 ** 11 back at each look: half of it within
some 1,400 looks, which is about one sweep."""

_UNLIMITED = 2**62


@dataclass(slots=True)
class Released:
    """What left the store and is the caller's to destroy and to report."""

    entries: deque[tuple[Entry, RemovalCause]] = field(default_factory=deque)
    """With the copies that they had."""
    demoted: list[LiveCopy] = field(default_factory=list)
    """Of entries that stay."""
    rejected: list[tuple[Any, int, int | None]] = field(default_factory=list)
    """Values that are served and not kept live, their bytes, and how many references their own parts have to them:
    garbage once their callers drop them."""

    def __bool__(self) -> bool:
        return bool(self.entries or self.demoted or self.rejected)

    @property
    def nbytes(self) -> int:
        """What all of it weighs, bytes."""
        entries = sum(entry.copies_bytes for entry, _ in self.entries)
        demoted = sum(copy.nbytes for copy in self.demoted)
        return entries + demoted + sum(nbytes for _, nbytes, _ in self.rejected)


@dataclass(slots=True)
class StoreCounts:
    """What the store did, in numbers that only grow."""

    evictions: dict[RemovalCause, int] = field(default_factory=lambda: dict.fromkeys(RemovalCause, 0))
    evicted_bytes: dict[RemovalCause, int] = field(default_factory=lambda: dict.fromkeys(RemovalCause, 0))
    demotions: int = 0
    demoted_bytes: int = 0


class Store:
    """Holds entries within a budget. Not thread-safe: its owner calls it under a lock.

    The one exception: the dictionaries `entries` and `live` may be read at any time.
    """

    def __init__(self, *, budget: int = 0, ttl: float = 0.0, enforce: bool = True, unproven_share: float = 1.0) -> None:
        self.entries: dict[Hashable, Entry] = {}
        self.live: dict[Hashable, LiveCopy] = {}
        self.counts = StoreCounts()
        self.budget = budget
        self.enforce = enforce
        self.unproven_share = unproven_share
        self.live_bytes = 0
        self.frozen_bytes = 0
        self.frozen_entries = 0
        self._frozen_overhead = 0
        self.overhead_bytes = 0
        self.serialized_bytes = 0
        self.held = 0
        """Bytes of what left and is held by callers, or was lately: see `note_held`."""
        self._weights = [0] * (len(WEIGHT_BOUNDS) + 1)
        self._deadlines = Deadlines(ttl if enforce else 0.0)
        # No use may go unnoted for so long that an entry expires while it is used.
        self._moment = min(FRESH_SECONDS, FRESH_SHARE * self.ttl) if self.ttl else FRESH_SECONDS
        self._version_index = VersionIndex()
        self._ghosts = Ghosts()
        self._live_policy = Policy()
        self._frozen_policy = Policy()
        self._load_costs = CostModel()
        self._thaw_costs = CostModel()
        self._released = Released()
        self._policy_clock = PolicyClock()

    # ---- looking ----

    @property
    def ttl(self) -> float:
        """Idle seconds after which an entry leaves; 0 = never."""
        return self._deadlines.ttl

    @property
    def next_due(self) -> float:
        """When `expire` may next find something."""
        return self._deadlines.next_due

    @property
    def used(self) -> int:
        """What the residents take of the budget, bytes."""
        return self.live_bytes + self.frozen_bytes + self.overhead_bytes

    def exceeds(self, held: int, due: int = 0) -> bool:
        """Whether the budget is exceeded, with that many bytes held by callers and that many about to be freed."""
        return self.used + due > self._budget() - self._charge(held)

    def weights(self) -> Histogram:
        """What the entries weigh, all copies of an entry together, bytes."""
        return Histogram(WEIGHT_BOUNDS, tuple(self._weights), float(self.used))

    def find(self, key: Hashable, now: float) -> Entry | None:
        """The entry under a key, its use noted; one that is idle beyond the TTL is removed instead."""
        entry = self.entries.get(key)
        if entry is None or not self.use(entry, now):
            return None
        return entry

    def use(self, entry: Entry, now: float) -> bool:
        """Note a use of a resident entry; False if it was idle beyond the TTL and is removed instead."""
        if self._deadlines.expired(entry, now):
            self._remove(entry, RemovalCause.EXPIRED)
            return False
        self._note_use(entry, now)
        if entry.live is not None:
            self._defer_noting(entry.live, now)
        return True

    def use_unlocked(self, copy: LiveCopy, now: float) -> bool:
        """As `use`, for the hit path: what has to be removed is left to a lookup that holds the lock."""
        entry = copy.entry
        if self._deadlines.expired(entry, now):
            return False
        entry.used = now
        entry.touch(self._policy_clock.use(now))
        self._defer_noting(copy, now)
        return True

    def expired(self, entry: Entry, now: float) -> bool:
        """Whether an entry has been idle for longer than the TTL."""
        return self._deadlines.expired(entry, now)

    def next_victim(self, now: float) -> Entry | None:
        """About the entry that would lose a copy next."""
        time = self._policy_clock.at(now)
        node = self._live_policy.next_victim(time) or self._frozen_policy.next_victim(time)
        return None if node is None else _entry_of(node)

    # ---- letting in ----

    def fits(self, candidate: Candidate) -> bool:
        """Whether the budget could hold a value if it held nothing else."""
        return candidate.least_bytes <= self._budget()

    def admit(self, candidate: Candidate, now: float, *, private: bool = False) -> Rejection | None:
        """Let a loaded or assigned value in, in the tiers that it deserves; or say why not.

        Whatever was under its key leaves in any case: a rejected value never leaves an older one behind as if current.
        The object of a private value belongs to the caller: only the frozen form is kept.
        """
        entry = Entry(candidate, self._policy_clock.at(now))
        previous = self.entries.get(candidate.key)
        if previous is not None:
            entry.inherit(previous)
            self._remove(previous, RemovalCause.REPLACED)
        else:
            self._ghosts.recall(hash(candidate.key), entry)
        self._note_use(entry, now)
        entry.hits -= 1  # a load is a use, but no hit
        rejection = self._offer_to_tiers(entry, candidate, now, private)
        entry.last_filled = self._policy_clock.at(now)
        if rejection is not None:
            self._remember(entry)
        return rejection

    def keep_thawed(
        self, entry: Entry, value: object, weight: Sized, seconds: float, own: int | None, now: float
    ) -> bool:
        """Offer a thawed copy of a resident entry; whether it stays.

        ``own``: the references to it from its own parts.
        """
        if entry.live is not None or entry.frozen is None or self.entries.get(entry.key) is not entry:
            self.pass_through(value, weight.nbytes, own)
            return False
        entry.thawed_bytes, entry.thawed_bytes_are_exact = weight.nbytes, weight.exact
        entry.thaw_seconds = self._thaw_costs.smooth(seconds, weight.nbytes)
        kept = self._make_live(entry, value, own, now)
        entry.last_filled = self._policy_clock.at(now)
        return kept

    def pass_through(self, value: object, nbytes: int, own: int | None) -> None:
        """Note a value that is served and not kept."""
        self._released.rejected.append((value, nbytes, own))

    def reweigh(self, copy: LiveCopy, nbytes: int, now: float) -> None:
        """Account for a live value that was found to weigh another number of bytes; what does not fit any more leaves.

        Nothing happens if the copy is not live any more.
        """
        entry = copy.entry
        if entry.live is not copy or self.entries.get(entry.key) is not entry:
            return
        self._weigh(entry, -1)
        self._live_policy.reweigh(copy, copy.nbytes + nbytes - copy.value_bytes)
        copy.value_bytes = nbytes
        self._weigh(entry, 1)
        self._make_room(0, now)

    # ---- letting go ----

    def remove(self, key: Hashable, cause: RemovalCause, now: float) -> bool:
        """Remove the entry under a key; False if there is none, or none whose time is not up."""
        entry = self.entries.get(key)
        if entry is None:
            return False
        expired = self._deadlines.expired(entry, now)
        self._remove(entry, RemovalCause.EXPIRED if expired else cause)
        return not expired

    def give_up_live(self, entry: Entry) -> None:
        """Demote a resident entry that has a live copy; without a frozen one it leaves."""
        copy = entry.live
        assert copy is not None
        if entry.frozen is None:
            self._remove(entry, RemovalCause.STALE)
            return
        self._live_policy.leave(copy)
        self._demote(entry, copy)

    def clear(self) -> int:
        """Remove everything, and what is remembered of what left; how many entries that were."""
        gone = list(self.entries.values())
        for entry in gone:
            self._remove(entry, RemovalCause.EXPLICIT)
        self._ghosts.clear()
        self._deadlines.rebuild(())  # one small object that stays keeps a whole arena of the allocator's
        return len(gone)

    def expire(self, now: float, limit: int) -> int:
        """Remove what has been idle beyond the TTL, looking at no more than `limit` entries; how many that were."""
        gone = list(self._deadlines.due(now, self._is_resident, limit))
        for entry in gone:
            self._remove(entry, RemovalCause.EXPIRED)
        return len(gone)

    def resize(self, budget: int, now: float) -> None:
        """Set the budget, in bytes; 0 = unbounded. What does not fit any more leaves, live copies first."""
        self.budget = budget
        self._make_room(0, now)

    def settle(self, held: int, now: float) -> bool:
        """Charge what is held by callers, in bytes, to the budget; whether residents had to leave for it."""
        self.note_held(held)
        before = self.used
        self._make_room(0, now)
        return self.used < before

    def note_held(self, held: int) -> None:
        """Charge no less than callers hold, in bytes; of what they held before, less and less.

        They take values and drop them again, session by session. Room that residents get in between costs a live copy
        in the next session: over 815 versions, twenty to a session, five times as many demotions for no more hits.
        """
        self.held = max(held, self.held - max(1, self.held >> HELD_DECAY))

    def take_released(self) -> Released:
        """What left since the last call; the caller destroys it outside the lock."""
        released = self._released
        self._released = Released()
        return released

    # ---- validity ----

    def repair(self, now: float) -> None:
        """Rebuild every total and index from the entries, after an interrupt tore through a change."""
        sound = [entry for entry in self.entries.values() if entry.live is not None or entry.frozen is not None]
        self.entries = {entry.key: entry for entry in sound}  # at one stroke: this, too, may be interrupted
        entries = list(self.entries.values())
        self.live_bytes = self.frozen_bytes = self.overhead_bytes = self.serialized_bytes = 0
        self.frozen_entries = self._frozen_overhead = 0
        self._live_policy.clear()
        self._frozen_policy.clear()
        self._version_index.clear()
        self.live.clear()
        self._weights = [0] * len(self._weights)
        for entry in entries:
            entry.superseded = False
            self._weigh(entry, 1)
            self._version_index.add(entry)
            if entry.frozen is not None:
                self._frozen_policy.admit(entry.frozen, used=0, budget=_UNLIMITED, now=self._policy_clock.at(now))
            if entry.live is not None:
                self.live[entry.key] = entry.live
                self._live_policy.admit(entry.live, used=0, budget=_UNLIMITED, now=self._policy_clock.at(now))
        self._deadlines.rebuild(entries)
        self._make_room(0, now)

    def check_invariants(self) -> None:
        """Recompute everything that is kept incrementally; raises AssertionError where it differs."""
        entries = list(self.entries.values())
        frozen = [entry.frozen for entry in entries if entry.frozen is not None]
        live = [entry.live for entry in entries if entry.live is not None]
        assert all(self.entries[entry.key] is entry for entry in entries)
        assert all(entry.live is not None or entry.frozen is not None for entry in entries), "an entry without a copy"
        assert self.live == {entry.key: entry.live for entry in entries if entry.live is not None}
        assert set(self._live_policy) == set(live)
        assert set(self._frozen_policy) == set(frozen)
        assert self.live_bytes == sum(copy.value_bytes for copy in live)
        assert self.frozen_bytes == sum(len(copy.data) for copy in frozen)
        assert self.frozen_entries == len(frozen)
        keys = sum(entry.key_bytes for entry in entries)
        assert self.overhead_bytes == ENTRY_OVERHEAD * len(entries) + keys + LIVE_OVERHEAD * len(live)
        assert self._frozen_tier_bytes == sum(copy.nbytes for copy in frozen)
        assert self.serialized_bytes == sum(entry.serialized_bytes for entry in entries)
        assert self.used == sum(entry.copies_bytes for entry in entries)
        assert self.weights() == Histogram.of(WEIGHT_BOUNDS, [float(entry.copies_bytes) for entry in entries])
        assert self.used <= self._budget(), f"{self.used} bytes used of {self.budget}"
        assert len(self._ghosts) <= self._ghost_limit()
        self._live_policy.check_invariants()
        self._frozen_policy.check_invariants()
        self._deadlines.check_invariants(entries)
        self._version_index.check_invariants(entries)

    # ---- inside ----

    @property
    def _frozen_tier_bytes(self) -> int:
        return self.frozen_bytes + self._frozen_overhead

    def _budget(self) -> int:
        return self.budget if self.budget and self.enforce else _UNLIMITED

    def _charge(self, held: int) -> int:
        return min(held, self._budget() // HELD_PART)

    def _limit(self) -> int:
        """What residents may take."""
        return self._budget() - self._charge(self.held)

    def _note_use(self, entry: Entry, now: float) -> None:
        entry.used = now
        entry.touch(self._policy_clock.use(now))

    def _defer_noting(self, copy: LiveCopy, now: float) -> None:
        """Let hits go unnoted for a moment; but not on a guest, of whom the policy counts every use."""
        copy.uses += 1
        copy.fresh = 0.0 if copy.on_probation else now + self._moment

    def _is_resident(self, entry: Entry) -> bool:
        return self.entries.get(entry.key) is entry

    def _offer_to_tiers(self, entry: Entry, candidate: Candidate, now: float, private: bool) -> Rejection | None:
        """Give an entry its copies; the smallest form first, for that is what keeps it."""
        if not self.fits(candidate):
            self.pass_through(candidate.value, candidate.live_bytes, candidate.own_references)
            return Rejection.OVERSIZE
        cost = self._load_costs.smooth(candidate.load_seconds, candidate.live_bytes)
        if candidate.frozen is None:
            kept = self._make_live(entry, candidate.value, candidate.own_references, now, cost)
            return None if kept else Rejection.POLICY
        copy = FrozenCopy(entry, candidate.frozen, 0.0)
        copy.cost_density = copy.nbytes / cost
        # Live copies give way to frozen ones, so all that the frozen tier must fit into is the whole budget.
        time = self._policy_clock.at(now)
        victims = self._frozen_policy.admit(copy, used=self._frozen_tier_bytes, budget=self._limit(), now=time)
        if victims is None:
            self.pass_through(candidate.value, candidate.live_bytes, candidate.own_references)
            return Rejection.POLICY
        self._evict(victims)
        self._make_room(copy.nbytes, now)
        entry.frozen = copy
        self._add(entry)
        if not private and self._may_be_live(entry):
            self._make_live(entry, candidate.value, candidate.own_references, now)
        else:
            self.pass_through(candidate.value, candidate.live_bytes, candidate.own_references)
        return None

    def _may_be_live(self, entry: Entry) -> bool:
        """Whether one that has a frozen copy is to be live as well before it is known to be used more than once."""
        if entry.gap or self.unproven_share == 1:
            return True
        return self.live_bytes + entry.live_bytes <= self.unproven_share * self._limit()

    def _make_live(self, entry: Entry, value: object, own: int | None, now: float, load_cost: float = 0.0) -> bool:
        """Offer a live copy to the policy, and node it if it wins. One without a frozen copy costs a whole load."""
        nbytes = entry.thaws_to_bytes
        cost = load_cost or entry.thaw_seconds or self._usual_thaw(entry)
        copy = LiveCopy(entry, value, nbytes, cost, own)
        room = self._limit() - self._frozen_tier_bytes
        time = self._policy_clock.at(now)
        victims = self._live_policy.admit(copy, used=self.used - self._frozen_tier_bytes, budget=room, now=time)
        if victims is None:
            self.pass_through(value, nbytes, own)
            return False
        self._evict(victims)
        self._defer_noting(copy, now)
        if entry.frozen is None:
            entry.live = copy
            self._add(entry)
        else:
            self._weigh(entry, -1)
            entry.live = copy
            self._weigh(entry, 1)
        self.live[entry.key] = copy
        return True

    def _usual_thaw(self, entry: Entry) -> float:
        return self._thaw_costs.usual(entry.live_bytes) or entry.load_seconds / 10 or 1e-3

    def _make_room(self, nbytes: int, now: float) -> None:
        """Give up live copies, then frozen ones, until `nbytes` more would fit."""
        for policy in (self._live_policy, self._frozen_policy):
            surplus = self.used + nbytes - self._limit()
            if surplus > 0:
                self._evict(policy.shed(surplus, self._policy_clock.at(now)))

    def _evict(self, victims: Iterable[Node]) -> None:
        """Act on a policy's choice; it has let go of the nodes already."""
        for node in victims:
            entry = _entry_of(node)
            if isinstance(node, LiveCopy) and entry.frozen is not None:
                self._demote(entry, node)
            else:
                self._remove(entry, RemovalCause.SIZE, node)
                self._remember(entry)

    def _demote(self, entry: Entry, copy: LiveCopy) -> None:
        self._weigh(entry, -1)
        entry.live = None
        self._weigh(entry, 1)
        self.live.pop(entry.key, None)
        self.counts.demotions += 1
        self.counts.demoted_bytes += copy.value_bytes
        self._released.demoted.append(copy)

    def _remove(self, entry: Entry, cause: RemovalCause, let_go: Node | None = None) -> None:
        """The one way by which an entry leaves. `let_go` is the node that its policy has already given up."""
        if entry.live is not None and entry.live is not let_go:
            self._live_policy.leave(entry.live)
        if entry.frozen is not None and entry.frozen is not let_go:
            self._frozen_policy.leave(entry.frozen)
        self.counts.evictions[cause] += 1
        self.counts.evicted_bytes[cause] += entry.copies_bytes
        self._weigh(entry, -1)
        del self.entries[entry.key]
        self._version_index.remove(entry)
        if entry.live is not None:
            self.live.pop(entry.key, None)
        self._released.entries.append((entry, cause))
        self._deadlines.drop_removed(self.entries.values(), len(self.entries))
        self._ghosts.trim(self._ghost_limit())

    def _add(self, entry: Entry) -> None:
        self.entries[entry.key] = entry
        self._weigh(entry, 1)
        self._version_index.add(entry)
        self._deadlines.schedule(entry)

    def _weigh(self, entry: Entry, sign: int) -> None:
        """The ledger: an entry's bytes as they are now, added or taken away."""
        self._weights[bisect_left(WEIGHT_BOUNDS, entry.copies_bytes)] += sign
        self.overhead_bytes += sign * entry.overhead_bytes
        if entry.live is not None:
            self.live_bytes += sign * entry.live.value_bytes
            self.overhead_bytes += sign * LIVE_OVERHEAD
        if entry.frozen is not None:
            self.frozen_bytes += sign * len(entry.frozen.data)
            self.frozen_entries += sign
            self._frozen_overhead += sign * entry.overhead_bytes
        self.serialized_bytes += sign * entry.serialized_bytes

    def _remember(self, entry: Entry) -> None:
        self._ghosts.remember(hash(entry.key), entry)
        self._ghosts.trim(self._ghost_limit())

    def _ghost_limit(self) -> int:
        return max(GHOSTS_AT_LEAST, GHOSTS_PER_ENTRY * len(self.entries))


def _entry_of(node: Node) -> Any:
    return node.history
