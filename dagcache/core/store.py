"""The store: entries in two tiers within a budget, without threads, I/O or a clock of its own.

**Two tiers.** A deserialised DAG is large and slow to build. Its frozen form, a compressed pickle, is small and quick
to thaw. So every entry has a frozen copy, and as many as the budget allows also have a live copy (an object graph).
A value that does not pickle has a live copy only.

**Demotion is free.** The frozen copy is made from the loaded value, before a caller can change it, and never changes
afterwards. So a live copy can be given up without writing anything; the next lookup thaws it. Live copies therefore
make room for frozen ones. The budget removes an entry only if the frozen copies alone exceed it, or if the entry has
no frozen copy.

**Predicted reuse per byte.** If the future were known, the copy with the farthest next use should leave (Belady 1966).
A scheduler looks its versions up in a cycle, so the gap between past uses predicts the next use. Recency predicts the
opposite: an LRU cache smaller than the cycle never hits. Copies also differ in their bytes and in the seconds that it
takes to restore them. The score multiplies the prediction by bytes per second, in the sense of GreedyDual-Size (Cao &
Irani 1997). In the live tier these are the bytes of the graph and the seconds of a thaw; in the frozen tier, the bytes
of the frozen form and the seconds of a load. Scores change with time, so no order is kept: as in hyperbolic caching
(Blankstein et al. 2017), each choice scores some of the copies, but here in turn and not at random. A miss returns its
value in any case, so admission is optional. Values without a known gap compete among themselves first, as in the window
of W-TinyLFU (Einziger et al. 2017). Frequency, as in LRFU (Lee et al. 2001), is not used: in a cycle it is the same for
all. The rules are in `dagcache.eviction`, their results in docs/policy.md.

**One ledger.** The budget bounds live bytes, frozen bytes and overhead. Values that left and are held by callers are in
memory as well, so up to a quarter of the budget is charged with them. Bytes change in two methods of `Ledger` only.
`check_invariants` recomputes everything from the entries:

- the bytes of the residents never exceed the budget;
- every resident entry has a copy, and the policy of each tier holds exactly the copies of that tier;
- the table of live copies, which lookups read without a lock, holds exactly the entries' live copies.

**Time is an argument.** Nothing here reads a clock, so a replay of recorded lookups decides as the cache did. Nothing
is destroyed here either, because destructors run foreign code: released copies go to the caller, which releases its
lock first.

References: Belady, *A study of replacement algorithms for a virtual-storage computer*, IBM Systems Journal 5(2), 1966.
Cao & Irani, *Cost-aware WWW proxy caching algorithms*, USITS 1997. Lee et al., *LRFU: a spectrum of policies that
subsumes the least recently used and least frequently used policies*, IEEE ToC 50(12), 2001. Blankstein, Sen & Freedman,
*Hyperbolic caching: flexible caching for web applications*, USENIX ATC 2017. Einziger, Friedman & Manes, *TinyLFU: a
highly efficient cache admission policy*, ACM ToS 13(4), 2017.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any

from dagcache.core.absences import Absences
from dagcache.core.entry import (
    FRESH_SECONDS,
    FRESH_SHARE,
    USES_BEFORE_REWEIGHING,
    Candidate,
    Entry,
    FrozenCopy,
    LiveCopy,
)
from dagcache.core.expiry import Deadlines
from dagcache.core.ledger import UNLIMITED, Ledger
from dagcache.core.newcomers import Newcomers
from dagcache.core.released import Rejected, Released
from dagcache.core.versions import VersionIndex
from dagcache.eviction.cost_model import CostModel
from dagcache.eviction.ghosts import Ghosts
from dagcache.eviction.node import Node
from dagcache.eviction.policy import Policy
from dagcache.eviction.policy_clock import PolicyClock
from dagcache.reclaim.waiting_room import ticket_number
from dagcache.sizing.estimate import Sized
from dagcache.stats import Rejection, RemovalCause

GHOSTS_PER_ENTRY = 2
"""Four gain 1 % of the misses' cost and take 300 bytes more, of the 4 KB that a frozen entry takes."""
GHOSTS_AT_LEAST = 64


