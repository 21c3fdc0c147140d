"""The base class of the rivals, and the byte-counting queue that most of them use."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict


class Queue:
    """Keys in order with their sizes, and the bytes they make up. The first is the oldest."""

    __slots__ = ("nbytes", "sizes")

    def __init__(self) -> None:
        self.sizes: OrderedDict[int, int] = OrderedDict()
        self.nbytes = 0

    def __contains__(self, key: int) -> bool:
        return key in self.sizes

    def __len__(self) -> int:
        return len(self.sizes)

    def push(self, key: int, size: int) -> None:
        """Append a key that is not in the queue."""
        self.sizes[key] = size
        self.nbytes += size

    def pop(self) -> tuple[int, int]:
        """Remove and return the first key and its size."""
        key, size = self.sizes.popitem(last=False)
        self.nbytes -= size
        return key, size

    def remove(self, key: int) -> int:
        """Remove a key and return its size."""
        size = self.sizes.pop(key)
        self.nbytes -= size
        return size

    def refresh(self, key: int) -> None:
        """Make a key the last."""
        self.sizes.move_to_end(key)

    def first(self) -> int:
        """The first key."""
        return next(iter(self.sizes))

    def trim(self, limit: float) -> None:
        """Remove first keys until at most `limit` bytes are left."""
        while self.nbytes > limit:
            self.pop()


class Rival(ABC):
    """A policy together with the cache it rules: `budget` bytes, keys only."""

    def __init__(self, budget: int) -> None:
        self.budget = budget

    def request(self, key: int, size: int, cost: float, now: float) -> bool:
        """Look a key up, let it in if it is absent and fits; whether it was there."""
        if self.hit(key):
            return True
        if size <= self.budget:
            self.miss(key, size, cost)
        return False

    @abstractmethod
    def hit(self, key: int) -> bool:
        """Note a use of a key if it is there; whether it is."""

    @abstractmethod
    def miss(self, key: int, size: int, cost: float) -> None:
        """Make room for an absent key of at most the budget, and let it in."""

    @property
    @abstractmethod
    def used(self) -> int:
        """Bytes taken."""
