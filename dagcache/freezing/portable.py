"""The portable form: frozen bytes that another process with the same shared objects understands.

Portable form: a number of the format, the length of the pickle, its count of MEMOIZE bytes, the digest of the zlib
dictionary (zeros: none), the raw-deflated pickle. It has no checksum, because a store authenticates its records.

The dictionary is not a part of the form: it is as large as thirty small DAGs. The form names it, and a store keeps it
once. On small DAGs it saves more than half of the bytes.
"""

from __future__ import annotations

import hashlib
import struct
from typing import NamedTuple

from dagcache.errors import ThawError

__all__ = ["FORMAT", "NO_WORDS", "PortableForm", "digest_of_words"]

FORMAT = 1
"""Changes with the layout of the form and with the meaning of the pickles."""
_HEAD = struct.Struct("<BII16s")
NO_WORDS = bytes(16)
"""Stands for the digest if there is no dictionary."""


class PortableForm(NamedTuple):
    """The portable form, taken apart."""

    pickled_bytes: int
    memoized: int
    words: bytes
    """The digest of the dictionary, 16 bytes."""
    deflated: bytes

    def packed(self) -> bytes:
        """The form as bytes."""
        return _HEAD.pack(FORMAT, self.pickled_bytes, self.memoized, self.words) + self.deflated

    @classmethod
    def of(cls, data: bytes) -> PortableForm:
        """The form that these bytes are.

        Raises:
            ThawError: they are too short, or of another format.

        """
        if len(data) < _HEAD.size:
            raise ThawError(f"{len(data)} bytes are too short for a portable frozen form")
        number, pickled_bytes, memoized, words = _HEAD.unpack_from(data)
        if number != FORMAT:
            raise ThawError(f"a portable frozen form has format {number}, not {FORMAT}")
        return cls(pickled_bytes, memoized, words, data[_HEAD.size :])


def digest_of_words(words: bytes) -> bytes:
    """The digest by which a portable form names a dictionary, 16 bytes; `NO_WORDS` for an empty one."""
    return hashlib.sha256(words).digest()[: len(NO_WORDS)] if words else NO_WORDS
