"""Who leaves, who is let in: predicted-reuse eviction.

A scheduler sweeps its versions in a circle, so the version used last is the one needed last. Recency
therefore keeps exactly the wrong entries. This policy predicts each entry's next use from the gaps
between its past uses, lets a newcomer that would lose pass through (a miss returns the value anyway),
keeps a small window for entries that have not shown a gap yet, and learns one number that tells
bursts of uses from single ones. `docs/policy.md` gives the reasons and the measurements.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from itertools import chain, islice, takewhile
from math import inf
from typing import NamedTuple

from dagcache.eviction.access_history import BURST, SURPRISE, Node

FULL_SCAN = 256
"""Residents: up to so many all are ranked, at every eighth choice of a victim; in between the worst of them."""
RANKED = 32
"""How many of the worst that is; who became a resident since is looked at as well."""
SLICE = 128
"""Residents that the rolling hand looks at per choice when there are more."""
POOL = 128
"""The worst residents seen lately, looked at again at every choice; newcomers at most double it."""
REVIEW = 64
"""Guests whose probation is reviewed per choice, oldest first."""

_PROBATION_SHARE = 0.05  # of the budget, for guests
_PROBATION_SHARE_MAX = 0.5  # even when a mean newcomer is large
_PROBATION_ENTRIES = 8  # mean newcomers that the window should hold
_DEAD_GAPS = 2.0  # a superseded entry idle for longer than so many gaps is garbage
_FEWEST_TRIALS = 1e-9  # never 0, however long nothing had to be tried: it is divided by
_DECAY = 0.99  # per admission, of what was learned about newcomers
_RHYTHM = 2  # agreeing pauses in a row, after which the next is expected to be as long
_MEAN_STEP = 0.01  # weight of the latest newcomer in the mean size
_HITS_COUNTED = 4  # per guest, so that one busy guest does not speak for all
_REUSES = 7  # choices for which a ranking of few residents is good: seven eighths of the work, no miss more
_JUST_NOW = 1 / 16  # of a newcomer's gap: scores of residents change by hardly more than this share meanwhile
_AGAIN = 1.0  # seconds within which a value is mostly needed again where bursts are the rule
_HOPELESS = 0.2  # re-reads per trial below which a guest that already lost is not tried


class _Placement(NamedTuple):
    """What letting a newcomer in means: who must leave, and where it sits."""

    victims: list[Node]
    home: OrderedDict[Node, None] | None  # None: among the residents


class Policy:
    """Ranks the nodes of one tier and chooses who leaves and who is let in.

    Pure and deterministic: no clock, no I/O, no randomness; `now` is always seconds on the owner's
    clock. Not thread-safe: called under the cache's lock. Before `admit`, the owner has restored
    the newcomer's history from the ghosts and touched it; afterwards it sets `history.last_filled`.
    """

    def __init__(self) -> None:
        self._residents: list[Node] = []
        self._resident_bytes = 0
        self._hand = 0
        self._reuses = 0
        self._pool: dict[Node, None] = {}
        self._worst_score = 0.0
        self._ranked = -inf
        self._passes = 0
        self._probation: OrderedDict[Node, None] = OrderedDict()
        self._probation_bytes = 0
        # Guests that came while bursts were the rule: safe for a moment, then in the window.
        self._burst_hold: OrderedDict[Node, None] = OrderedDict()
        self._rereads = 0.0
        self._trials = _FEWEST_TRIALS
        self._mean_newcomer = 0.0

    def __len__(self) -> int:
        return len(self._residents) + len(self._probation) + len(self._burst_hold)

    def __iter__(self) -> Iterator[Node]:
        return chain(self._residents, self._probation, self._burst_hold)

    def admit(self, node: Node, *, used: int, budget: int, now: float) -> list[Node] | None:
        """Decide on a newcomer while `used` of at most `budget` bytes are taken in its tier.

        Returns the victims that must leave (no longer held here; the newcomer is), so that
        used - sum(victims) + node.nbytes <= budget; or None: it passes through and nothing changed.
        """
        repeated = self._learn_from(node, budget, now)
        need = used + node.nbytes - budget
        placement = self._place(node, need, budget, now) if node.nbytes <= budget else None
        if not repeated and (placement is None or placement.home is not None):
            self._trials += 1
        if placement is None:
            return None
        for victim in placement.victims:
            self.leave(victim)
        self._enter(node, placement.home, now)
        return placement.victims

    def shed(self, need: int, now: float) -> list[Node]:
        """Choose victims, worst first, worth at least `need` bytes (or all); they are no longer held."""
        victims: list[Node] = []
        while need > 0 and len(self):
            for node in self._worst_residents(need, now) or list(self._on_probation()):
                if need <= 0:
                    break
                self.leave(node)
                victims.append(node)
                need -= node.nbytes
        return victims

    def leave(self, node: Node) -> None:
        """Take out a node that is held here."""
        if node.on_probation:
            again = node.hits_since_admission() - node.is_proven()  # a use that proves a guest came later than at once
            self._rereads += min(max(0, again), _HITS_COUNTED)
            self._leave_probation(node)
        else:
            self._leave_residents(node)

    def reweigh(self, node: Node, nbytes: int) -> None:
        """Note that a node that is held here occupies another number of bytes; it costs as much to bring back."""
        change = nbytes - node.nbytes
        if not node.on_probation:
            self._resident_bytes += change
        elif node in self._probation:
            self._probation_bytes += change
        node.cost_density *= nbytes / max(node.nbytes, 1)
        node.nbytes = nbytes

    def clear(self) -> None:
        """Take out every node; what was learned about newcomers stays."""
        for node in self:
            node.index = -1
            node.on_probation = False
        self._residents.clear()
        self._pool.clear()
        self._reuses = self._passes = 0
        self._probation.clear()
        self._burst_hold.clear()
        self._resident_bytes = self._probation_bytes = 0

    def next_victim(self, now: float) -> Node | None:
        """About the worst node, for a gauge: cheap, changes nothing; None if there is no node."""
        if not self._residents:
            return next(self._on_probation(), None)
        few = len(self._residents) <= FULL_SCAN
        nodes = self._residents if few else list(self._pool) or self._residents[:SLICE]
        scores = self._scores(nodes, now)
        return nodes[scores.index(max(scores))]

    def check_invariants(self) -> None:
        """Raise AssertionError if an internal total or index is off."""
        assert all(self._residents[node.index] is node for node in self._residents)
        assert len({node.index for node in self._residents}) == len(self._residents)
        assert not any(node.on_probation for node in self._residents)
        assert all(node.on_probation and node.index == -1 for node in self._on_probation())
        assert not self._probation.keys() & self._burst_hold.keys()
        assert self._resident_bytes == sum(node.nbytes for node in self._residents)
        assert self._probation_bytes == sum(node.nbytes for node in self._probation)
        assert len(self._pool) <= 2 * POOL
        assert all(not node.on_probation and self._residents[node.index] is node for node in self._pool)
        assert self._rereads >= 0
        assert self._trials > 0

    # ---- the decision ----

    def _learn_from(self, node: Node, budget: int, now: float) -> bool:
        """Learn from the newcomer; whether it was last_filled in the same burst already."""
        repeated = now - node.history.last_filled <= BURST
        self._rereads = self._rereads * _DECAY + repeated
        self._trials = max(self._trials * _DECAY, _FEWEST_TRIALS)
        if node.nbytes <= budget:
            mean = self._mean_newcomer or node.nbytes
            self._mean_newcomer = mean + _MEAN_STEP * (node.nbytes - mean)
        return repeated

    def _place(self, node: Node, need: int, budget: int, now: float) -> _Placement | None:
        """Find room for `need` bytes that are missing; None: not worth it."""
        if need <= 0:
            return _Placement([], None)
        self._review_probation(now)
        window = self._probation_limit(budget)
        leavers = _first_bytes(self._probation, min(need, self._probation_bytes - window))
        missing = need - _total(leavers)
        gap = node.history.gap
        if missing <= 0:
            return _Placement(leavers, None if gap else self._probation)
        if self._surely_loses(node, window, now):
            return None
        worst = self._worst_residents(need, now)
        if gap:
            losers = _first_bytes(self._worse_than(gap * node.cost_density, worst, now), missing)
            if _total(losers) >= missing:
                return _Placement(leavers + losers, None)
        return self._place_on_probation(node, need, window, worst)

    def _place_on_probation(self, node: Node, need: int, window: float, worst: list[Node]) -> _Placement | None:
        """Find room for a newcomer on probation, if its chance of being used again justifies that."""
        if self._is_barred_from_probation(node, window):
            return None
        bursts_are_the_rule = self._bursts_are_the_rule()
        crowding = self._probation_bytes + node.nbytes - window
        leavers = _first_bytes(self._probation, min(crowding, need) if bursts_are_the_rule else crowding)
        others = islice(self._probation, len(leavers), None)
        victims = leavers + _first_bytes(chain(worst, others), need - _total(leavers))
        if _total(victims) < need:
            return None
        return _Placement(victims, self._burst_hold if bursts_are_the_rule else self._probation)

    def _is_barred_from_probation(self, node: Node, window: float) -> bool:
        """Whether a newcomer is not even put on probation: it is too large, or lost before, and bursts are rare."""
        rereads_per_trial = self._rereads / self._trials
        hopeless = node.nbytes > window or (node.history.gap > 0 and rereads_per_trial < _HOPELESS)
        return hopeless and not self._bursts_are_the_rule()

    def _bursts_are_the_rule(self) -> bool:
        """Whether newcomers have mostly been used again at once."""
        return self._rereads >= self._trials

    def _surely_loses(self, node: Node, window: float, now: float) -> bool:
        """Whether a newcomer is worse than all residents of a ranking made just now, without ranking them again."""
        gap = node.history.gap
        if (
            self._passes <= 0
            or now - self._ranked > _JUST_NOW * gap
            or not self._is_barred_from_probation(node, window)
        ):
            return False
        self._passes -= 1
        return gap * node.cost_density > self._worst_score

    def _probation_limit(self, budget: int) -> float:
        """Bytes that guests may take."""
        wanted = min(_PROBATION_SHARE_MAX * budget, _PROBATION_ENTRIES * self._mean_newcomer)
        return max(_PROBATION_SHARE * budget, wanted)

    def _worst_residents(self, need: int, now: float) -> list[Node]:
        """Residents in order of eviction_score, worst first: all, or a good sample of several times `need` bytes.

        The sample is what was worst lately; where residents are many also those under the rolling hand,
        which moves on by enough of them.
        """
        count = len(self._residents)
        if not count:
            return []
        step = max(SLICE, 4 * need * count // max(self._resident_bytes, 1))
        if count <= max(FULL_SCAN, step):
            return self._worst_of_few(need, now)
        start = self._hand if self._hand < count else 0
        self._hand = start + step
        sample = self._pool | dict.fromkeys(self._residents[start : self._hand])
        worst = self._rank(list(sample), now)
        self._pool = self._candidates(worst, POOL, now)
        return worst

    def _worst_of_few(self, need: int, now: float) -> list[Node]:
        if self._reuses > 0 and _total(self._pool) >= 2 * need:
            self._reuses -= 1
            lately = list(self._pool)
            return _worst_first(lately, self._scores(lately, now))
        worst = self._rank(self._residents, now)
        self._reuses = _REUSES
        self._pool = self._candidates(worst, RANKED, now)
        return worst

    def _rank(self, nodes: list[Node], now: float) -> list[Node]:
        """The nodes, worst first; remembers how bad any of them is, or will be as soon as it is used again."""
        scores = self._scores(nodes, now)
        self._worst_score = max(*scores, *(node.history.gap * node.cost_density for node in nodes))
        self._ranked = now
        self._passes = _REUSES
        return _worst_first(nodes, scores)

    def _candidates(self, worst: list[Node], count: int, now: float) -> dict[Node, None]:
        """Whom to look at again: the worst, and those who were just used, for they will be as bad in a moment."""
        candidates = dict.fromkeys(worst[:count])
        if self._bursts_are_the_rule():
            just_used = takewhile(lambda node: now - node.history.burst_start <= _AGAIN, reversed(worst[count:]))
            candidates.update(dict.fromkeys(islice(just_used, POOL)))
        return candidates

    def _worse_than(self, limit: float, worst_first: list[Node], now: float) -> Iterator[Node]:
        for node in worst_first:
            if self._scores((node,), now)[0] <= limit:
                return
            yield node

    def _scores(self, nodes: Iterable[Node], now: float) -> list[float]:
        return _eviction_score(nodes, now, _AGAIN if self._bursts_are_the_rule() else -inf)

    def _review_probation(self, now: float) -> None:
        """Move guests on whose grace is over, and make residents of those that proved themselves."""
        while self._burst_hold:
            node = next(iter(self._burst_hold))
            if now - node.admitted_at <= _AGAIN:
                break
            self._leave_probation(node)
            self._enter_probation(node, self._probation)
        for node in list(islice(self._probation, REVIEW)):
            if node.is_proven():
                self.leave(node)
                self._enter_residents(node)

    # ---- bookkeeping ----

    def _on_probation(self) -> Iterator[Node]:
        return chain(self._probation, self._burst_hold)

    def _enter(self, node: Node, home: OrderedDict[Node, None] | None, now: float) -> None:
        node.admitted_at = now
        node.hits_before = node.history.hits
        if home is None:
            self._enter_residents(node)
        else:
            self._enter_probation(node, home)

    def _enter_residents(self, node: Node) -> None:
        node.on_probation = False
        node.index = len(self._residents)
        self._residents.append(node)
        self._resident_bytes += node.nbytes
        # Just used: in a sweep among the farthest from its next use, and the next ranking might come too late.
        if len(self._pool) < 2 * POOL:
            self._pool[node] = None

    def _leave_residents(self, node: Node) -> None:
        last = self._residents.pop()
        if last is not node:
            self._residents[node.index] = last
            last.index = node.index
        node.index = -1
        self._pool.pop(node, None)
        self._resident_bytes -= node.nbytes

    def _enter_probation(self, node: Node, home: OrderedDict[Node, None]) -> None:
        node.on_probation = True
        home[node] = None
        if home is self._probation:
            self._probation_bytes += node.nbytes

    def _leave_probation(self, node: Node) -> None:
        node.on_probation = False
        if node in self._probation:
            del self._probation[node]
            self._probation_bytes -= node.nbytes
        else:
            del self._burst_hold[node]


def _eviction_score(nodes: Iterable[Node], now: float, again: float) -> list[float]:
    """Score each node: seconds it is predicted to be useless for, times the bytes a second of work takes.

    The farther off the next use, or the longer overdue, the worse; see docs/policy.md for the formula. What was used
    no more than `again` seconds ago is needed again at any moment.
    One loop without calls, because it is most of what choosing a victim costs.
    """
    scores = []
    for node in nodes:
        history = node.history
        gap = history.gap
        idle = now - history.burst_start
        if idle < gap:
            scores.append((gap - 0.5 * idle) * node.cost_density if idle > again else 0.0)
        elif history.superseded and idle > _DEAD_GAPS * gap:
            scores.append(inf)
        elif history.matching_pauses >= _RHYTHM and SURPRISE * gap < idle < history.pause:
            scores.append((history.pause - 0.5 * idle) * node.cost_density)
        else:
            scores.append((idle - 0.5 * gap) * node.cost_density)
    return scores


def _worst_first(nodes: list[Node], scores: list[float]) -> list[Node]:
    order = sorted(range(len(nodes)), key=scores.__getitem__, reverse=True)
    return [nodes[i] for i in order]


def _first_bytes(nodes: Iterable[Node], need: float) -> list[Node]:
    """As many of the first nodes as make up `need` bytes, or all of them."""
    taken: list[Node] = []
    for node in nodes:
        if need <= 0:
            break
        taken.append(node)
        need -= node.nbytes
    return taken


def _total(nodes: Iterable[Node]) -> int:
    return sum(node.nbytes for node in nodes)
