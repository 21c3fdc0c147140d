"""Known eviction policies, each aware of bytes, for comparison."""

from __future__ import annotations

from benchmarks.policies.rivals.adaptive import ARC
from benchmarks.policies.rivals.base import Rival
from benchmarks.policies.rivals.frequency import GDSF, LFU, WTinyLFU
from benchmarks.policies.rivals.lirs import LIRS
from benchmarks.policies.rivals.queues import FIFO, S3FIFO, Sieve, TwoQueues
from benchmarks.policies.rivals.recency import LRU

__all__ = ["RIVALS", "Rival"]

RIVALS: dict[str, type[Rival]] = {
    "LIRS": LIRS,
    "S3-FIFO": S3FIFO,
    "W-TinyLFU": WTinyLFU,
    "2Q": TwoQueues,
    "GDSF": GDSF,
    "SIEVE": Sieve,
    "ARC": ARC,
    "LRU": LRU,
    "LFU": LFU,
    "FIFO": FIFO,
}
