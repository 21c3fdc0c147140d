"""A dictionary for zlib, learned from the first values of a process.

Two DAGs share the shape of their tasks and many words. A compressor that knows these in advance saves a sixth on DAGs
of a hundred tasks with individual commands, and a third or more on small ones. A thaw takes no longer, and there is one
dictionary per process.
"""

from __future__ import annotations

import zlib

from dagcache.concurrency.lock import Lock

__all__ = ["LONGEST", "PIECE", "VALUES", "Dictionary"]

LONGEST = 32 * 1024
"""The longest dictionary in bytes: the window of deflate."""
PIECE = 8 * 1024
"""Bytes that are taken from the beginning of each value. They are typical of all its parts."""
VALUES = 64
"""The number of values to learn from, unless the dictionary is full earlier."""
_NEW = 0.5  # share of its compressed size: with less that is new, a piece adds little


class Dictionary:
    """Learns once and then never changes, so that all values stay readable. Thread-safe."""

    def __init__(self) -> None:
        self.words = b""
        """The dictionary, at most `LONGEST` bytes; empty until there is one."""
        self._learned = b""
        self._seen = 0
        self._lock = Lock()

    def words_for(self, value: bytes) -> bytes:
        """The dictionary for deflating a value. Empty while there is none; then this learns from the value."""
        words = self.words
        if not words:
            self.learn(value)
        return words

    def learn(self, value: bytes) -> None:
        """Learn from one more value: a few tenths of a millisecond for the first `VALUES`, and no time afterwards."""
        if not self.words:
            self._lock.try_run(self._take, value[:PIECE])  # no wait: another value serves as well

    def _take(self, piece: bytes) -> None:
        if not self._learned or deflated(piece, self._learned) > _NEW * deflated(piece):
            # The most common text comes last: a reference to near text takes fewer bits.
            self._learned = (piece + self._learned)[:LONGEST]
        self._seen += 1
        if self._seen >= VALUES or len(self._learned) >= LONGEST:
            self.words = self._learned


def deflated(text: bytes, words: bytes = b"", level: int = 1) -> int:
    """The compressed size in bytes, with or without a dictionary."""
    deflater = zlib.compressobj(level, zdict=words)
    return len(deflater.compress(text)) + len(deflater.flush())
