"""The policy of one tier: which node leaves, and whether a newcomer is admitted.

A scheduler uses its versions in a cycle, so the most recently used version is the last one to be needed again. LRU
keeps exactly that one. The policy instead predicts the next use of each key from the gaps between its past uses, and
evicts by predicted reuse per byte. Belady's rule (1966) does the same with a known future. `ranking` holds the nodes in
that order, `probation` the newcomers without a known gap, and `admission` decides on newcomers. The rules and their
measurements are in docs/policy.md and docs/internals/policy-log.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from dagcache.eviction.admission import Admission, Place
from dagcache.eviction.node import Node
from dagcache.eviction.probation import Probation
from dagcache.eviction.ranking import Ranking


class Policy:
    """Ranks the nodes of one tier, chooses victims, and admits newcomers.

    Deterministic: no clock, no I/O, no randomness. `now` is in seconds on the owner's clock. Not thread-safe: called
    under the cache's lock. Before `admit`, the owner restores the history of the newcomer from the ghosts and touches
    it; afterwards it sets `history.last_filled`.
    """

    def __init__(self) -> None:
        self._ranking = Ranking()
        self._probation = Probation()
        self._admission = Admission(self._ranking, self._probation)

    @property
    def spared(self) -> float:
        """Seconds after a use during which a node is needed again at any moment; -inf if bursts are not the rule."""
        return self._admission.spared

    def __len__(self) -> int:
        return len(self._ranking) + len(self._probation)

    def __iter__(self) -> Iterator[Node]:
        return chain(self._ranking, self._probation)

    def admit(self, node: Node, *, used: int, budget: int, now: float) -> list[Node] | None:
        """Decide on a newcomer while `used` of at most `budget` bytes are taken in its tier.

        Returns the victims, which the policy no longer holds, so that
        used - sum(victims) + node.nbytes <= budget; the policy then holds the newcomer. Returns None if the newcomer
        passes through; the policy then holds the same nodes as before.
        """
        placement = self._admission.decide(node, used, budget, now)
        if placement is None:
            return None
        for victim in placement.victims:
            self.leave(victim)
        node.admitted_at = now
        node.hits_before = node.history.hits
        if placement.place is Place.RANKING:
            self._ranking.add(node)
        else:
            self._probation.add(node, held=placement.place is Place.BURST_HOLD)
        return placement.victims

    def shed(self, need: int, now: float) -> list[Node]:
        """Choose victims, worst first, of at least `need` bytes (or all nodes). The policy no longer holds them."""
        victims: list[Node] = []
        while need > 0 and len(self):
            for node in self._ranking.worst_first(need, now, self._admission.spared) or list(self._probation):
                if need <= 0:
                    break
                self.leave(node)
                victims.append(node)
                need -= node.nbytes
        return victims

    def leave(self, node: Node) -> None:
        """Remove a node that is held here."""
        if node.on_probation:
            self._admission.learn_from_probation(node)
            self._probation.remove(node)
        else:
            self._ranking.remove(node)

    def reweigh(self, node: Node, nbytes: int) -> None:
        """Set the bytes of a node that is held here. The seconds to restore it stay the same."""
        change = nbytes - node.nbytes
        if node.on_probation:
            self._probation.reweigh(node, change)
        else:
            self._ranking.nbytes += change
        node.cost_density *= nbytes / max(node.nbytes, 1)
        node.nbytes = nbytes

    def clear(self) -> None:
        """Remove every node. The knowledge about newcomers stays."""
        self._ranking.clear()
        self._probation.clear()

    def next_victim(self, now: float) -> Node | None:
        """Return the approximately worst node, for a gauge: cheap, changes nothing; None without nodes."""
        return self._ranking.next_victim(now, self._admission.spared) or next(iter(self._probation), None)

    def check_invariants(self) -> None:
        """Raise AssertionError if an internal total or index is wrong."""
        self._ranking.check_invariants()
        self._probation.check_invariants()
        self._admission.check_invariants()
