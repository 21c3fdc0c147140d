"""Admission: whether a newcomer is worth more than the nodes that would have to leave for it.

A miss returns the value in any case, so admission is optional. A newcomer with a known gap competes by its score. One
without a gap goes on probation and competes with other such nodes; W-TinyLFU (Einziger et al. 2017) has a window for
the same purpose. One learned number, re-reads per trial, separates processes that use a new value again at once from
processes that do not.
"""

from __future__ import annotations

import enum
from itertools import chain
from math import inf
from typing import NamedTuple

from dagcache.eviction.access_history import BURST
from dagcache.eviction.node import Node, take_bytes, total_bytes
from dagcache.eviction.probation import HOLD, Probation
from dagcache.eviction.ranking import Ranking, worse_than

_PROBATION_SHARE = 0.05  # of the budget
_PROBATION_SHARE_MAX = 0.5  # even if a mean newcomer is large
_PROBATION_ENTRIES = 8  # mean newcomers that probation should have room for
_FEWEST_TRIALS = 1e-9  # never 0, even after a long time without trials: it is a divisor
_DECAY = 0.99  # per admission, of the learned counts
_MEAN_STEP = 0.01  # weight of the latest newcomer in the mean size
_HITS_COUNTED = 4  # per node, so that one busy node does not outvote the others
_HOPELESS = 0.2  # re-reads per trial; below it, a newcomer that lost by its score is not tried


class Place(enum.Enum):
    """The place of an admitted node."""

    RANKING = enum.auto()
    PROBATION = enum.auto()
    BURST_HOLD = enum.auto()


class Placement(NamedTuple):
    """The result of an admission: the victims that make room, and the place of the newcomer."""

    victims: list[Node]
    place: Place


class Admission:
    """Decides on newcomers of one tier. Not thread-safe: called under the cache's lock."""

    def __init__(self, ranking: Ranking, probation: Probation) -> None:
        self._ranking = ranking
        self._probation = probation
        self._rereads = 0.0
        self._trials = _FEWEST_TRIALS
        self._mean_newcomer = 0.0

    @property
    def spared(self) -> float:
        """Seconds after a use during which a node is needed again at any moment; -inf if bursts are not the rule."""
        return HOLD if self._bursts_are_the_rule() else -inf

    def decide(self, node: Node, used: int, budget: int, now: float) -> Placement | None:
        """Decide on a newcomer while `used` of `budget` bytes are taken. None: it passes through."""
        repeated = self._learn_from(node, budget, now)
        need = used + node.nbytes - budget
        placement = self._place(node, need, budget, now) if node.nbytes <= budget else None
        if not repeated and (placement is None or placement.place is not Place.RANKING):
            self._trials += 1
        return placement

    def learn_from_probation(self, node: Node) -> None:
        """Count the re-reads of a node that leaves probation."""
        rereads = node.hits_since_admission() - node.is_proven()  # the use that proves a node came after its burst
        self._rereads += min(max(0, rereads), _HITS_COUNTED)

    def check_invariants(self) -> None:
        """Raise AssertionError if a learned number is out of its range."""
        assert self._rereads >= 0
        assert self._trials > 0

    def _learn_from(self, node: Node, budget: int, now: float) -> bool:
        """Learn from a newcomer; return whether the same burst has brought it before."""
        repeated = now - node.history.last_filled <= BURST
        self._rereads = self._rereads * _DECAY + repeated
        self._trials = max(self._trials * _DECAY, _FEWEST_TRIALS)
        if node.nbytes <= budget:
            mean = self._mean_newcomer or node.nbytes
            self._mean_newcomer = mean + _MEAN_STEP * (node.nbytes - mean)
        return repeated

    def _place(self, node: Node, need: int, budget: int, now: float) -> Placement | None:
        """Find room for `need` missing bytes; None if the newcomer is not worth it."""
        if need <= 0:
            return Placement([], Place.RANKING)
        self._review_probation(now)
        limit = self._probation_limit(budget)
        leavers = take_bytes(self._probation.queue(), min(need, self._probation.nbytes - limit))
        missing = need - total_bytes(leavers)
        gap = node.history.gap
        if missing <= 0:
            return Placement(leavers, Place.RANKING if gap else Place.PROBATION)
        score = gap * node.cost_density
        if self._is_barred_from_probation(node, limit) and score > self._ranking.take_worst_score(gap, now):
            return None
        spared = self.spared
        worst = self._ranking.worst_first(need, now, spared)
        if gap:
            losers = take_bytes(worse_than(score, worst, now, spared), missing)
            if total_bytes(losers) >= missing:
                return Placement(leavers + losers, Place.RANKING)
        return self._place_on_probation(node, need, limit, worst)

    def _place_on_probation(self, node: Node, need: int, limit: float, worst: list[Node]) -> Placement | None:
        """Find room for a newcomer on probation, if its chance of another use justifies that."""
        if self._is_barred_from_probation(node, limit):
            return None
        held = self._bursts_are_the_rule()
        crowding = self._probation.nbytes + node.nbytes - limit
        leavers = take_bytes(self._probation.queue(), min(crowding, need) if held else crowding)
        others = self._probation.queue(len(leavers))
        victims = leavers + take_bytes(chain(worst, others), need - total_bytes(leavers))
        if total_bytes(victims) < need:
            return None
        return Placement(victims, Place.BURST_HOLD if held else Place.PROBATION)

    def _review_probation(self, now: float) -> None:
        """End the holds that are over, and move proven nodes into the ranking."""
        self._probation.end_holds(now)
        for node in self._probation.oldest():
            if node.is_proven():
                self.learn_from_probation(node)
                self._probation.remove(node)
                self._ranking.add(node)

    def _is_barred_from_probation(self, node: Node, limit: float) -> bool:
        """Whether a newcomer is too large for probation, or has lost before, while bursts are rare."""
        rereads_per_trial = self._rereads / self._trials
        hopeless = node.nbytes > limit or (node.history.gap > 0 and rereads_per_trial < _HOPELESS)
        return hopeless and not self._bursts_are_the_rule()

    def _bursts_are_the_rule(self) -> bool:
        """Whether most newcomers were used again at once."""
        return self._rereads >= self._trials

    def _probation_limit(self, budget: int) -> float:
        """Return the bytes that the queue of probation may take."""
        wanted = min(_PROBATION_SHARE_MAX * budget, _PROBATION_ENTRIES * self._mean_newcomer)
        return max(_PROBATION_SHARE * budget, wanted)
