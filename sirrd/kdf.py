"""HMAC-SHA256 and HKDF-SHA256 over the SHA-256 of the standard library.

Both are a few lines. They are needed several times a request, and the general ones take twice as long: see
docs/decisions/0008. The vectors of their RFCs stand in `tests/test_kdf.py`.
"""

from __future__ import annotations

import hashlib
from typing import Final

_BLOCK_BYTES: Final = 64
_INNER_PAD: Final = bytes(byte ^ 0x36 for byte in range(256))
_OUTER_PAD: Final = bytes(byte ^ 0x5C for byte in range(256))


def _hmac(key: bytes, message: bytes) -> bytes:
    """Return HMAC-SHA256 (RFC 2104): 32 bytes."""
    if len(key) > _BLOCK_BYTES:
        key = hashlib.sha256(key).digest()
    block = key.ljust(_BLOCK_BYTES, b"\0")
    inner = hashlib.sha256(block.translate(_INNER_PAD) + message).digest()
    return hashlib.sha256(block.translate(_OUTER_PAD) + inner).digest()


def hkdf(secret: bytes, *, salt: bytes, info: bytes, size: int) -> bytes:
    """Derive `size` bytes by HKDF-SHA256 (RFC 5869); there are at most 8160 of them."""
    key = _hmac(salt, secret)
    block = output = _hmac(key, info + b"\1")
    while len(output) < size:
        block = _hmac(key, block + info + bytes([len(output) // len(block) + 1]))
        output += block
    return output[:size]


class KeyedHash:
    """HMAC-SHA256 (RFC 2104) under one key, with the key's two blocks hashed beforehand.

    That is a third of what `hmac` takes for a message of a hundred bytes; and unlike `hmac.digest` it keeps the
    interpreter's lock, whose loss costs a busy event loop more than the hash.
    """

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        if len(key) > _BLOCK_BYTES:
            raise ValueError("a longer key would have to be hashed first")
        block = key.ljust(_BLOCK_BYTES, b"\0")
        self._inner = hashlib.sha256(block.translate(_INNER_PAD))
        self._outer = hashlib.sha256(block.translate(_OUTER_PAD))

    def __call__(self, message: bytes) -> bytes:
        """Return 32 bytes."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(message)
        outer.update(inner.digest())
        return outer.digest()
