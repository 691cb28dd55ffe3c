"""HMAC and HKDF: what their RFCs say, and what others compute."""

from __future__ import annotations

import hmac

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given, settings
from hypothesis import strategies as st

from sirrd.kdf import KeyedHash, hkdf

RFC_5869 = [
    (
        bytes([0x0B]) * 22,
        bytes(range(13)),
        bytes(range(0xF0, 0xFA)),
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    ),
    (
        bytes(range(80)),
        bytes(range(0x60, 0xB0)),
        bytes(range(0xB0, 0x100)),
        (
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09"
            "da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87"
        ),
    ),
    (
        bytes([0x0B]) * 22,
        b"",
        b"",
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    ),
]


@pytest.mark.parametrize(("secret", "salt", "info", "output"), RFC_5869)
def test_hkdf_gives_what_rfc_5869_says(secret: bytes, salt: bytes, info: bytes, output: str) -> None:
    """Its test cases 1 to 3, whose salts are longer than a block of the hash, and empty."""
    assert hkdf(secret, salt=salt, info=info, size=len(output) // 2).hex() == output


@settings.get_profile("fuzz")
@given(
    st.binary(max_size=100), st.binary(max_size=100), st.binary(max_size=40), st.integers(min_value=1, max_value=8160)
)
def test_hkdf_gives_what_another_one_gives(secret: bytes, salt: bytes, info: bytes, size: int) -> None:
    """The one of `cryptography`, for any input and every size that there is."""
    assert hkdf(secret, salt=salt, info=info, size=size) == HKDF(SHA256(), size, salt, info).derive(secret)


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 5000])
def test_the_keyed_hash_is_hmac_sha256(size: int) -> None:
    """What is computed in two prepared halves is HMAC-SHA256 as the standard library has it."""
    key, message = bytes(range(32)), b"m" * size
    assert KeyedHash(key)(message) == hmac.digest(key, message, "sha256")
