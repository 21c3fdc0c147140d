"""Threads that walk from one part of a DAG to the next, while another thread tries to take it apart.

``python -m tools.scorecard.measures.holding RELEASES [WAY [SEED]]`` prints the number of attempts to release a DAG
while one of four threads held a part of it, and the number of threads that found a damaged DAG. A thread holds one
object at a time, in one of the ways of `tests.support.holders`: the DAG, a task, a view, an iterator, a frame, and so
on.

``evictions``: through a cache, from which DAGs leave by SIZE, EXPIRED, a resize, an invalidation, a replacement, a pop,
a clear, or as they are served; some have two keys. ``censuses``: the breaker alone, over and over on one DAG that is
held: many more a second.
"""

from __future__ import annotations

import functools
import gc
import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from dagcache import DagCache
from dagcache.freezing.pickle_freezer import PickleFreezer
from dagcache.reclaim.breaker import GenericBreaker, Outcome
from tests.support.clock import ManualClock
from tests.support.graphs import SHARED
from tests.support.holders import STRONG, Holder, mapped_dag

KIB = 1024
THREADS = 4
_TASKS = 3
_SWITCH = 1e-4  # seconds: every second census or so is interrupted
_HOLD = 1.5e-3  # seconds: some two moves for each release; with much less, four threads leave the fifth no time
_CENSUSES = 1000  # of one DAG
_UNMOVING = ("a generator that runs", "an attribute of a class")  # they take a thread, or a collection


def _holders() -> list[Holder]:
    return [holder for name, holder in STRONG.items() if name not in _UNMOVING]


def _source() -> Callable[[], Any]:
    """Makes a DAG at each call."""
    freezer = PickleFreezer(SHARED)
    return functools.partial(freezer.thaw, freezer.freeze(mapped_dag(_TASKS, groups=1)).data)


def is_whole(dag: Any, tasks: int) -> bool:
    """Whether a DAG still has all of its parts; raises any error of a damaged one."""
    groups = [dag.task_group]
    found = 0
    for group in groups:
        assert group.dag is dag
        for child in group.children.values():
            if hasattr(child, "children"):
                groups.append(child)
            else:
                found += child.dag is dag and dag.task_dict[child.task_id] is child
    return bool(found == len(dag.task_dict) == tasks)


class Walkers:
    """Threads that each hold one object at a time, and move on to the next. They check every object that they reach."""

    def __init__(self, seed: int, take: Callable[[], Any], steps: int) -> None:
        self._take = take
        self._steps = steps
        self._over = threading.Event()
        self.damaged: Counter[str] = Counter()
        self.moves = 0
        self._threads = [
            threading.Thread(target=self._walk, args=[random.Random(f"{seed}/{n}")]) for n in range(THREADS)
        ]

    @contextmanager
    def walking(self) -> Iterator[None]:
        """While they do."""
        interval = sys.getswitchinterval()
        sys.setswitchinterval(_SWITCH)
        try:
            for thread in self._threads:
                thread.start()
            yield
        finally:
            self._over.set()
            for thread in self._threads:
                thread.join()
            sys.setswitchinterval(interval)

    def _walk(self, rng: random.Random) -> None:
        holders = _holders()
        while not self._over.is_set():
            dag = self._take()
            if dag is None:
                time.sleep(1e-5)
                continue
            try:
                for _ in range(self._steps):
                    hold = rng.choice(holders)
                    held, dag_of = hold(dag)
                    del dag
                    time.sleep(_HOLD)
                    dag = dag_of(held)
                    del held
                    assert is_whole(dag, _TASKS)
                    self.moves += 1
                    if self._is_to_drop():
                        break
            except Exception as error:
                self.damaged[f"{type(error).__name__}: {error}"[:80]] += 1
            dag = held = None
            self._dropped()

    def _is_to_drop(self) -> bool:
        return False

    def _dropped(self) -> None:
        """One has let go."""


class Counting:
    """A breaker that counts what it finds. The cache's own breakers may have more to say than `release`."""

    def __init__(self, breaker: Any) -> None:
        self._breaker = breaker
        self.outcomes: Counter[Outcome] = Counter()
        for name in ("arm", "seems_free"):
            if hasattr(breaker, name):
                setattr(self, name, getattr(breaker, name))

    def release(self, value_cell: list[object], *token: object) -> Outcome:
        """As the breaker."""
        outcome: Outcome = self._breaker.release(value_cell, *token)
        self.outcomes[outcome] += 1
        return outcome


