"""Policies made of first-in-first-out queues."""

from __future__ import annotations

from benchmarks.policies.rivals.base import Queue, Rival


class FIFO(Rival):
    """First in, first out."""

    def __init__(self, budget: int) -> None:
        super().__init__(budget)
        self.queue = Queue()

    @property
    def used(self) -> int:
        """Bytes taken."""
        return self.queue.nbytes

    def hit(self, key: int) -> bool:
        """Uses do not count."""
        return key in self.queue

    def miss(self, key: int, size: int, cost: float) -> None:
        """Drop the oldest."""
        self.queue.trim(self.budget - size)
        self.queue.push(key, size)


class _Node:
    """An entry of SIEVE's list."""

    __slots__ = ("key", "newer", "older", "size", "visited")

    def __init__(self, key: int, size: int) -> None:
        self.key = key
        self.size = size
        self.visited = False
        self.newer: _Node | None = None
        self.older: _Node | None = None


class Sieve(Rival):
    """SIEVE (Zhang et al., NSDI 2024): a hand walks from old to new and drops keys that were not visited."""

    def __init__(self, budget: int) -> None:
        super().__init__(budget)
        self.nodes: dict[int, _Node] = {}
        self.newest: _Node | None = None
        self.oldest: _Node | None = None
        self.hand: _Node | None = None
        self.nbytes = 0

    @property
    def used(self) -> int:
        """Bytes taken."""
        return self.nbytes

    def hit(self, key: int) -> bool:
        """Mark the key visited."""
        node = self.nodes.get(key)
        if node is None:
            return False
        node.visited = True
        return True

    def miss(self, key: int, size: int, cost: float) -> None:
        """Let the hand walk until there is room; newcomers enter at the head."""
        while self.nbytes + size > self.budget:
            self._evict()
        node = _Node(key, size)
        node.older = self.newest
        if self.newest:
            self.newest.newer = node
        self.newest = node
        self.oldest = self.oldest or node
        self.nodes[key] = node
        self.nbytes += size

    def _evict(self) -> None:
        node = self.hand or self.oldest
        while node and node.visited:
            node.visited = False
            node = node.newer or self.oldest
        assert node
        self.hand = node.newer
        if node.newer:
            node.newer.older = node.older
        else:
            self.newest = node.older
        if node.older:
            node.older.newer = node.newer
        else:
            self.oldest = node.newer
        del self.nodes[node.key]
        self.nbytes -= node.size


class S3FIFO(Rival):
    """S3-FIFO (Yang et al., SOSP 2023): a small queue of 10 %, a main queue, ghosts of the main's bytes."""

    def __init__(self, budget: int) -> None:
        super().__init__(budget)
        self.small, self.main, self.ghosts = Queue(), Queue(), Queue()
        self.uses: dict[int, int] = {}

    @property
    def used(self) -> int:
        """Bytes taken."""
        return self.small.nbytes + self.main.nbytes

    def hit(self, key: int) -> bool:
        """Count up to three uses."""
        uses = self.uses.get(key)
        if uses is None:
            return False
        self.uses[key] = min(uses + 1, 3)
        return True

    def miss(self, key: int, size: int, cost: float) -> None:
        """Ghosts return to the main queue, strangers enter the small one."""
        while self.used + size > self.budget:
            if self.small.nbytes > 0.1 * self.budget or not len(self.main):
                self._evict_small()
            else:
                self._evict_main()
        if key in self.ghosts:
            self.ghosts.remove(key)
            self.main.push(key, size)
        else:
            self.small.push(key, size)
        self.uses[key] = 0

    def _evict_small(self) -> None:
        key, size = self.small.pop()
        if self.uses[key] > 1:
            self.uses[key] = 0
            self.main.push(key, size)
            return
        del self.uses[key]
        self.ghosts.push(key, size)
        self.ghosts.trim(0.9 * self.budget)

    def _evict_main(self) -> None:
        key, size = self.main.pop()
        if self.uses[key]:
            self.uses[key] -= 1
            self.main.push(key, size)
        else:
            del self.uses[key]


class TwoQueues(Rival):
    """2Q (Johnson and Shasha, VLDB 1994): A1in of 25 %, ghosts of 50 % of the budget, Am by recency."""

    def __init__(self, budget: int) -> None:
        super().__init__(budget)
        self.incoming, self.main, self.ghosts = Queue(), Queue(), Queue()

    @property
    def used(self) -> int:
        """Bytes taken."""
        return self.incoming.nbytes + self.main.nbytes

    def hit(self, key: int) -> bool:
        """Only uses in the main queue count."""
        if key in self.main:
            self.main.refresh(key)
            return True
        return key in self.incoming

    def miss(self, key: int, size: int, cost: float) -> None:
        """Ghosts return to the main queue, strangers enter A1in."""
        while self.used + size > self.budget:
            if self.incoming.nbytes > 0.25 * self.budget or not len(self.main):
                self.ghosts.push(*self.incoming.pop())
                self.ghosts.trim(0.5 * self.budget)
            else:
                self.main.pop()
        if key in self.ghosts:
            self.ghosts.remove(key)
            self.main.push(key, size)
        else:
            self.incoming.push(key, size)
