"""The ranking: the proven nodes of one tier, ordered by predicted reuse per byte.

The cost of a choice does not grow with the number of nodes. Up to `FULL_SCAN` nodes, every eighth choice scores all of
them; the choices in between score the worst nodes of that ranking again, and the nodes that were added since. With more
nodes, a hand moves over them, `SLICE` nodes per choice. The worst nodes that it passed stay in a pool and are scored
again at every choice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice, takewhile
from math import inf

from dagcache.eviction.access_history import SURPRISE
from dagcache.eviction.node import Node, total_bytes

FULL_SCAN = 256
"""Nodes. A ranking of no more than this many scores all of them, at every eighth choice."""
RANKED = 32
"""Nodes that the seven choices after a full scan score again, beside those added since."""
SLICE = 128
"""Nodes that the hand scores per choice, above `FULL_SCAN`."""
POOL = 128
"""Nodes that the pool keeps of a choice. Added nodes at most double it."""

_DEAD_GAPS = 2.0  # gaps without a use after which a superseded entry is garbage
_RHYTHM = 2  # matching pauses after which the next pause is expected to be as long
_REUSES = 7  # choices that may use one full scan: an eighth of the work, no additional miss
_JUST_NOW = 1 / 16  # of a newcomer's gap: scores change by hardly more than this share in the meantime


class Ranking:
    """The nodes of one tier that are not on probation. Not thread-safe: called under the cache's lock.

    ``spared`` is the number of seconds after a use during which a node is needed again at any moment; -inf where nodes
    are not used in bursts.
    """

    def __init__(self) -> None:
        self.nbytes = 0
        """Bytes of all nodes."""
        self._nodes: list[Node] = []
        self._pool: dict[Node, None] = {}
        self._hand = 0
        self._reuses = 0
        self._worst_score = 0.0
        self._ranked_at = -inf
        self._comparisons = 0

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[Node]:
        return iter(self._nodes)

    def add(self, node: Node) -> None:
        """Add a node that is not held yet."""
        node.on_probation = False
        node.index = len(self._nodes)
        self._nodes.append(node)
        self.nbytes += node.nbytes
        # It was just used. In a sweep it is among the farthest from its next use, and the next scan may come too late.
        if len(self._pool) < 2 * POOL:
            self._pool[node] = None

    def remove(self, node: Node) -> None:
        """Remove a node that is held."""
        last = self._nodes.pop()
        if last is not node:
            self._nodes[node.index] = last
            last.index = node.index
        node.index = -1
        self._pool.pop(node, None)
        self.nbytes -= node.nbytes

    def clear(self) -> None:
        """Remove all nodes."""
        for node in self._nodes:
            node.index = -1
        self._nodes.clear()
        self._pool.clear()
        self._reuses = self._comparisons = 0
        self.nbytes = 0

    def worst_first(self, need: int, now: float, spared: float) -> list[Node]:
        """Return nodes, worst first: all of them, or a sample that holds several times `need` bytes."""
        count = len(self._nodes)
        if not count:
            return []
        step = max(SLICE, 4 * need * count // max(self.nbytes, 1))
        if count <= max(FULL_SCAN, step):
            return self._worst_of_few(need, now, spared)
        start = self._hand if self._hand < count else 0
        self._hand = start + step
        sample = self._pool | dict.fromkeys(self._nodes[start : self._hand])
        worst = self._rank(list(sample), now, spared)
        self._pool = _candidates(worst, POOL, now, spared)
        return worst

    def take_worst_score(self, gap: float, now: float) -> float:
        """Return a score that no node exceeds, for a newcomer with this gap (seconds); inf if none is known.

        The bound comes from the latest scan. It serves seven newcomers, and only as long as scores hardly change.
        """
        if self._comparisons <= 0 or now - self._ranked_at > _JUST_NOW * gap:
            return inf
        self._comparisons -= 1
        return self._worst_score

    def next_victim(self, now: float, spared: float) -> Node | None:
        """Return the approximately worst node, for a gauge: cheap, changes nothing; None without nodes."""
        if not self._nodes:
            return None
        few = len(self._nodes) <= FULL_SCAN
        nodes = self._nodes if few else list(self._pool) or self._nodes[:SLICE]
        scores = eviction_scores(nodes, now, spared)
        return nodes[scores.index(max(scores))]

    def check_invariants(self) -> None:
        """Raise AssertionError if an internal total or index is wrong."""
        assert all(node.index == index and not node.on_probation for index, node in enumerate(self._nodes))
        assert self.nbytes == total_bytes(self._nodes)
        assert len(self._pool) <= 2 * POOL
        assert all(not node.on_probation and self._nodes[node.index] is node for node in self._pool)

    def _worst_of_few(self, need: int, now: float, spared: float) -> list[Node]:
        if self._reuses > 0 and total_bytes(self._pool) >= 2 * need:
            self._reuses -= 1
            candidates = list(self._pool)
            return _sorted_by(candidates, eviction_scores(candidates, now, spared))
        worst = self._rank(self._nodes, now, spared)
        self._reuses = _REUSES
        self._pool = _candidates(worst, RANKED, now, spared)
        return worst

    def _rank(self, nodes: list[Node], now: float, spared: float) -> list[Node]:
        """Sort nodes, worst first, and keep the worst score that any of them has, or would have right after a use."""
        scores = eviction_scores(nodes, now, spared)
        self._worst_score = max(*scores, *(node.history.gap * node.cost_density for node in nodes))
        self._ranked_at = now
        self._comparisons = _REUSES
        return _sorted_by(nodes, scores)


def worse_than(limit: float, worst_first: list[Node], now: float, spared: float) -> Iterator[Node]:
    """Iterate over the first nodes, as long as their scores exceed a limit."""
    for node in worst_first:
        if eviction_scores((node,), now, spared)[0] <= limit:
            return
        yield node


def eviction_scores(nodes: Iterable[Node], now: float, spared: float) -> list[float]:
    """Return the score of each node: predicted seconds without a use, times its cost density. The highest leaves.

    The next use is predicted at `burst_start` + `gap`. A prediction halfway to its time counts half, and so does the
    delay of an overdue node. The formula is in docs/policy.md; it has the shape of Belady's rule (1966), with bytes and
    cost as in GreedyDual-Size (Cao & Irani 1997).
    """
    # One loop without calls: it is most of the cost of a choice.
    scores = []
    for node in nodes:
        history = node.history
        gap = history.gap
        idle = now - history.burst_start
        if idle < gap:
            scores.append((gap - 0.5 * idle) * node.cost_density if idle > spared else 0.0)
        elif history.superseded and idle > _DEAD_GAPS * gap:
            scores.append(inf)
        elif history.matching_pauses >= _RHYTHM and SURPRISE * gap < idle < history.pause:
            scores.append((history.pause - 0.5 * idle) * node.cost_density)
        else:
            scores.append((idle - 0.5 * gap) * node.cost_density)
    return scores


def _candidates(worst: list[Node], count: int, now: float, spared: float) -> dict[Node, None]:
    """Return the nodes to score again: the worst ones, and the spared ones, which will be as bad in a moment."""
    candidates = dict.fromkeys(worst[:count])
    if spared > 0:
        just_used = takewhile(lambda node: now - node.history.burst_start <= spared, reversed(worst[count:]))
        candidates.update(dict.fromkeys(islice(just_used, POOL)))
    return candidates


def _sorted_by(nodes: list[Node], scores: list[float]) -> list[Node]:
    order = sorted(range(len(nodes)), key=scores.__getitem__, reverse=True)
    return [nodes[i] for i in order]
