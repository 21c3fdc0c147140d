"""Traces of equal objects that isolate one property each: recency, popularity, and traps for predictors."""

from __future__ import annotations

import heapq
from collections import deque

import numpy as np

from benchmarks.policies.traces import Floats, Trace, build


def zipf(name: str = "zipf", seed: int = 5, count: int = 5000, length: int = 150_000, alpha: float = 0.8) -> Trace:
    """Independent draws by a Zipf law: only popularity counts."""
    rng = np.random.default_rng(seed)
    weights = _zipf_weights(count, alpha)
    keys = rng.permutation(count)[rng.choice(count, length, p=weights)]
    return _unit(name, keys, count, count, rng)


def recency(name: str = "recency", seed: int = 6, length: int = 120_000, depth: float = 300.0) -> Trace:
    """Each request picks an exponential stack distance of mean `depth`; 5 % are new keys."""
    rng = np.random.default_rng(seed)
    stack: list[int] = []
    keys: list[int] = []
    new = 0
    for _ in range(length):
        if not stack or rng.random() < 0.05:
            key = new
            new += 1
        else:
            key = stack.pop(-1 - min(len(stack) - 1, int(rng.exponential(depth))))
        stack.append(key)
        keys.append(key)
        if len(stack) > 20_000:
            del stack[:10_000]
    return _unit(name, keys, new, 5000, rng)


def twice(name: str = "twice", seed: int = 7, length: int = 100_000, gap: int = 400) -> Trace:
    """Every other request is of a key used exactly twice, `gap` apart, then dead; the rest is a hot set."""
    rng = np.random.default_rng(seed)
    hot = rng.choice(1000, length, p=_zipf_weights(1000, 0.6))
    pending: deque[tuple[int, int]] = deque()
    keys, new = [], 10_000
    for i in range(length):
        if i % 2 == 0:
            keys.append(int(hot[i]))
        elif pending and pending[0][0] <= i:
            keys.append(pending.popleft()[1])
        else:
            keys.append(new)
            pending.append((i + gap, new))
            new += 1
    return _unit(name, keys, new, 1400, rng)


def alternating(
    name: str = "alternating",
    seed: int = 8,
    count: int = 800,
    length: int = 120_000,
    short: float = 200.0,
    long: float = 3000.0,
) -> Trace:
    """Every key alternates short and long gaps, so that the last gap predicts the wrong next one."""
    rng = np.random.default_rng(seed)
    queue = [(float(rng.random() * 4000), key, False) for key in range(count)]
    heapq.heapify(queue)
    keys: list[int] = []
    while len(keys) < length:
        moment, key, was_long = heapq.heappop(queue)
        keys.append(key)
        gap = (short if was_long else long) * rng.lognormal(0, 0.1)
        heapq.heappush(queue, (moment + gap, key, not was_long))
    return _unit(name, keys, count, count, rng)


def slowdown(name: str = "slowdown", seed: int = 9, length: int = 120_000, growth: float = 1.15) -> Trace:
    """A loop with laps that grow by `growth` each time: the next gap is always longer than the last."""
    keys: list[int] = []
    lap = 200.0
    while len(keys) < length:
        keys.extend(range(int(lap)))
        lap *= growth
        if lap > 6000:
            lap = 200.0
    del keys[length:]
    return _unit(name, keys, max(keys) + 1, 2000, np.random.default_rng(seed))


def _zipf_weights(count: int, alpha: float) -> Floats:
    weights: Floats = np.arange(1.0, count + 1) ** -alpha
    weights /= weights.sum()
    return weights


def _unit(name: str, keys: object, count: int, working_set: float, rng: np.random.Generator) -> Trace:
    array = np.asarray(keys, np.int64)
    return build(
        name,
        np.arange(len(array)),
        array,
        family_of=np.arange(count),
        size_of=np.ones(count),
        working_set=working_set,
        rng=rng,
        unit=True,
    )
