"""The derivation of the signing key, and its silence."""

from __future__ import annotations

import pytest

from dagcache.warm_start.keys import SigningKey, hkdf_sha256

VECTORS = {
    "RFC 5869, A.1": (
        "0b" * 22,
        "000102030405060708090a0b0c",
        "f0f1f2f3f4f5f6f7f8f9",
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    ),
    "RFC 5869, A.2": (
        bytes(range(0x50)).hex(),
        bytes(range(0x60, 0xB0)).hex(),
        bytes(range(0xB0, 0x100)).hex(),
        "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09"
        "da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
    ),
    "RFC 5869, A.3": (
        "0b" * 22,
        "",
        "",
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    ),
}


@pytest.mark.parametrize(("secret", "salt", "info", "expected"), VECTORS.values(), ids=VECTORS)
def test_the_derivation_is_that_of_rfc_5869(secret: str, salt: str, info: str, expected: str) -> None:
    material = bytes.fromhex(expected)
    texts = bytes.fromhex(secret), bytes.fromhex(salt), bytes.fromhex(info)
    assert hkdf_sha256(*texts, len(material)) == material


def test_more_than_255_blocks_are_refused() -> None:
    assert len(hkdf_sha256(b"s", b"", b"", 255 * 32)) == 255 * 32
    with pytest.raises(ValueError, match="8161"):
        hkdf_sha256(b"s", b"", b"", 255 * 32 + 1)


def test_a_tag_is_valid_for_its_bytes_key_and_fingerprint_only() -> None:
    signing = SigningKey(b"secret", "abcd")
    tag = signing.tag(b"bytes")
    assert signing.is_valid(tag, b"bytes")
    assert not signing.is_valid(tag, b"Bytes")
    assert not SigningKey(b"Secret", "abcd").is_valid(tag, b"bytes")
    assert not SigningKey(b"secret", "abce").is_valid(tag, b"bytes")


def test_a_key_does_not_show_itself() -> None:
    """Not even a part of its secret."""
    signing = SigningKey(b"correct horse", "abcd")
    assert repr(signing) == "SigningKey(...)"
    assert signing._key.hex() not in f"{signing} {signing.name}"
    assert signing.name != SigningKey(b"correct house", "abcd").name
