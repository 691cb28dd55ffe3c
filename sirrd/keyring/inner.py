"""Inner keys, which are made for a database and kept in it, and what secrets are named by under them."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from sirrd.entropy import Entropy
from sirrd.kdf import KeyedHash
from sirrd.keyring.forms import FINGERPRINT_BYTES, KEY_BYTES, derive, pack
from sirrd.model import Attempt, BareKey, Identity

_DROP: Final = pack(b"drop", b"")


@dataclass(frozen=True, slots=True)
class InnerKeys:
    """Keys that are made once for a database; 32 bytes each.

    Attributes:
        index: For the blind indexes.
        fingerprint: For fingerprints.
        audit: For sealing and chaining audit rows.
        signing: For what is signed to the outside.
    """

    index: bytes = field(repr=False)
    fingerprint: bytes = field(repr=False)
    audit: bytes = field(repr=False)
    signing: bytes = field(repr=False)

    @classmethod
    def make(cls, entropy: Entropy) -> InnerKeys:
        """Make the keys of a new database."""
        return cls(*(entropy(KEY_BYTES) for _ in range(4)))


class Generation(NamedTuple):
    """Inner keys that were renewed.

    Attributes:
        number: Its number, from 0.
        keys: The inner keys.
        ended_at: When the next generation began, in Unix seconds.
        is_moving: Whether secrets may still be found under them.
    """

    number: int
    keys: InnerKeys
    ended_at: int
    is_moving: bool


class Names:
    """What secrets are found by, and called, under one generation of inner keys."""

    def __init__(self, number: int, inner: InnerKeys, *, ended_at: int | None = None) -> None:
        self.number = number
        self.ended_at = ended_at
        self.audit_key = inner.audit
        self._index_hash = KeyedHash(inner.index)
        self._fingerprint_hash = KeyedHash(inner.fingerprint)
        self._attempt_hash = KeyedHash(derive(inner.index, salt=b"", purpose=b"attempt"))

    def __repr__(self) -> str:
        return f"<Names {self.number}>"

    def lookup(self, identity: Identity) -> bytes:
        """Return the place of a secret in the blind index: 32 bytes."""
        if identity.org is None:
            return self._index_hash(_DROP + pack(identity.name.encode()))
        return self._index_hash(pack(b"org secret", identity.org.encode(), identity.name.encode()))

    def bare_lookup(self, key: BareKey) -> bytes:
        """Return what all org secrets of that key are found by, over all orgs: 32 bytes."""
        return self._index_hash(pack(b"bare key", key.name.encode()))

    def org_lookup(self, org: str) -> bytes:
        """Return what all secrets of an org are found by: 32 bytes."""
        return self._index_hash(pack(b"org", org.encode()))

    def places(self, identity: Identity) -> tuple[bytes, bytes | None, bytes | None]:
        """Return `lookup`, and for an org secret what its bare key and its org are found by."""
        lookup = self.lookup(identity)
        if identity.org is None:
            return lookup, None, None
        return lookup, self.bare_lookup(BareKey(identity.name)), self.org_lookup(identity.org)

    def fingerprint(self, lookup: bytes) -> str:
        """Return what logs and audit call the secret by: 16 hex digits."""
        return self._fingerprint_hash(lookup)[:FINGERPRINT_BYTES].hex()

    def attempt_hash(self, seq: int, attempt: Attempt) -> bytes:
        """Return what an attempt at one record is known by: 32 bytes. The record is named by its sequence number."""
        return self._attempt_hash(struct.pack(">q", seq) + attempt.secret)
