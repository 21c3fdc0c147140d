"""An offline policy: Belady's rule with bypass, aware of sizes and costs."""

from __future__ import annotations

import numpy as np

from benchmarks.policies.traces import Floats, Trace


def offline_cost(trace: Trace, budget: int) -> float:
    """Seconds of loads if the victim is always the key with the greatest distance x size / cost.

    Distance is the time to the next use, which is known. A newcomer competes with the residents
    and passes through if it is the worst itself. For equal sizes and costs this is the optimum.
    """
    next_use = next_uses(trace)
    mean_cost = np.bincount(trace.keys, trace.costs) / np.bincount(trace.keys)
    sizes = np.zeros(len(mean_cost), np.int64)
    sizes[trace.keys] = trace.sizes
    residents = _Residents(sizes, sizes / mean_cost, budget)
    total = 0.0
    rows = zip(trace.times.tolist(), trace.keys.tolist(), trace.costs.tolist(), next_use.tolist(), strict=True)
    for now, key, cost, following in rows:
        if not residents.use(key, following):
            total += cost
            residents.offer(key, following, now)
    return total


def next_uses(trace: Trace) -> Floats:
    """The time at which the key of each lookup is looked up next; inf = never."""
    following: Floats = np.full(len(trace), np.inf)
    order = np.argsort(trace.keys, kind="stable")
    same = trace.keys[order][1:] == trace.keys[order][:-1]
    following[order[:-1][same]] = trace.times[order[1:][same]]
    return following


class _Residents:
    def __init__(self, sizes: np.ndarray, weights: np.ndarray, budget: int) -> None:
        self.sizes = sizes
        self.weights = weights
        self.free = budget
        self.budget = budget
        self.place_of = np.full(len(sizes), -1)
        self.keys = np.zeros(1024, np.int64)
        self.next_use = np.zeros(1024)
        self.weight = np.zeros(1024)
        self.count = 0

    def use(self, key: int, following: float) -> bool:
        place = self.place_of[key]
        if place < 0:
            return False
        self.next_use[place] = following
        return True

    def offer(self, key: int, following: float, now: float) -> None:
        size = int(self.sizes[key])
        if size > self.budget or following == np.inf:
            return
        need = size - self.free
        if need > 0:
            victims = self._victims(need, (following - now) * self.weights[key], now)
            if victims is None:
                return
            for place in sorted(victims, reverse=True):
                self._remove(place)
        self._add(key, following, size)

    def _victims(self, need: int, limit: float, now: float) -> list[int] | None:
        eviction_score = (self.next_use[: self.count] - now) * self.weight[: self.count]
        worst = int(eviction_score.argmax())
        if eviction_score[worst] <= limit:
            return None
        if self.sizes[self.keys[worst]] >= need:
            return [worst]
        order = np.argsort(-eviction_score, kind="stable")
        freed = np.cumsum(self.sizes[self.keys[order]])
        wanted = int(np.searchsorted(freed, need)) + 1
        if wanted > self.count or eviction_score[order[wanted - 1]] <= limit:
            return None
        return [int(place) for place in order[:wanted]]

    def _add(self, key: int, following: float, size: int) -> None:
        if self.count == len(self.keys):
            self.keys = np.resize(self.keys, 2 * self.count)
            self.next_use = np.resize(self.next_use, 2 * self.count)
            self.weight = np.resize(self.weight, 2 * self.count)
        place = self.count
        self.keys[place], self.next_use[place], self.weight[place] = key, following, self.weights[key]
        self.place_of[key] = place
        self.count += 1
        self.free -= size

    def _remove(self, place: int) -> None:
        key = self.keys[place]
        self.free += int(self.sizes[key])
        self.place_of[key] = -1
        self.count -= 1
        if place != self.count:
            moved = self.keys[self.count]
            self.keys[place], self.next_use[place] = moved, self.next_use[self.count]
            self.weight[place] = self.weight[self.count]
            self.place_of[moved] = place