@dataclass(slots=True)
class StoreCounts:
    """Counters of the store, which only grow."""

    evictions: dict[RemovalCause, int] = field(default_factory=lambda: dict.fromkeys(RemovalCause, 0))
    evicted_bytes: dict[RemovalCause, int] = field(default_factory=lambda: dict.fromkeys(RemovalCause, 0))
    demotions: int = 0
    demoted_bytes: int = 0


class Store:
    """Holds entries within a budget. Not thread-safe: its owner calls it under a lock.

    The dictionaries `entries` and `live` may be read at any time, without the lock.
    """

    def __init__(
        self,
        *,
        budget: int = 0,
        ttl: float = 0.0,
        max_age: float = 0.0,
        jitter: float = 0.0,
        negative_ttl: float = 0.0,
        enforce: bool = True,
        unproven_share: float = 1.0,
    ) -> None:
        self.entries: dict[Hashable, Entry] = {}
        self.live: dict[Hashable, LiveCopy] = {}
        self.counts = StoreCounts()
        self.ledger = Ledger(budget, enforce=enforce)
        self.absences = Absences(negative_ttl, self.ledger)
        self.enforce = enforce
        self.closed = False
        """Whether no value is admitted any more."""
        self._deadlines = Deadlines(ttl, max_age, jitter) if enforce else Deadlines(0.0)
        self.ttl = ttl
        """The present idle limit in seconds; 0 = none. An observing cache does not heed it."""
        self._jitter = jitter
        self._unnoted_seconds = self._unnoted(ttl if enforce else 0.0)
        self._version_index = VersionIndex()
        self._ghosts = Ghosts()
        self._live_policy = Policy()
        self._newcomers = Newcomers(unproven_share)
        self._frozen_policy = Policy()
        self._load_costs = CostModel()
        self._thaw_costs = CostModel()
        self._released = Released()
        self._policy_clock = PolicyClock()

    def change_ttl(self, ttl: float) -> None:
        """Set another TTL in seconds, for residents and newcomers; 0 = never. No effect without enforcement."""
        self.ttl = ttl
        if self.enforce:
            self._unnoted_seconds = self._unnoted(ttl)
            self._deadlines.change_ttl(ttl, self.entries.values())

    # ---- looking ----

    @property
    def next_due(self) -> float:
        """Earliest time at which `expire` may find an entry, seconds; inf = none is scheduled."""
        return self._deadlines.next_due

    @property
    def budget(self) -> int:
        """The byte limit; 0 = unbounded."""
        return self.ledger.budget

    @property
    def used(self) -> int:
        """Bytes that the residents take of the budget."""
        return self.ledger.used

    @property
    def only_grows(self) -> bool:
        """Whether no copy has left since the start."""
        return not self.counts.demotions and not any(self.counts.evictions.values())

    def holds(self, key: Hashable, value: object) -> bool:
        """Whether this object is the live copy under a key. May be called without the lock."""
        copy = self.live.get(key)
        return copy is not None and copy.value is value

    def exceeds(self, held: int, due: int = 0) -> bool:
        """Whether the budget is exceeded while callers hold `held` bytes and `due` bytes are about to be freed."""
        return self.ledger.exceeds(held, due)

    def find(self, key: Hashable, now: float) -> Entry | None:
        """Return the entry under a key and note its use; an expired entry is removed instead."""
        entry = self.entries.get(key)
        if entry is None or not self.use(entry, now):
            return None
        return entry

    def use(self, entry: Entry, now: float) -> bool:
        """Note a use of a resident entry; return False if it had expired and is now removed."""
        if self._deadlines.expired(entry, now):
            self._remove(entry, RemovalCause.EXPIRED)
            return False
        self._note_use(entry, now)
        if entry.live is not None:
            self._defer_noting(entry.live, now)
        return True

    def use_unlocked(self, copy: LiveCopy, now: float) -> bool:
        """Note a use as `use` does, for the hit path; an expired entry is left to a lookup that holds the lock."""
        entry = copy.entry
        if self._deadlines.expired(entry, now):
            return False
        entry.used = now
        entry.touch(self._policy_clock.use(now))
        self._defer_noting(copy, now)
        return True

    def expired(self, entry: Entry, now: float) -> bool:
        """Whether an entry has been idle for longer than the TTL, or is older than the greatest age."""
        return self._deadlines.expired(entry, now)

    def next_victim(self, now: float) -> Entry | None:
        """Return the entry that would lose a copy next, approximately; None if there is none."""
        time = self._policy_clock.at(now)
        node = self._live_policy.next_victim(time) or self._frozen_policy.next_victim(time)
        return None if node is None else _entry_of(node)

    # ---- admission ----

    def fits(self, candidate: Candidate) -> bool:
        """Whether the budget could hold a value on its own."""
        return candidate.least_bytes <= self.ledger.enforced_budget

    def admit(self, candidate: Candidate, now: float, *, private: bool = False) -> Rejection | None:
        """Offer a loaded or assigned value to both tiers; return the reason if neither keeps it.

        A previous entry under its key leaves in any case, so that no older value looks current after a rejection. The
        object of a private value belongs to the caller: only the frozen form is kept.
        """
        self.absences.forget(candidate.key)
        entry = Entry(candidate, self._policy_clock.at(now))
        self._deadlines.begin(entry, now)
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
        """Offer a thawed copy of a resident entry to the live tier; return whether it stays.

        Args:
            entry: the entry; it may have left in the meantime.
            value: the thawed value.
            weight: its bytes.
            seconds: duration of the thaw.
            own: number of references to the value from its own parts; None = unknown.
            now: time, seconds.

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
        """Release a value that is served and not kept, and that no later lookup gets."""
        self._released.rejected.append(Rejected(value, nbytes, own))

    def reweigh(self, copy: LiveCopy, nbytes: int, now: float) -> None:
        """Account for a live value that has changed its bytes; copies that no longer fit leave.

        Nothing happens if the copy is no longer live.
        """
        entry = copy.entry
        if entry.live is not copy or self.entries.get(entry.key) is not entry:
            return
        self.ledger.leave(entry)
        self._live_policy.reweigh(copy, copy.nbytes + nbytes - copy.value_bytes)
        copy.value_bytes = nbytes
        self._newcomers.reweigh(copy)
        self.ledger.enter(entry)
        self._trim_newcomers(now)
        self._make_room(0, now)

    def distrust_estimates(self) -> None:
        """Make all live copies due for weighing, and forget estimated weights of thawed copies."""
        for entry in self.entries.values():
            if not entry.thawed_bytes_are_exact:
                entry.thawed_bytes = 0
            if entry.live is not None:
                entry.live.uses = entry.live.due = USES_BEFORE_REWEIGHING

    def note_absence(self, key: Hashable, key_bytes: int, now: float) -> None:
        """Remember that a load of a key found no value; residents make room for the record."""
        if not self.closed:
            self.absences.note(key, key_bytes, now)
            self._make_room(0, now)

    # ---- removal ----

    def remove(self, key: Hashable, cause: RemovalCause, now: float) -> bool:
        """Remove the entry under a key; return False if there was none, or it had expired. Ends a known absence too."""
        self.absences.forget(key)
        entry = self.entries.get(key)
        if entry is None:
            return False
        expired = self._deadlines.expired(entry, now)
        self._remove(entry, RemovalCause.EXPIRED if expired else cause)
        if cause is RemovalCause.STALE:  # another value under its key usually follows at once
            self._remember(entry)
        return not expired

    def give_up_live(self, entry: Entry) -> None:
        """Serve the live value of a resident entry, or one that waits, no more; without a frozen copy it leaves."""
        copy, entry.ticket = entry.live, 0
        if entry.frozen is None:
            self._remove(entry, RemovalCause.STALE)
        elif copy is not None:
            self._live_policy.leave(copy)
            self._demote(entry, copy, ticket=0)

    def clear(self) -> int:
        """Remove all entries, ghosts and known absences; return the number of entries."""
        self.absences.clear()
        gone = list(self.entries.values())
        for entry in gone:
            self._remove(entry, RemovalCause.EXPLICIT)
        self._ghosts.clear()
        self._deadlines.rebuild(())  # one small object would keep a whole arena of the allocator
        return len(gone)

    def expire(self, now: float, limit: int) -> int:
        """Remove expired entries, looking at up to `limit` entries; return the number removed."""
        gone = list(self._deadlines.due(now, self._is_resident, limit))
        for entry in gone:
            self._remove(entry, RemovalCause.EXPIRED)
        return len(gone)

    def resize(self, budget: int, now: float) -> None:
        """Set the budget, in bytes; 0 = unbounded. Copies that no longer fit leave, live copies first."""
        self.ledger.set_budget(budget)
        self.absences.trim()
        self._trim_newcomers(now)
        self._make_room(0, now)

    def settle(self, held: int, now: float) -> bool:
        """Charge the bytes that callers hold to the budget; return whether residents had to leave for them."""
        self.note_held(held)
        before = self.used
        self._make_room(0, now)
        return self.used < before

    def note_held(self, held: int) -> None:
        """Charge the bytes that callers hold: see `Ledger.note_held`."""
        self.ledger.note_held(held)

    def forget_held(self) -> None:
        """Charge nothing for bytes that callers held before."""
        self.ledger.held = 0

    def take_released(self) -> Released:
        """Return everything released since the last call; the caller destroys it outside the lock."""
        released = self._released
        self._released = Released()
        return released

    # ---- validity ----

    def repair(self, now: float) -> None:
        """Rebuild every total and index from the entries, after an interrupt tore through a change."""
        sound = [entry for entry in self.entries.values() if entry.live is not None or entry.frozen is not None]
        self.entries = {entry.key: entry for entry in sound}  # one assignment, because this may be interrupted as well
        entries = list(self.entries.values())
        self._live_policy.clear()
        self._newcomers.clear()
        self._frozen_policy.clear()
        self._version_index.clear()
        self.live.clear()
        self.absences.clear()
        self.ledger.rebuild(entries)
        time = self._policy_clock.at(now)
        for entry in entries:
            entry.superseded = False
            self._version_index.add(entry)
            if entry.frozen is not None:
                self._frozen_policy.admit(entry.frozen, used=0, budget=UNLIMITED, now=time)
            if entry.live is not None:
                self.live[entry.key] = entry.live
                self._live_policy.admit(entry.live, used=0, budget=UNLIMITED, now=time)
                self._newcomers.add(entry.live, self.ledger.enforced_budget)
        self._deadlines.rebuild(entries)
        self._trim_newcomers(now)
        self._make_room(0, now)

    def check_invariants(self) -> None:
        """Recompute all incremental state; raise AssertionError where it differs."""
        entries = list(self.entries.values())
        assert all(self.entries[entry.key] is entry for entry in entries)
        assert all(entry.live is not None or entry.frozen is not None for entry in entries), "an entry without a copy"
        assert self.live == {entry.key: entry.live for entry in entries if entry.live is not None}
        assert set(self._live_policy) == set(self.live.values())
        assert set(self._frozen_policy) == {entry.frozen for entry in entries if entry.frozen is not None}
        assert len(self._ghosts) <= self._ghost_limit()
        self.ledger.check_invariants(entries)
        self.absences.check_invariants()
        self._live_policy.check_invariants()
        self._newcomers.check_invariants(self.live.values())
        self._frozen_policy.check_invariants()
        self._deadlines.check_invariants(entries)
        self._version_index.check_invariants(entries)

    # ---- inside ----

    def _unnoted(self, ttl: float) -> float:
        """Seconds for which hits are not noted. Shorter than the TTL: else an entry in use would expire."""
        shortest = (1 - self._jitter) * ttl
        return min(FRESH_SECONDS, FRESH_SHARE * shortest) if shortest else FRESH_SECONDS

    def _note_use(self, entry: Entry, now: float) -> None:
        entry.used = now
        entry.touch(self._policy_clock.use(now))

    def _defer_noting(self, copy: LiveCopy, now: float) -> None:
        """Skip the noting of hits for a moment; not on probation, where the policy counts every use."""
        copy.uses += 1
        fresh, expires = now + self._unnoted_seconds, copy.entry.expires
        copy.fresh = 0.0 if copy.on_probation else fresh if fresh < expires else expires

    def _is_resident(self, entry: Entry) -> bool:
        return self.entries.get(entry.key) is entry

    def _offer_to_tiers(self, entry: Entry, candidate: Candidate, now: float, private: bool) -> Rejection | None:
        """Offer a new entry to the frozen tier first: its smallest form decides whether it stays."""
        if self.closed or not self.fits(candidate):
            self.pass_through(candidate.value, candidate.live_bytes, candidate.own_references)
            return Rejection.CLOSED if self.closed else Rejection.OVERSIZE
        cost = self._load_costs.smooth(candidate.load_seconds, candidate.live_bytes)
        if candidate.frozen is None:
            kept = self._make_live(entry, candidate.value, candidate.own_references, now, cost)
            return None if kept else Rejection.POLICY
        copy = FrozenCopy(entry, candidate.frozen, 0.0)
        copy.cost_density = copy.nbytes / cost
        # Live copies make room for frozen ones, so the frozen tier may take the whole limit.
        time, taken = self._policy_clock.at(now), self.ledger.frozen_tier_bytes
        victims = self._frozen_policy.admit(copy, used=taken, budget=self.ledger.limit, now=time)
        if victims is None:
            self.pass_through(candidate.value, candidate.live_bytes, candidate.own_references)
            return Rejection.POLICY
        self._evict(victims)
        self._make_room(copy.nbytes, now)
        entry.frozen = copy
        self._add(entry)
        if private:
            self.pass_through(candidate.value, candidate.live_bytes, candidate.own_references)
        elif self._may_be_live(entry):
            self._make_live(entry, candidate.value, candidate.own_references, now)
        else:
            self._pass_shared_through(entry, candidate.value, candidate.live_bytes, candidate.own_references)
        return None

    def _may_be_live(self, entry: Entry) -> bool:
        """Whether a new entry may be live before it is known to be used more than once."""
        return bool(entry.gap) or self._newcomers.has_room_for(entry.live_bytes, self.ledger.enforced_budget)

    def _make_live(self, entry: Entry, value: object, own: int | None, now: float, load_cost: float = 0.0) -> bool:
        """Offer a live copy to the policy; return whether it stays. Without a frozen copy its cost is a whole load."""
        nbytes = entry.thaws_to_bytes
        cost = load_cost or entry.thaw_seconds or self._usual_thaw(entry)
        copy = LiveCopy(entry, value, nbytes, cost, own)
        time, taken = self._policy_clock.at(now), self.ledger.frozen_tier_bytes
        victims = self._live_policy.admit(copy, used=self.used - taken, budget=self.ledger.limit - taken, now=time)
        if victims is None:
            self._pass_shared_through(entry, value, nbytes, own)
            return False
        self._evict(victims)
        self._defer_noting(copy, now)
        if entry.frozen is None:
            entry.live = copy
            self._add(entry)
        else:
            self.ledger.leave(entry)
            entry.live = copy
            self.ledger.enter(entry)
        self.live[entry.key] = copy
        self._newcomers.add(copy, self.ledger.enforced_budget)
        self._trim_newcomers(now)
        return True

    def _pass_shared_through(self, entry: Entry, value: object, nbytes: int, own: int | None) -> None:
        """Release a value that is served and not kept live; further lookups of the entry get it while it waits."""
        entry.ticket = ticket_number()
        self._released.rejected.append(Rejected(value, nbytes, own, entry.ticket))

    def _usual_thaw(self, entry: Entry) -> float:
        return self._thaw_costs.usual(entry.live_bytes) or entry.load_seconds / 10 or 1e-3

    def _make_room(self, nbytes: int, now: float) -> None:
        """Evict live copies, then frozen ones, until `nbytes` more fit."""
        for policy in (self._live_policy, self._frozen_policy):
            surplus = self.used + nbytes - self.ledger.limit
            if surplus > 0:
                self._evict(policy.shed(surplus, self._policy_clock.at(now)))

    def _evict(self, victims: Iterable[Node]) -> None:
        """Carry out the choice of a policy, which no longer holds the victims."""
        for node in victims:
            entry = _entry_of(node)
            if isinstance(node, LiveCopy) and entry.frozen is not None:
                self._demote(entry, node)
            else:
                self._remove(entry, RemovalCause.SIZE, node)
                self._remember(entry)

    def _trim_newcomers(self, now: float) -> None:
        """Demote newcomers beyond their share."""
        time = self._policy_clock.at(now)
        for copy in self._newcomers.trim(self.ledger.enforced_budget, time, self._live_policy.spared):
            self._live_policy.leave(copy)
            self._demote(copy.entry, copy)

    def _demote(self, entry: Entry, copy: LiveCopy, ticket: int | None = None) -> None:
        """Give up a live copy that the policy no longer holds. ``ticket``: 0 = no lookup finds its value any more."""
        self.ledger.leave(entry)
        entry.live = None
        self.ledger.enter(entry)
        self.live.pop(entry.key, None)
        self._newcomers.leave(copy)
        self.counts.demotions += 1
        self.counts.demoted_bytes += copy.value_bytes
        copy.ticket = entry.ticket = ticket_number() if ticket is None else ticket
        self._released.demoted.append(copy)

    def _remove(self, entry: Entry, cause: RemovalCause, victim: Node | None = None) -> None:
        """Remove an entry. This is the only way out. `victim` is a node that its policy no longer holds."""
        if entry.live is not None and entry.live is not victim:
            self._live_policy.leave(entry.live)
        if entry.frozen is not None and entry.frozen is not victim:
            self._frozen_policy.leave(entry.frozen)
        self.counts.evictions[cause] += 1
        self.counts.evicted_bytes[cause] += entry.copies_bytes
        self.ledger.leave(entry)
        del self.entries[entry.key]
        self._version_index.remove(entry)
        if entry.live is not None:
            self.live.pop(entry.key, None)
            self._newcomers.leave(entry.live)
        self._released.entries.append((entry, cause))
        self._deadlines.drop_removed(self.entries.values(), len(self.entries))
        self._ghosts.trim(self._ghost_limit())

    def _add(self, entry: Entry) -> None:
        self.entries[entry.key] = entry
        self.ledger.enter(entry)
        self._version_index.add(entry)
        self._deadlines.schedule(entry)

    def _remember(self, entry: Entry) -> None:
        self._ghosts.remember(hash(entry.key), entry)
        self._ghosts.trim(self._ghost_limit())

    def _ghost_limit(self) -> int:
        return max(GHOSTS_AT_LEAST, GHOSTS_PER_ENTRY * len(self.entries))


def _entry_of(node: Node) -> Any:
    return node.history
