"""Probation: nodes that are not known to be used more than once, oldest first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from itertools import chain, islice

from dagcache.eviction.node import Node, total_bytes

REVIEW = 64
"""Nodes that one choice reviews, oldest first."""
HOLD = 1.0
"""Seconds within which a value is mostly needed again where bursts are the rule."""


class Probation:
    """A queue, and beside it nodes that are held for the rest of their burst. Not thread-safe.

    A held node does not count among the bytes of the queue. After `HOLD` seconds it moves into the queue.
    """

    def __init__(self) -> None:
        self.nbytes = 0
        """Bytes of the queue, without the held nodes."""
        self._queue: OrderedDict[Node, None] = OrderedDict()
        self._burst_hold: OrderedDict[Node, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._queue) + len(self._burst_hold)

    def __iter__(self) -> Iterator[Node]:
        return chain(self._queue, self._burst_hold)

    def queue(self, start: int = 0) -> Iterator[Node]:
        """Iterate over the queue, oldest first, from a position on."""
        return islice(self._queue, start, None)

    def add(self, node: Node, *, held: bool) -> None:
        """Add a node that is not held yet, to the queue or to the burst hold."""
        node.on_probation = True
        if held:
            self._burst_hold[node] = None
        else:
            self._queue[node] = None
            self.nbytes += node.nbytes

    def remove(self, node: Node) -> None:
        """Remove a node that is held."""
        node.on_probation = False
        if node in self._queue:
            del self._queue[node]
            self.nbytes -= node.nbytes
        else:
            del self._burst_hold[node]

    def reweigh(self, node: Node, change: int) -> None:
        """Account for a node that is about to take `change` more bytes."""
        if node in self._queue:
            self.nbytes += change

    def end_holds(self, now: float) -> None:
        """Move nodes that were held long enough into the queue."""
        while self._burst_hold:
            node = next(iter(self._burst_hold))
            if now - node.admitted_at <= HOLD:
                return
            self.remove(node)
            self.add(node, held=False)

    def oldest(self) -> list[Node]:
        """Return the nodes of the queue that one choice reviews."""
        return list(islice(self._queue, REVIEW))

    def clear(self) -> None:
        """Remove all nodes."""
        for node in self:
            node.on_probation = False
        self._queue.clear()
        self._burst_hold.clear()
        self.nbytes = 0

    def check_invariants(self) -> None:
        """Raise AssertionError if an internal total or index is wrong."""
        assert all(node.on_probation and node.index == -1 for node in self)
        assert not self._queue.keys() & self._burst_hold.keys()
        assert self.nbytes == total_bytes(self._queue)
