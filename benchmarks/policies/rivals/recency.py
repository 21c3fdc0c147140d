"""LRU by bytes."""

from __future__ import annotations

from benchmarks.policies.rivals.base import Queue, Rival


class LRU(Rival):
    """Least recently used leaves."""

    def __init__(self, budget: int) -> None:
        super().__init__(budget)
        self.queue = Queue()

    @property
    def used(self) -> int:
        """Bytes taken."""
        return self.queue.nbytes

    def hit(self, key: int) -> bool:
        """Make the key the youngest."""
        if key not in self.queue:
            return False
        self.queue.refresh(key)
        return True

    def miss(self, key: int, size: int, cost: float) -> None:
        """Drop the oldest."""
        self.queue.trim(self.budget - size)
        self.queue.push(key, size)
