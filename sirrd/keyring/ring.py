"""The keyring: seals and opens records, finds them without knowing their names, and begins audit chains."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sirrd.errors import Unreadable
from sirrd.keyring.chain import AuditChain
from sirrd.keyring.forms import (
    DELIVERY_BYTES,
    GENERATION_BYTES,
    HEAD_BYTES,
    KEY_BYTES,
    KEY_ID_BYTES,
    NONCE_BYTES,
    RENEWED,
    SALT_BYTES,
    TAG_BYTES,
    VERSION,
    derive,
    generation_of,
    key_id_of,
    pack,
    unpack,
)
from sirrd.keyring.inner import Generation, InnerKeys, Names
from sirrd.keyring.masters import MasterKeys
from sirrd.model import Attempt, BareKey, Identity, Plaintext, Terms

_NO_ORG: Final = pack(b"")


class SealedRecord(NamedTuple):
    """A secret as it is stored.

    Attributes:
        lookup: 32 bytes: its place in the blind index, by which it is found.
        salt: 32 random bytes, stored apart, in a slot that is overwritten when the secret goes.
        sealed: The sealed value.
        label: The sealed name.
        terms: Bound into both.
    """

    lookup: bytes
    salt: bytes
    sealed: bytes
    label: bytes
    terms: Terms

    def __repr__(self) -> str:
        return "<SealedRecord>"

    @property
    def generation(self) -> int:
        """Of the inner keys that it is found by."""
        return generation_of(self.label)


class Keyring:
    """Seals and opens records, and finds them without knowing their names.

    Attributes:
        names: Those of the inner keys of now.
        older: Those of every older generation, the newest first.
        moving: Those of them under which secrets may still be found; usually none.
    """

    def __init__(
        self, masters: MasterKeys, inner: InnerKeys, *, number: int = 0, older: Sequence[Generation] = ()
    ) -> None:
        self._owners = masters
        self._entropy = masters.entropy
        self.older: tuple[Names, ...] = ()
        self.moving: tuple[Names, ...] = ()
        self.names: Names
        self.renew(inner, number=number, older=older)

    def __repr__(self) -> str:
        return "<Keyring>"

    # The master keys.

    @property
    def first_id(self) -> bytes:
        """The id of the key that seals: 8 bytes."""
        return self._owners.first.id

    @property
    def masters(self) -> MasterKeys:
        """The master keys."""
        return self._owners

    def use(self, masters: MasterKeys) -> None:
        """Seal with the first of other master keys from now on; they must open all that was sealed before."""
        self._owners = masters

    # The inner keys.

    def renew(self, inner: InnerKeys, *, number: int, older: Sequence[Generation]) -> None:
        """Name with other inner keys from now on, and find what older ones have named.

        It may be called beside a reader on another thread: whoever sees the new names sees the older ones, too.
        """
        held = sorted(older, reverse=True)
        self.older = tuple(Names(each.number, each.keys, ended_at=each.ended_at) for each in held)
        moving = {each.number for each in held if each.is_moving}
        self.moving = tuple(names for names in self.older if names.number in moving)
        self.names = Names(number, inner)

    def moved(self) -> None:
        """Note that nothing is found under older keys any more."""
        self.moving = ()

    def every_names(self) -> tuple[Names, ...]:
        """Return the names under which a secret may be found: those of now, and usually no others."""
        names = self.names
        return (names, *(each for each in self.moving if each.number != names.number)) if self.moving else (names,)

    def org_lookups(self, org: str) -> list[bytes]:
        """Return what the secrets of an org may be found by: `org_lookup`, and usually nothing else."""
        return [names.org_lookup(org) for names in self.every_names()]

    def names_of(self, number: int | None) -> Names:
        """Return the names of a generation; those of now for one that there never was."""
        return next((names for names in self.older if names.number == number), self.names)

    # Finding.

    def lookup(self, identity: Identity) -> bytes:
        """Return the place of a secret in the blind index: 32 bytes."""
        return self.names.lookup(identity)

    def bare_lookup(self, key: BareKey) -> bytes:
        """Return what all org secrets of that key are found by, over all orgs: 32 bytes."""
        return self.names.bare_lookup(key)

    def org_lookup(self, org: str) -> bytes:
        """Return what all secrets of an org are found by: 32 bytes."""
        return self.names.org_lookup(org)

    def fingerprint(self, lookup: bytes) -> str:
        """Return what logs and audit call the secret by: 16 hex digits."""
        return self.names.fingerprint(lookup)

    def fingerprints(self, identity: Identity) -> list[str]:
        """Return what a secret is called by now, and what older rows of the audit trail call it by."""
        return [names.fingerprint(names.lookup(identity)) for names in (self.names, *self.older)]

    # Records.

    def seal(self, lookup: bytes, identity: Identity, plaintext: Plaintext, terms: Terms) -> SealedRecord:
        """Seal a value and its name under a fresh salt."""
        number = self.names.number
        return self._sealed(lookup, identity, plaintext, terms, salt=self._entropy(SALT_BYTES), number=number)

    def rewrap(self, record: SealedRecord) -> SealedRecord:
        """Seal a record again under the first master key; its salt stays in its slot.

        Raises:
            Unreadable: It does not open.
        """
        identity, plaintext = self.open_label(record), self.open_value(record)
        return self._sealed(
            record.lookup, identity, plaintext, record.terms, salt=record.salt, number=record.generation
        )

    def _sealed(
        self, lookup: bytes, identity: Identity, plaintext: Plaintext, terms: Terms, *, salt: bytes, number: int
    ) -> SealedRecord:
        # Taken once, since `use` may exchange the keys at any time.
        first = self._owners.first
        bound = _bound(first.id, lookup, terms)
        keys = derive(first.secret, salt=salt, purpose=b"record", size=2 * KEY_BYTES)
        label = pack(identity.name.encode())
        label = (_NO_ORG if identity.org is None else pack(identity.org.encode())) + label
        nonces, head = self._entropy(2 * NONCE_BYTES), VERSION + first.id
        for_value, for_label = nonces[:NONCE_BYTES], nonces[NONCE_BYTES:]
        value_key, label_key = AESGCM(keys[:KEY_BYTES]), AESGCM(keys[KEY_BYTES:])
        kind, label_head = b"label", head
        if number:
            kind, label_head = _renewed_kind(number), RENEWED + first.id + number.to_bytes(GENERATION_BYTES)
        return SealedRecord(
            lookup,
            salt,
            head + for_value + value_key.encrypt(for_value, plaintext.encoded, b"value" + bound),
            label_head + for_label + label_key.encrypt(for_label, label, kind + bound),
            terms,
        )

    def open_value(self, record: SealedRecord) -> Plaintext:
        """Open a value.

        Raises:
            Unreadable: The key is missing, or the row was damaged, moved or given other terms.
        """
        return Plaintext(self._open(record, record.sealed, b"value"))

    def open_label(self, record: SealedRecord) -> Identity:
        """Open a name; errors as in `open_value`."""
        number, label = record.generation, record.label
        if number:
            # Without its number, and with the version that everything else has, it opens as everything else does.
            label = VERSION + label[1 : 1 + KEY_ID_BYTES] + label[1 + KEY_ID_BYTES + GENERATION_BYTES :]
        org, name = unpack(self._open(record, label, _renewed_kind(number) if number else b"label"))
        return Identity(name.decode(), org.decode() or None)

    def _open(self, record: SealedRecord, sealed: bytes, kind: bytes) -> bytes:
        key_id = key_id_of(sealed)
        master = self._owners.by_id.get(key_id)
        if sealed[:1] != VERSION or master is None or len(sealed) < HEAD_BYTES + TAG_BYTES:
            raise self._unreadable(record)
        # The shorter output is the beginning of the longer one (RFC 5869).
        size = KEY_BYTES if kind == b"value" else 2 * KEY_BYTES
        cipher = AESGCM(derive(master.secret, salt=record.salt, purpose=b"record", size=size)[-KEY_BYTES:])
        nonce = sealed[1 + KEY_ID_BYTES : HEAD_BYTES]
        try:
            return cipher.decrypt(nonce, sealed[HEAD_BYTES:], kind + _bound(key_id, record.lookup, record.terms))
        except InvalidTag:
            raise self._unreadable(record) from None

    def _unreadable(self, record: SealedRecord) -> Unreadable:
        return Unreadable(self.names_of(record.generation).fingerprint(record.lookup))

    # Attempts.

    def attempt_hash(self, seq: int, attempt: Attempt) -> bytes:
        """Return what an attempt at one record is known by: 32 bytes. The record is named by its sequence number."""
        return self.names.attempt_hash(seq, attempt)

    def wrap_salt(self, record: SealedRecord, seq: int, attempt: Attempt) -> bytes:
        """Wrap the salt of a record so that only who shows the attempt gets it: 61 bytes.

        Whoever does needs the master key, too, to open the record. The sequence number is that of the record.
        """
        nonce = self._entropy(NONCE_BYTES)
        cipher = AESGCM(derive(attempt.secret, salt=b"", purpose=b"delivery"))
        return VERSION + nonce + cipher.encrypt(nonce, record.salt, _delivery_bound(record.lookup, seq))

    def unwrap_salt(self, lookup: bytes, seq: int, attempt: Attempt, wrapped: bytes) -> bytes:
        """Return the salt that `wrap_salt` wrapped.

        Raises:
            Unreadable: It was wrapped for another attempt or another record, or was damaged.
        """
        nonce, body = wrapped[1 : 1 + NONCE_BYTES], wrapped[1 + NONCE_BYTES :]
        if wrapped[:1] == VERSION and len(wrapped) == DELIVERY_BYTES:
            cipher = AESGCM(derive(attempt.secret, salt=b"", purpose=b"delivery"))
            with contextlib.suppress(InvalidTag):
                return cipher.decrypt(nonce, body, _delivery_bound(lookup, seq))
        raise Unreadable(self.fingerprint(lookup))

    # Audit.

    def audit_chain(self) -> AuditChain:
        """Begin a chain of audit rows."""
        return AuditChain(self.names.audit_key, self._entropy(SALT_BYTES))

    def resume_audit_chain(
        self, salt: bytes, *, generation: int | None = None, previous: bytes | None = None
    ) -> AuditChain:
        """Return a chain that was begun earlier, for reading and verifying it.

        Args:
            salt: Its salt.
            generation: Of the inner keys it is under, or None for those of now.
            previous: What it says about the chains before it, or None.
        """
        return AuditChain(self.names_of(generation).audit_key, salt, previous=previous)


def _delivery_bound(lookup: bytes, seq: int) -> bytes:
    """Return what a wrapped salt is bound to: format and record."""
    return b"delivery" + VERSION + struct.pack(">q", seq) + lookup


def _renewed_kind(number: int) -> bytes:
    return b"label" + RENEWED + number.to_bytes(GENERATION_BYTES)


def _bound(key_id: bytes, lookup: bytes, terms: Terms) -> bytes:
    """Return what a sealed value is bound to: format, master key, identity and terms."""
    return (
        VERSION
        + key_id
        + lookup
        + struct.pack(
            ">qqq?",
            terms.created_at,
            -1 if terms.expires_at is None else terms.expires_at,
            -1 if terms.max_reads is None else terms.max_reads,
            terms.delete,
        )
        + (terms.lock or b"")
    )
