"""The product's own policy, driven as its cache drives it: one live tier and ghosts."""

from __future__ import annotations

from dagcache.eviction.access_history import AccessHistory
from dagcache.eviction.ghosts import Ghosts
from dagcache.eviction.node import Node
from dagcache.eviction.policy import Policy

GHOSTS_PER_RESIDENT = 4
FEWEST_GHOSTS = 64


class _KeyedNode(Node):
    __slots__ = ("key",)

    def __init__(self, key: int, history: AccessHistory, nbytes: int, cost_density: float) -> None:
        super().__init__(history, nbytes, cost_density)
        self.key = key


class Predicted:
    """A cache of keys ruled by `dagcache.eviction.policy.Policy`."""

    def __init__(self, budget: int, ghosts_per_resident: float = GHOSTS_PER_RESIDENT) -> None:
        self.budget = budget
        self.used = 0
        self.policy = Policy()
        self.ghosts = Ghosts()
        self.ghosts_per_resident = ghosts_per_resident
        self.nodes: dict[int, _KeyedNode] = {}

    def request(self, key: int, size: int, cost: float, now: float) -> bool:
        """Look a key up, offer it to the policy if it is absent; whether it was there."""
        node = self.nodes.get(key)
        if node is not None:
            node.history.touch(now)
            return True
        history = AccessHistory(now)
        self.ghosts.recall(hash(key), history)
        history.touch(now)
        node = _KeyedNode(key, history, size, size / max(cost, 1e-6))
        victims = self.policy.admit(node, used=self.used, budget=self.budget, now=now)
        history.last_filled = now
        if victims is None:
            self.ghosts.remember(hash(key), history)
        else:
            self.nodes[key] = node
            self.used += size
            for victim in victims:
                self._remove(victim)
        self.ghosts.trim(max(FEWEST_GHOSTS, int(self.ghosts_per_resident * len(self.nodes))))
        return False

    def _remove(self, victim: Node) -> None:
        assert isinstance(victim, _KeyedNode)
        del self.nodes[victim.key]
        self.used -= victim.nbytes
        self.ghosts.remember(hash(victim.key), victim.history)
