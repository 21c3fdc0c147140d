"""What the compressed values of a process have in common: a dictionary for zlib, learned from the first of them.

Two DAGs share the shape of their tasks and many of their words, and a compressor that knows these beforehand need not
spell them out: a sixth is saved on DAGs of a hundred tasks with commands of their own, a third and more on small ones.
It costs nothing to thaw, and one dictionary per process to keep.
"""

from __future__ import annotations

import zlib

from dagcache.concurrency.lock import Lock

__all__ = ["LONGEST", "PIECE", "VALUES", "Dictionary"]

LONGEST = 32 * 1024
"""Bytes: as far as deflate looks back."""
PIECE = 8 * 1024
"""Bytes from the beginning of each value: what stands there is what all its parts look like."""
VALUES = 64
"""So many values are looked at, if the dictionary is not full before."""
_NEW = 0.5  # of its compressed size: a piece of which less is new would teach little


class Dictionary:
    """Learns, and then never changes again: what was compressed with it can be inflated for ever. Thread-safe."""

    def __init__(self) -> None:
        self.words = b""
        """The dictionary, at most `LONGEST` bytes; empty until there is one."""
        self._learned = b""
        self._seen = 0
        self._lock = Lock()

    def words_for(self, value: bytes) -> bytes:
        """What to deflate a value with; while there is no dictionary that is nothing, and the value is learned from."""
        words = self.words
        if not words:
            self.learn(value)
        return words

    def learn(self, value: bytes) -> None:
        """Look at one more value; a few tenths of a millisecond for the first `VALUES`, and nothing afterwards."""
        if not self.words:
            self._lock.try_run(self._take, value[:PIECE])  # never waited for: another value will do

    def _take(self, piece: bytes) -> None:
        if not self._learned or deflated(piece, self._learned) > _NEW * deflated(piece):
            # What all have in common best comes last: what is near is referred to in fewer bits.
            self._learned = (piece + self._learned)[:LONGEST]
        self._seen += 1
        if self._seen >= VALUES or len(self._learned) >= LONGEST:
            self.words = self._learned


def deflated(text: bytes, words: bytes = b"", level: int = 1) -> int:
    """The compressed size in bytes, with or without a dictionary."""
    deflater = zlib.compressobj(level, zdict=words)
    return len(deflater.compress(text)) + len(deflater.flush())