def evictions(releases: int, seed: int = 1, breaker: Any = None) -> dict[str, Any]:
    """Have DAGs leave a cache in all ways until so many were to be taken apart while they were held."""
    load = _source()
    counting = Counting(breaker or GenericBreaker(SHARED))
    clock, rng = ManualClock(), random.Random(seed)
    cache: DagCache[int, Any] = DagCache(
        max_bytes=400 * KIB,
        ttl=100,
        clock=clock,
        sizer=lambda _: 100 * KIB,
        freezer=PickleFreezer(SHARED),
        shared=SHARED,
        breaker=counting,
    )
    keys = 8
    walkers = Walkers(seed, lambda: cache.get_or_load(random.randrange(keys), lambda _: load()), 12)
    leave: list[Callable[[int], object]] = [
        cache.invalidate,
        lambda key: cache.pop(key, None) and None,
        lambda key: cache.__setitem__(key, load()),
        lambda key: cache.__setitem__((key + 1) % keys, cache.get_or_load(key, lambda _: load())),
        lambda _: cache.resize(50 * KIB),
        lambda _: cache.resize(400 * KIB),
        lambda _: cache.clear(),
        lambda _: (clock.advance(200.0), cache.expire()),  # type: ignore[func-returns-value]
        *[lambda key: cache.get_or_load(key, lambda _: load()) and None] * 5,
    ]
    with walkers.walking():
        while counting.outcomes[Outcome.HELD] < releases and not walkers.damaged:
            rng.choice(leave)(rng.randrange(keys))
            clock.advance(0.01)
    cache.check_invariants()
    return _told(counting, walkers, cache.stats().unbroken_cycles)


class _Given(Walkers):
    """They all walk in the given DAG until they have to drop it."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, self._next, 10**4)
        self._taken = threading.local()
        self._round = 0
        self._box: list[Any] = []
        self._arrived = self._gone = 0
        self._lock = threading.Lock()

    def give(self, dag_cell: list[Any]) -> None:
        """All have it when this returns, and it is no more in the list."""
        with self._lock:
            self._arrived = self._gone = 0
            self._round += 1
            self._box = [dag_cell.pop()]
        while self._arrived < THREADS and not self.damaged:
            time.sleep(1e-5)

    def take_back(self) -> list[Any]:
        """Keep no reference but those of the threads."""
        box, self._box = self._box, []
        return box

    def drop(self) -> None:
        """None has it when this returns."""
        self._round += 1
        while self._gone < THREADS and not self.damaged:
            time.sleep(1e-5)

    def _next(self) -> Any:
        with self._lock:
            if not self._box or getattr(self._taken, "round", 0) == self._round:
                return None
            self._taken.round = self._round
            self._arrived += 1
            return self._box[0]

    def _is_to_drop(self) -> bool:
        return bool(self._taken.round != self._round)

    def _dropped(self) -> None:
        with self._lock:
            self._gone += 1


def censuses(releases: int, seed: int = 1) -> dict[str, Any]:
    """Try to take DAGs apart, so often, while all threads walk in them; then they must go at once."""
    load = _source()
    counting = Counting(GenericBreaker(SHARED))
    walkers = _Given(seed)
    left = 0
    with walkers.walking():
        while counting.outcomes[Outcome.HELD] < releases and not walkers.damaged:
            walkers.give([load()])
            cell = walkers.take_back()
            for _ in range(_CENSUSES):
                if counting.release(cell) is not Outcome.HELD:
                    break
            walkers.drop()
            if cell and counting.release(cell) is not Outcome.FREED:
                left += 1
    return _told(counting, walkers, left)


def _told(counting: Counting, walkers: Walkers, left: int) -> dict[str, Any]:
    return {
        "released_while_held": counting.outcomes[Outcome.HELD],
        "freed": counting.outcomes[Outcome.FREED],
        "skipped": counting.outcomes[Outcome.SKIPPED],
        "left": left,
        "moves": walkers.moves,
        "damaged": sum(walkers.damaged.values()),
        "errors": dict(walkers.damaged),
        "python": sys.version.split()[0],
    }


WAYS: dict[str, Callable[[int, int], dict[str, Any]]] = {"evictions": evictions, "censuses": censuses}


def main(releases: str, way: str = "censuses", seed: str = "1") -> None:
    """Print one JSON object. The collector is off, so every freed DAG was taken apart."""
    gc.disable()
    print(json.dumps(WAYS[way](int(releases), int(seed))))  # noqa: T201 - it is a command


if __name__ == "__main__":
    main(*sys.argv[1:])
