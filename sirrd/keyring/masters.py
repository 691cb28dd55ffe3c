"""Master keys: those of the operator, of which the first seals and the others only open."""

from __future__ import annotations

import contextlib
import re
import struct
from collections.abc import Sequence
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sirrd.entropy import Entropy
from sirrd.errors import BadSetting, WrongKey
from sirrd.keyring.forms import HEAD_BYTES, KEY_ID_BYTES, NONCE_BYTES, VERSION, derive, key_id_of, pack, unpack
from sirrd.keyring.inner import InnerKeys

_MASTER_KEY = re.compile(r"[0-9A-Fa-f]{64}")


class MasterKey(NamedTuple):
    """One of the operator's keys.

    Attributes:
        id: 8 bytes that name the key without telling anything about it.
        secret: 32 bytes.
    """

    id: bytes
    secret: bytes

    def __repr__(self) -> str:
        return "<MasterKey>"

    @classmethod
    def of(cls, secret: bytes) -> MasterKey:
        """Name a key of 32 bytes."""
        return cls(derive(secret, salt=b"", purpose=b"master key id", size=KEY_ID_BYTES), secret)

    @property
    def hex(self) -> str:
        """The key as it stands in a key file: 64 hex digits."""
        return self.secret.hex()


def parse_master_keys(text: str) -> tuple[MasterKey, ...]:
    """Parse master keys of 64 hex digits each, one per line or comma; empty lines and `#` comments are skipped.

    Raises:
        BadSetting: There is none, one is malformed, or one stands there twice.
    """
    lines = [line.split("#", 1)[0] for line in text.splitlines()]
    written = [part.strip() for line in lines for part in line.split(",") if part.strip()]
    if not written:
        raise BadSetting("the master encryption key is empty", hint="a key is 64 hex digits: openssl rand -hex 32")
    if not all(_MASTER_KEY.fullmatch(key) for key in written):
        raise BadSetting("a master encryption key is not 64 hex digits", hint="make one with: openssl rand -hex 32")
    keys = tuple(MasterKey.of(bytes.fromhex(key)) for key in written)
    if len({key.secret for key in keys}) < len(keys):
        raise BadSetting("a master encryption key stands there twice")
    return keys


class MasterKeys:
    """The master keys, before a database was opened: seals and opens what the database keeps about its own keys."""

    def __init__(self, masters: Sequence[MasterKey], entropy: Entropy) -> None:
        self.first = masters[0]
        self.by_id = {key.id: key for key in masters}
        self.entropy = entropy

    def seal_inner(self, keys: InnerKeys) -> bytes:
        """Seal the inner keys under the first master key."""
        return self._seal(b"inner keys", pack(keys.index, keys.fingerprint, keys.audit, keys.signing))

    def open_inner(self, sealed: bytes) -> InnerKeys:
        """Open what `seal_inner` made.

        Raises:
            WrongKey: No master key opens it.
        """
        return InnerKeys(*unpack(self._open(b"inner keys", sealed)))

    def seal_older(self, number: int, keys: InnerKeys) -> bytes:
        """Seal the inner keys of an older generation under the first master key; they never pass for those of now."""
        return self._seal(_older(number), pack(keys.index, keys.fingerprint, keys.audit, keys.signing))

    def open_older(self, number: int, sealed: bytes) -> InnerKeys:
        """Open what `seal_older` made; errors as in `open_inner`."""
        return InnerKeys(*unpack(self._open(_older(number), sealed)))

    def check_value(self) -> bytes:
        """Make the value by which a later start knows the first master key again."""
        return self._seal(b"check", b"")

    def verify(self, check_value: bytes) -> None:
        """Check that the key which made a check value is here.

        Raises:
            WrongKey: It is not.
        """
        self._open(b"check", check_value)

    def _seal(self, purpose: bytes, plain: bytes) -> bytes:
        nonce = self.entropy(NONCE_BYTES)
        head = VERSION + self.first.id + nonce
        return head + AESGCM(derive(self.first.secret, salt=b"", purpose=purpose)).encrypt(nonce, plain, head)

    def _open(self, purpose: bytes, sealed: bytes) -> bytes:
        head, body = sealed[:HEAD_BYTES], sealed[HEAD_BYTES:]
        master = self.by_id.get(key_id_of(head))
        if master is not None and head[:1] == VERSION:
            cipher = AESGCM(derive(master.secret, salt=b"", purpose=purpose))
            with contextlib.suppress(InvalidTag):
                return cipher.decrypt(head[-NONCE_BYTES:], body, head)
        raise WrongKey(
            "the master encryption keys do not open this database",
            hint="start with the key file or SIRR_MASTER_ENCRYPTION_KEY that this data folder was made with; "
            "after a key change, keep the older keys behind the first one",
        )


def _older(number: int) -> bytes:
    return b"older inner keys" + struct.pack(">q", number)
