"""A dictionary for zlib, learned from the first values of a process.

Two DAGs share the shape of their tasks and many words. A compressor that knows these in advance saves a sixth on DAGs
of a hundred tasks with individual commands, and a third or more on small ones. A thaw takes no longer, and there is one
dictionary per process.
"""

from __future__ import annotations

import zlib

from dagcache.concurrency.lock import Lock
from dagcache.freezing.portable import NO_WORDS, digest_of_words

__all__ = ["LONGEST", "MOST", "PIECE", "VALUES", "Dictionaries", "Dictionary"]

LONGEST = 32 * 1024
"""The longest dictionary in bytes: the window of deflate."""
PIECE = 8 * 1024
"""Bytes that are taken from the beginning of each value. They are typical of all its parts."""
MOST = 64
"""The number of dictionaries that one process takes from others: bounds memory to `MOST` times `LONGEST`."""
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

    def adopt(self, words: bytes) -> None:
        """Use this dictionary instead of learning one, if none is learned yet."""
        self.words = self.words or words

    def _take(self, piece: bytes) -> None:
        if not self._learned or deflated(piece, self._learned) > _NEW * deflated(piece):
            # The most common text comes last: a reference to near text takes fewer bits.
            self._learned = (piece + self._learned)[:LONGEST]
        self._seen += 1
        if self._seen >= VALUES or len(self._learned) >= LONGEST:
            self.words = self._learned


class Dictionaries:
    """The process's own dictionary, and those of other processes. Thread-safe, without a lock.

    Frozen bytes name a dictionary by its position, from 0 for no dictionary.
    """

    def __init__(self) -> None:
        self.own = Dictionary()
        self._known: list[tuple[bytes, bytes]] = [(b"", NO_WORDS)]
        """With their digests. Only appended to: two threads that add the same one only waste a position."""

    def position_of(self, words: bytes) -> int:
        """The position of a dictionary, which is added if it is new."""
        for position, (known, _) in enumerate(self._known):
            if known is words:
                return position
        digest = digest_of_words(words)
        if self.find(digest) is None:
            self._known.append((words, digest))
        return next(position for position, (_, known) in enumerate(self._known) if known == digest)

    def at(self, position: int) -> bytes:
        """The dictionary at a position; raises IndexError if there is none."""
        return self._known[position][0]

    def digest_at(self, position: int) -> bytes:
        """The digest of the dictionary at a position; raises IndexError if there is none."""
        return self._known[position][1]

    def find(self, digest: bytes) -> int | None:
        """The position of the dictionary with a digest; None if it is unknown."""
        return next((position for position, (_, known) in enumerate(self._known) if known == digest), None)

    def adopt(self, words: bytes) -> bool:
        """Add a dictionary of another process; False if it is unusable, or there are too many.

        The process's own values are deflated with it, if there is no dictionary for them yet.
        """
        if not words or len(words) > LONGEST or len(self._known) > MOST:
            return False
        self.own.adopt(self.at(self.position_of(words)))
        return True


def deflated(text: bytes, words: bytes = b"", level: int = 1) -> int:
    """The compressed size in bytes, with or without a dictionary."""
    deflater = zlib.compressobj(level, zdict=words)
    return len(deflater.compress(text)) + len(deflater.flush())
