"""LIRS by bytes."""

from __future__ import annotations

from collections import OrderedDict

from benchmarks.policies.rivals.base import Queue, Rival

HIR_SHARE = 0.05
GHOST_BUDGETS = 3


class LIRS(Rival):
    """LIRS (Jiang and Zhang, SIGMETRICS 2002): keys of low inter-reference recency are resident.

    `stack` orders keys by recency and holds low keys, high ones and ghosts; `high` queues the
    resident high keys, which take 5 % of the budget.
    """

    def __init__(self, budget: int) -> None:
        super().__init__(budget)
        self.stack: OrderedDict[int, int] = OrderedDict()
        self.low: dict[int, int] = {}
        self.low_bytes = 0
        self.high = Queue()
        self.ghosts = Queue()

    @property
    def used(self) -> int:
        """Bytes taken."""
        return self.low_bytes + self.high.nbytes

    def hit(self, key: int) -> bool:
        """A high key seen again while on the stack becomes low."""
        if key in self.low:
            self.stack.move_to_end(key)
            self._prune()
            return True
        if key not in self.high:
            return False
        if key in self.stack:
            self._make_low(key, self.high.remove(key))
        else:
            self.stack[key] = self.high.sizes[key]
            self.high.refresh(key)
        return True

    def miss(self, key: int, size: int, cost: float) -> None:
        """High keys leave; a ghost on the stack returns as low."""
        while self.used + size > self.budget:
            if not len(self.high):
                self._demote_oldest_low()
            victim, victim_size = self.high.pop()
            if victim in self.stack:
                self.ghosts.push(victim, victim_size)
        known = key in self.stack
        if known:
            self.ghosts.remove(key)
        if known or self.low_bytes + size <= (1 - HIR_SHARE) * self.budget:
            self._make_low(key, size)
        else:
            self.stack[key] = size
            self.high.push(key, size)
        self._bound_ghosts()

    def _make_low(self, key: int, size: int) -> None:
        self.stack[key] = size
        self.stack.move_to_end(key)
        self.low[key] = size
        self.low_bytes += size
        while self.low_bytes > (1 - HIR_SHARE) * self.budget and len(self.low) > 1:
            self._demote_oldest_low()
        self._prune()

    def _demote_oldest_low(self) -> None:
        self._prune()
        key, size = self.stack.popitem(last=False)
        del self.low[key]
        self.low_bytes -= size
        self.high.push(key, size)
        self._prune()

    def _prune(self) -> None:
        """The oldest key on the stack is a low one."""
        while self.stack and (key := next(iter(self.stack))) not in self.low:
            del self.stack[key]
            if key in self.ghosts:
                self.ghosts.remove(key)

    def _bound_ghosts(self) -> None:
        while self.ghosts.nbytes > GHOST_BUDGETS * self.budget:
            key, _ = self.ghosts.pop()
            del self.stack[key]
