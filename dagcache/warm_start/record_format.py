"""The record of a pack: its bytes, and the way back.

A pack is a sequence of records without a header or a trailer. All numbers are little-endian.

===========  ======  ==========================================================================================
offset       bytes   field
===========  ======  ==========================================================================================
0            8       magic: ``89 44 43 57 31 0D 0A 1A`` (one byte outside of ASCII, ``DCW1``, line ends)
8            4       length of the whole record in bytes, with magic and tag
12           8       time of storing, nanoseconds since 1970 in UTC
20           16      version id
36           16      content: the first 16 bytes of SHA-256 over version id, hash and time of change
52           8       weight of the loaded DAG, bytes
60           8       size of the serialised DAG, bytes
68           8       time of the load, seconds, as an IEEE 754 double
76           8       number of the version, signed
84           2+2+2   lengths of the three texts that follow, bytes
90           ...     DAG hash, time of change, DAG id, in UTF-8
...          ...     the portable frozen form
length - 32  32      tag: HMAC-SHA256 over SHA-256(context, fingerprint) and all bytes before the tag
===========  ======  ==========================================================================================

A reader finds the next record by the length. If there is no magic at that place, one of the two records is damaged. The
reader then looks for the next magic behind the beginning of the first one. Frozen data may contain these bytes by
chance: the tag decides.

The header is not authenticated until the record is read. A wrong header leads to a record whose tag is not valid, or
to no record at all: a miss in both cases.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Final, NamedTuple
from uuid import UUID

from dagcache.warm_start.keys import TAG_BYTES, SigningKey
from dagcache.warm_start.store import WarmKey, WarmRecord

MAGIC: Final = b"\x89DCW1\r\n\x1a"
MOST_RECORD_BYTES: Final = 64 * 2**20
"""A record beyond this is not stored; a length beyond this is damage."""

_HEAD: Final = struct.Struct("<8sIQ16s16s")
_FACTS: Final = struct.Struct("<QQdqHHH")
HEAD_BYTES: Final = _HEAD.size
LEAST_RECORD_BYTES: Final = _HEAD.size + _FACTS.size + TAG_BYTES
_LONGEST_TEXT: Final = 0xFFFF


class Head(NamedTuple):
    """The fixed beginning of a record, not authenticated."""

    length: int
    """Of the whole record, bytes."""
    stored_at: int
    """Nanoseconds since 1970 in UTC."""
    version: bytes
    """The version id, 16 bytes."""
    content: bytes
    """`content_of` the key, 16 bytes."""


def content_of(key: WarmKey) -> bytes:
    """16 bytes that stand for the content of a version."""
    text = b"\0".join((key.dag_hash.encode(), key.last_updated.encode()))
    return hashlib.sha256(key.version_id.bytes + text).digest()[:16]


def encode(key: WarmKey, record: WarmRecord, stored_at: int, signing: SigningKey) -> bytes:
    """The bytes of a record.

    Raises:
        ValueError: a number or a text does not fit its field, or the record is above `MOST_RECORD_BYTES`.

    """
    texts = [text.encode() for text in (key.dag_hash, key.last_updated, record.family)]
    length = LEAST_RECORD_BYTES + sum(map(len, texts)) + len(record.data)
    if length > MOST_RECORD_BYTES:
        raise ValueError(f"a record of {length} bytes is above {MOST_RECORD_BYTES}")
    try:
        head = _HEAD.pack(MAGIC, length, stored_at, key.version_id.bytes, content_of(key))
        facts = _FACTS.pack(
            record.live_bytes, record.serialized_bytes, record.load_seconds, record.order, *map(len, texts)
        )
    except struct.error as error:
        raise ValueError(f"a fact of the record does not fit its field: {error}") from error
    signed = b"".join((head, facts, *texts, record.data))
    return signed + signing.tag(signed)


def decode_head(data: bytes) -> Head | None:
    """The head at the beginning of some bytes; None if there is none."""
    if len(data) < HEAD_BYTES:
        return None
    magic, length, stored_at, version, content = _HEAD.unpack_from(data)
    if magic != MAGIC or not LEAST_RECORD_BYTES <= length <= MOST_RECORD_BYTES:
        return None
    return Head(length, stored_at, version, content)


def is_lasting(data: bytes) -> bool:
    """Whether the beginning of a record, `LEAST_RECORD_BYTES` or more, is that of one without a time of change.

    Such a record is not a version: other records of the generation depend on it, as on a dictionary.
    """
    return len(data) >= LEAST_RECORD_BYTES and _FACTS.unpack_from(data, HEAD_BYTES)[5] == 0


def is_authentic(data: bytes, signing: SigningKey) -> bool:
    """Whether the bytes are one whole record with a valid tag."""
    head = decode_head(data)
    return head is not None and head.length == len(data) and signing.is_valid(data[-TAG_BYTES:], data[:-TAG_BYTES])


def decode(data: bytes, signing: SigningKey) -> tuple[WarmKey, WarmRecord] | None:
    """The key and the record of authentic bytes; None if they are not authentic."""
    if not is_authentic(data, signing):
        return None
    live, serialized, seconds, order, *lengths = _FACTS.unpack_from(data, HEAD_BYTES)
    texts, at = [], HEAD_BYTES + _FACTS.size
    for length in lengths:
        texts.append(data[at : at + length].decode())
        at += length
    version = UUID(bytes=data[20:36])
    record = WarmRecord(data[at:-TAG_BYTES], live, serialized, seconds, texts[2], order)
    return WarmKey(version, texts[0], texts[1]), record
