"""ARC by bytes."""

from __future__ import annotations

from benchmarks.policies.rivals.base import Queue, Rival


class ARC(Rival):
    """ARC (Megiddo and Modha, FAST 2003): recent and frequent keys, the share between them learned."""

    def __init__(self, budget: int) -> None:
        super().__init__(budget)
        self.recent, self.frequent = Queue(), Queue()
        self.recent_ghosts, self.frequent_ghosts = Queue(), Queue()
        self.target = 0.0  # bytes that the recent keys should take

    @property
    def used(self) -> int:
        """Bytes taken."""
        return self.recent.nbytes + self.frequent.nbytes

    def hit(self, key: int) -> bool:
        """A second use makes a key frequent."""
        if key in self.frequent:
            self.frequent.refresh(key)
        elif key in self.recent:
            self.frequent.push(key, self.recent.remove(key))
        else:
            return False
        return True

    def miss(self, key: int, size: int, cost: float) -> None:
        """A ghost moves the target towards the list it fell from."""
        if key in self.recent_ghosts:
            ratio = max(1.0, self.frequent_ghosts.nbytes / self.recent_ghosts.nbytes)
            self.target = min(self.budget, self.target + ratio * size)
            self._make_room(size, from_frequent_ghosts=False)
            self.recent_ghosts.remove(key)
            self.frequent.push(key, size)
        elif key in self.frequent_ghosts:
            ratio = max(1.0, self.recent_ghosts.nbytes / self.frequent_ghosts.nbytes)
            self.target = max(0.0, self.target - ratio * size)
            self._make_room(size, from_frequent_ghosts=True)
            self.frequent_ghosts.remove(key)
            self.frequent.push(key, size)
        else:
            self._make_room(size, from_frequent_ghosts=False)
            self.recent.push(key, size)
        self.recent_ghosts.trim(self.budget - min(self.recent.nbytes, self.budget))
        self.frequent_ghosts.trim(2 * self.budget - self.used - self.recent_ghosts.nbytes)

    def _make_room(self, size: int, from_frequent_ghosts: bool) -> None:
        while self.used + size > self.budget:
            recent = self.recent.nbytes
            over = recent > self.target or (from_frequent_ghosts and recent >= self.target)
            if recent and (over or not len(self.frequent)):
                self.recent_ghosts.push(*self.recent.pop())
            else:
                self.frequent_ghosts.push(*self.frequent.pop())
