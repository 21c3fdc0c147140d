"""The bytes of a record."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagcache.warm_start.keys import SigningKey
from dagcache.warm_start.record_format import MOST_RECORD_BYTES, decode, decode_head, encode, is_authentic
from dagcache.warm_start.store import WarmKey, WarmRecord
from tests.support.warm import key_of, record_of

SIGNING = SigningKey(b"secret", "abcd")
ENCODED = encode(key_of(7), record_of(7), 1234, SIGNING)

counts = st.integers(0, 2**64 - 1)
texts = st.text(st.characters(codec="utf-8"), max_size=60)
records = st.builds(
    WarmRecord,
    data=st.binary(max_size=200),
    live_bytes=counts,
    serialized_bytes=counts,
    load_seconds=st.floats(0, 1e6),
    family=texts,
    order=st.integers(-(2**63), 2**63 - 1),
)
keys = st.builds(WarmKey, version_id=st.uuids(), dag_hash=texts, last_updated=texts)


@given(keys, records, counts)
def test_a_record_comes_back(key: WarmKey, record: WarmRecord, stored_at: int) -> None:
    data = encode(key, record, stored_at, SIGNING)
    head = decode_head(data)
    assert head is not None
    assert (head.length, head.stored_at, head.version) == (len(data), stored_at, key.version_id.bytes)
    assert decode(data, SIGNING) == (key, record)


@given(st.integers(0, 8 * len(ENCODED) - 1))
def test_a_flipped_bit_anywhere_is_noticed(position: int) -> None:
    damaged = bytearray(ENCODED)
    damaged[position // 8] ^= 1 << position % 8
    assert not is_authentic(bytes(damaged), SIGNING)
    assert decode(bytes(damaged), SIGNING) is None


@pytest.mark.parametrize("length", range(len(ENCODED)))
def test_the_beginning_of_a_record_is_not_a_record(length: int) -> None:
    assert decode(ENCODED[:length], SIGNING) is None


def test_bytes_behind_a_record_are_not_a_part_of_it() -> None:
    assert decode(ENCODED + b"x", SIGNING) is None


@pytest.mark.parametrize("other", [SigningKey(b"Secret", "abcd"), SigningKey(b"secret", "abce")])
def test_a_record_of_another_key_or_fingerprint_is_not_authentic(other: SigningKey) -> None:
    assert decode(ENCODED, other) is None


def test_the_head_of_one_record_does_not_fit_the_rest_of_another() -> None:
    other = encode(key_of(8), record_of(7), 1234, SIGNING)
    assert len(other) == len(ENCODED)
    assert decode(other[:52] + ENCODED[52:], SIGNING) is None


@pytest.mark.parametrize(
    "wrong",
    [
        replace(record_of(1), live_bytes=-1),
        replace(record_of(1), order=2**63),
        replace(record_of(1), family="x" * 65_536),
        replace(record_of(1), data=bytes(MOST_RECORD_BYTES)),
    ],
    ids=["negative", "too large", "long text", "giant"],
)
def test_a_record_that_does_not_fit_is_refused(wrong: WarmRecord) -> None:
    with pytest.raises(ValueError, match=r"fit|above"):
        encode(key_of(1), wrong, 0, SIGNING)
