"""Policies that count uses."""

from __future__ import annotations

import heapq
from collections import Counter

from benchmarks.policies.rivals.base import Queue, Rival


class _Ranked(Rival):
    """The key of the lowest rank leaves. Ranks only grow, so a heap with stale rows serves."""

    def __init__(self, budget: int) -> None:
        super().__init__(budget)
        self.ranks: dict[int, tuple[float, int]] = {}
        self.sizes: dict[int, int] = {}
        self.heap: list[tuple[tuple[float, int], int]] = []
        self.nbytes = 0
        self.requests = 0

    @property
    def used(self) -> int:
        """Bytes taken."""
        return self.nbytes

    def rank(self, key: int, value: float) -> None:
        """Give a key a new rank; among equals the one ranked longest ago leaves."""
        self.requests += 1
        self.ranks[key] = (value, self.requests)

    def let_in(self, key: int, size: int, value: float) -> None:
        """Take a new key in."""
        self.rank(key, value)
        heapq.heappush(self.heap, (self.ranks[key], key))
        self.sizes[key] = size
        self.nbytes += size

    def evict(self) -> float:
        """Drop the lowest key and return its rank."""
        while True:
            rank, key = self.heap[0]
            if self.ranks.get(key) == rank:
                break
            if key in self.ranks:
                heapq.heapreplace(self.heap, (self.ranks[key], key))
            else:
                heapq.heappop(self.heap)
        heapq.heappop(self.heap)
        del self.ranks[key]
        self.nbytes -= self.sizes.pop(key)
        return rank[0]


class LFU(_Ranked):
    """Least frequently used leaves; counts start again with each stay."""

    def hit(self, key: int) -> bool:
        """Count the use."""
        if key not in self.ranks:
            return False
        self.rank(key, self.ranks[key][0] + 1)
        return True

    def miss(self, key: int, size: int, cost: float) -> None:
        """Drop the least used."""
        while self.nbytes + size > self.budget:
            self.evict()
        self.let_in(key, size, 1)


class GDSF(_Ranked):
    """GreedyDual-Size-Frequency (Cherkasova 1998): rank = age + uses x cost / size."""

    def __init__(self, budget: int) -> None:
        super().__init__(budget)
        self.age = 0.0
        self.uses: dict[int, int] = {}
        self.values: dict[int, float] = {}

    def hit(self, key: int) -> bool:
        """Count the use and rejuvenate."""
        if key not in self.ranks:
            return False
        self.uses[key] += 1
        self.rank(key, self.age + self.uses[key] * self.values[key])
        return True

    def miss(self, key: int, size: int, cost: float) -> None:
        """Drop the lowest; the age rises to its rank."""
        while self.nbytes + size > self.budget:
            self.age = self.evict()
        self.uses[key] = 1
        self.values[key] = cost / size
        self.let_in(key, size, self.age + self.values[key])


class WTinyLFU(Rival):
    """W-TinyLFU (Einziger et al., TOS 2017), size-aware: a window of 20 %, then a segmented LRU.

    A candidate enters the main segments if it was used more often than all the victims it needs
    together. Counts are exact and halved every 10 requests per resident.
    """

    def __init__(self, budget: int) -> None:
        super().__init__(budget)
        self.window, self.probation, self.protected = Queue(), Queue(), Queue()
        self.uses: Counter[int] = Counter()
        self.counted = 0
        self.window_budget = budget // 5
        self.main_budget = budget - self.window_budget

    @property
    def used(self) -> int:
        """Bytes taken."""
        return self.window.nbytes + self.probation.nbytes + self.protected.nbytes

    def request(self, key: int, size: int, cost: float, now: float) -> bool:
        """Count every request, then look up."""
        self.uses[key] += 1
        self.counted += 1
        residents = len(self.window) + len(self.probation) + len(self.protected)
        if self.counted > 10 * max(residents, 64):
            self.counted //= 2
            self.uses = Counter({key: uses // 2 for key, uses in self.uses.items() if uses > 1})
        return super().request(key, size, cost, now)

    def hit(self, key: int) -> bool:
        """Refresh in the window; promote within the main segments."""
        if key in self.window:
            self.window.refresh(key)
        elif key in self.protected:
            self.protected.refresh(key)
        elif key in self.probation:
            self.protected.push(key, self.probation.remove(key))
            while self.protected.nbytes > 0.8 * self.main_budget and len(self.protected) > 1:
                self.probation.push(*self.protected.pop())
        else:
            return False
        return True

    def miss(self, key: int, size: int, cost: float) -> None:
        """The newcomer enters the window; keys that leave the window compete."""
        if size > self.window_budget:
            self._compete(key, size)
            return
        self.window.push(key, size)
        while self.window.nbytes > self.window_budget:
            self._compete(*self.window.pop())

    def _compete(self, key: int, size: int) -> None:
        missing = self.probation.nbytes + self.protected.nbytes + size - self.main_budget
        victims: list[tuple[Queue, int]] = []
        against = 0
        for queue in (self.probation, self.protected):
            for victim, victim_size in queue.sizes.items():
                if missing <= 0:
                    break
                victims.append((queue, victim))
                missing -= victim_size
                against += self.uses[victim]
                if against >= self.uses[key]:
                    return
        if missing > 0:
            return
        for queue, victim in victims:
            queue.remove(victim)
        self.probation.push(key, size)
