"""Byte forms that everything sealed shares: sizes, heads, joined parts, and keys derived for one purpose."""

from __future__ import annotations

from typing import Final

from sirrd.kdf import hkdf

KEY_BYTES: Final = 32
SALT_BYTES: Final = 32
KEY_ID_BYTES: Final = 8
FINGERPRINT_BYTES: Final = 8
ERASED_SALT: Final = bytes(SALT_BYTES)
DELIVERY_BYTES: Final = 61
ERASED_DELIVERY: Final = bytes(DELIVERY_BYTES)

GENERATION_BYTES: Final = 4

VERSION: Final = b"\x01"
RENEWED: Final = b"\x02"  # of a label that names its generation; those of the first need not
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
HEAD_BYTES: Final = len(VERSION) + KEY_ID_BYTES + NONCE_BYTES


def derive(secret: bytes, *, salt: bytes, purpose: bytes, size: int = KEY_BYTES) -> bytes:
    """Derive a key for one purpose."""
    return hkdf(secret, salt=salt, info=b"sirrd/1/" + purpose, size=size)


def pack(*parts: bytes) -> bytes:
    """Join byte strings so that no two different lists of them give the same bytes: each after its length."""
    return b"".join([len(part).to_bytes(4) + part for part in parts])


def unpack(packed: bytes) -> list[bytes]:
    """Take apart what `pack` joined.

    Raises:
        ValueError: It was not made by `pack`.
    """
    parts, at = [], 0
    while at < len(packed):
        start = at + 4
        at = start + int.from_bytes(packed[at:start])
        parts.append(packed[start:at])
    if at != len(packed):
        raise ValueError("truncated")
    return parts


def key_id_of(sealed: bytes) -> bytes:
    """Return the id of the master key that something was sealed under."""
    return sealed[1 : 1 + KEY_ID_BYTES]


def generation_of(label: bytes) -> int:
    """Return the generation of inner keys that the record of a label is found by."""
    at = 1 + KEY_ID_BYTES
    return int.from_bytes(label[at : at + GENERATION_BYTES]) if label[:1] == RENEWED else 0
