"""Traces of cyclic sweeps, the heart of a scheduler's access pattern."""

from __future__ import annotations

import numpy as np

from benchmarks.policies.traces import KB, Trace, build, graph_sizes

PER_SECOND = 20.0


def loop(
    name: str = "loop",
    seed: int = 1,
    count: int = 1000,
    laps: int = 60,
    jitter: float = 0.0,
    repeats: float = 0.0,
    equal: bool = False,
) -> Trace:
    """`count` versions visited round robin, 20 per second.

    `jitter` is the standard deviation, in laps, of each visit's offset; `repeats` the chance of a second
    lookup 3 ms later; `equal` makes all versions 1000 KB.
    """
    rng = np.random.default_rng(seed)
    sizes = np.full(count, 1000 * KB) if equal else graph_sizes(rng, count)
    lap = count / PER_SECOND
    visits = np.arange(count)[None, :] / PER_SECOND + lap * np.arange(laps)[:, None]
    if jitter:
        visits = visits + rng.normal(0, jitter * lap, visits.shape)
    times = visits.ravel()
    keys = np.broadcast_to(np.arange(count), visits.shape).ravel()
    if repeats:
        again = rng.random(len(times)) < repeats
        times = np.concatenate([times, times[again] + 0.003])
        keys = np.concatenate([keys, keys[again]])
    return build(name, times, keys, family_of=np.arange(count), size_of=sizes, working_set=sizes.sum(), rng=rng)


def phase(
    name: str = "phase",
    seed: int = 2,
    count: int = 600,
    phases: int = 6,
    laps: int = 25,
    overlap: float = 0.25,
) -> Trace:
    """A swept working set of which all but `overlap` is replaced every `laps` laps."""
    rng = np.random.default_rng(seed)
    total = count * phases
    sizes = graph_sizes(rng, total)
    current, unused = list(range(count)), count
    keys: list[int] = []
    working_sets = []
    for _ in range(phases):
        working_sets.append(sizes[current].sum())
        keys.extend(current * laps)
        kept = [int(key) for key in rng.choice(current, int(count * overlap), replace=False)]
        fresh = list(range(unused, unused + count - len(kept)))
        unused += len(fresh)
        current = kept + fresh
        rng.shuffle(current)
    return build(
        name,
        _even_times(len(keys)),
        keys,
        family_of=np.arange(total),
        size_of=sizes,
        working_set=float(np.mean(working_sets)),
        rng=rng,
    )


def turning(name: str = "turning", seed: int = 13, count: int = 600, laps: int = 60, straight: int = 6) -> Trace:
    """A sweep that reverses its direction every `straight` laps."""
    rng = np.random.default_rng(seed)
    sizes = graph_sizes(rng, count)
    there = np.arange(count)
    keys = np.concatenate([there if lap // straight % 2 == 0 else there[::-1] for lap in range(laps)])
    times = _even_times(len(keys))
    return build(name, times, keys, family_of=there, size_of=sizes, working_set=sizes.sum(), rng=rng)


def _even_times(count: int) -> list[float]:
    times, now = [], 0.0
    for _ in range(count):
        times.append(now)
        now += 1 / PER_SECOND
    return times
