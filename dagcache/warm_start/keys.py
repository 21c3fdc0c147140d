"""The signing key of a warm store, and its derivation.

HKDF with SHA-256 is RFC 5869: a secret of any length and any use becomes a key of 32 bytes for this use alone. Neither
the secret nor the key has a text form, so neither can get into a log or a traceback's locals by `repr`.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

KEY_BYTES: Final = 32
TAG_BYTES: Final = 32

_HASH: Final = "sha256"
_HASH_BYTES: Final = 32
_SALT: Final = b"dagcache warm start"
_SIGNING: Final = b"sign records 1"
_NAMING: Final = b"name the key 1"


def hkdf_sha256(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """``length`` bytes of key material from a secret: RFC 5869, sections 2.2 and 2.3.

    Raises:
        ValueError: more than 255 blocks of 32 bytes.

    """
    if length > 255 * _HASH_BYTES:
        raise ValueError(f"length = {length} is above {255 * _HASH_BYTES}")
    extracted = hmac.digest(salt or bytes(_HASH_BYTES), secret, _HASH)
    block, material = b"", b""
    for number in range(1, -(-length // _HASH_BYTES) + 1):
        block = hmac.digest(extracted, block + info + bytes([number]), _HASH)
        material += block
    return material[:length]


class SigningKey:
    """Signs the records of one generation. Thread-safe; immutable.

    Args:
        secret: the secret that the key is derived from.
        fingerprint: the digest of the generation. A tag of one fingerprint is not valid under another one.

    """

    __slots__ = ("_context", "_key", "name")

    def __init__(self, secret: bytes, fingerprint: str) -> None:
        self._key = hkdf_sha256(secret, _SALT, _SIGNING, KEY_BYTES)
        self._context = hashlib.sha256(b"dagcache warm start 1\0" + fingerprint.encode()).digest()
        self.name = hkdf_sha256(secret, _SALT, _NAMING, 8).hex()
        """16 hexadecimal digits that identify the key, and from which the key cannot be computed."""

    def __repr__(self) -> str:
        """The class alone."""
        return "SigningKey(...)"

    def tag(self, signed: bytes) -> bytes:
        """The HMAC-SHA256 over the fingerprint and some bytes."""
        return hmac.digest(self._key, self._context + signed, _HASH)

    def is_valid(self, tag: bytes, signed: bytes) -> bool:
        """Whether a tag belongs to these bytes, compared in constant time."""
        return hmac.compare_digest(tag, self.tag(signed))
