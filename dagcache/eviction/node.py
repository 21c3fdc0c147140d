"""The node: a copy of an entry in one tier, as a policy sees it."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

from dagcache.eviction.access_history import AccessHistory


class Node:
    """A copy of one entry in one tier. The owner of the tier subclasses it to add a payload.

    `nbytes` and `cost_density` must not change while a policy holds the node, except by the policy's `reweigh`.
    The last four attributes belong to the policy.

    Attributes:
        history: access history of the entry.
        nbytes: bytes that the copy takes.
        cost_density: bytes per second of work saved: nbytes / seconds to restore the copy.
        admitted_at: time of admission, seconds.
        on_probation: whether the node has yet to prove that it is used again.
        index: position in the ranking; -1 = none.
        hits_before: hits of the history at admission.

    """

    __slots__ = ("admitted_at", "cost_density", "history", "hits_before", "index", "nbytes", "on_probation")

    def __init__(self, history: AccessHistory, nbytes: int, cost_density: float) -> None:
        self.history = history
        self.nbytes = nbytes
        self.cost_density = cost_density
        self.admitted_at = -inf
        self.on_probation = False
        self.index = -1
        self.hits_before = 0

    def hits_since_admission(self) -> int:
        """Return the number of uses of the entry since the node was admitted."""
        return self.history.hits - self.hits_before

    def is_proven(self) -> bool:
        """Whether the entry was used again after the burst in which the node was admitted."""
        return self.history.gap > 0 and self.history.burst_start > self.admitted_at


def take_bytes(nodes: Iterable[Node], need: float) -> list[Node]:
    """Return as many of the first nodes as hold `need` bytes, or all of them."""
    taken: list[Node] = []
    for node in nodes:
        if need <= 0:
            break
        taken.append(node)
        need -= node.nbytes
    return taken


def total_bytes(nodes: Iterable[Node]) -> int:
    """Return the bytes of all nodes together."""
    return sum(node.nbytes for node in nodes)
