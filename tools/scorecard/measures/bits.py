"""One flipped bit in a frozen copy: the copy is refused, and the value is loaded again.

``python -m tools.scorecard.measures.bits NUMBER [SEED]``.
"""

from __future__ import annotations

import json
import logging
import random
import sys
from typing import Any

from dagcache import DagCache
from dagcache.core.entry import Entry
from tests.support.graphs import SHARED, as_json, from_json, make_json


def flip(number: int, seed: int) -> dict[str, Any]:
    """Flip one bit of a small DAG's copy at a time; the result of each lookup."""
    text = json.dumps(make_json(3, seed))
    cache: DagCache[str, Any] = DagCache(max_bytes=0, shared=SHARED)
    cache.get_or_load("dag", lambda _: from_json(text))
    wrong = 0
    entry: Entry = cache._store.entries["dag"]
    assert entry.frozen is not None
    whole = entry.frozen.data
    rng = random.Random(seed)
    every = range(len(whole) * 8)
    for bit in rng.sample(every, number) if number < len(every) else rng.choices(every, k=number):
        _damage(cache, whole, bit)
        failures = cache.stats().thaw_failures
        found: Any = cache.get_or_load("dag", lambda _: from_json(text))
        wrong += cache.stats().thaw_failures != failures + 1 or not _is(found, text)
        del found  # while it is held, lookups share it
    cache.check_invariants()
    return {"flips": number, "wrong": wrong, "bits": len(every)}


def _is(found: Any, text: str) -> bool:
    """Whether a value is the DAG of a text; a damaged one may be anything."""
    try:
        return as_json(found) == as_json(from_json(text))
    except Exception:
        return False


def _damage(cache: DagCache[str, Any], whole: bytes, bit: int) -> None:
    """Leave only a frozen copy, with one bit flipped."""
    damaged = bytearray(whole)
    damaged[bit // 8] ^= 1 << bit % 8
    frozen = cache.stats().frozen_bytes + cache.stats().overhead_bytes
    cache.resize(max(1, 2 * frozen))  # what is held of the live copy takes up to a quarter of it
    cache.resize(0)
    entry: Entry = cache._store.entries["dag"]
    assert entry.live is None
    assert entry.frozen is not None
    before = len(entry.frozen.data)
    entry.frozen.data = bytes(damaged)
    cache._store.ledger.frozen_bytes += len(damaged) - before
    cache._section._torn = True  # have the totals recomputed: this was behind the store's back


if __name__ == "__main__":
    logging.getLogger("dagcache").setLevel(logging.CRITICAL)
    print(json.dumps(flip(int(sys.argv[1]), int((sys.argv[2:] or ["1"])[0]))))  # noqa: T201
