"""The server's only cryptography: seal, open, blind index, fingerprint, audit chain.

What is made here and what it looks like byte by byte stands in `docs/formats.md`, with vectors in `tests/vectors/`.
AES-256-GCM comes from `cryptography`, HMAC and HKDF from `kdf`. No key serves two purposes.
Nothing here may log, or put a key, a name or a value into an error or a repr (I6).

Three kinds of keys:

* *master keys* belong to the operator: the first seals, the others only open;
* a *record's keys* are derived from a master key and a random salt that lives in a slot of its own. Once the salt is
  overwritten, nobody can derive them again (I8);
* *inner keys* are random, made for a database, and kept in it sealed by a master key, so that indexes and
  fingerprints outlive a change of the master key. They can be renewed: each *generation* of them has a number, and the
  older ones are kept to know again what they named and sealed.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import hmac
import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sirrd.entropy import Entropy
from sirrd.errors import BadSetting, Unreadable, WrongKey
from sirrd.events import Event
from sirrd.kdf import KeyedHash, hkdf
from sirrd.model import Attempt, BareKey, Identity, Plaintext, Terms

KEY_BYTES: Final = 32
SALT_BYTES: Final = 32
KEY_ID_BYTES: Final = 8
FINGERPRINT_BYTES: Final = 8
ERASED_SALT: Final = bytes(SALT_BYTES)
DELIVERY_BYTES: Final = 61
ERASED_DELIVERY: Final = bytes(DELIVERY_BYTES)

GENERATION_BYTES: Final = 4

_VERSION: Final = b"\x01"
_RENEWED: Final = b"\x02"  # of a label that names its generation; those of the first need not
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_HEAD_BYTES: Final = len(_VERSION) + KEY_ID_BYTES + _NONCE_BYTES
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


def derive(secret: bytes, *, salt: bytes, purpose: bytes, size: int = KEY_BYTES) -> bytes:
    """Derive a key for one purpose."""
    return hkdf(secret, salt=salt, info=b"sirrd/1/" + purpose, size=size)


def pack(*parts: bytes) -> bytes:
    """Join byte strings so that no two different lists of them give the same bytes: each after its length."""
    return b"".join([len(part).to_bytes(4) + part for part in parts])


_DROP: Final = pack(b"drop", b"")
_NO_ORG: Final = pack(b"")


@functools.lru_cache(maxsize=64)
def _packed_kind(action: str, caller: str) -> bytes:
    return pack(action.encode(), caller.encode())


@functools.lru_cache(maxsize=1024)
def _packed_address(address: str) -> bytes:
    """Return the details of an audit row that is not about an org secret: the many that come from one client."""
    return pack(b"", b"", address.encode())


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
    return int.from_bytes(label[at : at + GENERATION_BYTES]) if label[:1] == _RENEWED else 0


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
        nonce = self.entropy(_NONCE_BYTES)
        head = _VERSION + self.first.id + nonce
        return head + AESGCM(derive(self.first.secret, salt=b"", purpose=purpose)).encrypt(nonce, plain, head)

    def _open(self, purpose: bytes, sealed: bytes) -> bytes:
        head, body = sealed[:_HEAD_BYTES], sealed[_HEAD_BYTES:]
        master = self.by_id.get(key_id_of(head))
        if master is not None and head[:1] == _VERSION:
            cipher = AESGCM(derive(master.secret, salt=b"", purpose=purpose))
            with contextlib.suppress(InvalidTag):
                return cipher.decrypt(head[-_NONCE_BYTES:], body, head)
        raise WrongKey(
            "the master encryption keys do not open this database",
            hint="start with the key file or SIRR_MASTER_ENCRYPTION_KEY that this data folder was made with; "
            "after a key change, keep the older keys behind the first one",
        )


def _older(number: int) -> bytes:
    return b"older inner keys" + struct.pack(">q", number)


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
        nonces, head = self._entropy(2 * _NONCE_BYTES), _VERSION + first.id
        for_value, for_label = nonces[:_NONCE_BYTES], nonces[_NONCE_BYTES:]
        value_key, label_key = AESGCM(keys[:KEY_BYTES]), AESGCM(keys[KEY_BYTES:])
        kind, label_head = b"label", head
        if number:
            kind, label_head = _renewed_kind(number), _RENEWED + first.id + number.to_bytes(GENERATION_BYTES)
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
            label = _VERSION + label[1 : 1 + KEY_ID_BYTES] + label[1 + KEY_ID_BYTES + GENERATION_BYTES :]
        org, name = unpack(self._open(record, label, _renewed_kind(number) if number else b"label"))
        return Identity(name.decode(), org.decode() or None)

    def _open(self, record: SealedRecord, sealed: bytes, kind: bytes) -> bytes:
        key_id = key_id_of(sealed)
        master = self._owners.by_id.get(key_id)
        if sealed[:1] != _VERSION or master is None or len(sealed) < _HEAD_BYTES + _TAG_BYTES:
            raise self._unreadable(record)
        # The shorter output is the beginning of the longer one (RFC 5869).
        size = KEY_BYTES if kind == b"value" else 2 * KEY_BYTES
        cipher = AESGCM(derive(master.secret, salt=record.salt, purpose=b"record", size=size)[-KEY_BYTES:])
        nonce = sealed[1 + KEY_ID_BYTES : _HEAD_BYTES]
        try:
            return cipher.decrypt(nonce, sealed[_HEAD_BYTES:], kind + _bound(key_id, record.lookup, record.terms))
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
        nonce = self._entropy(_NONCE_BYTES)
        cipher = AESGCM(derive(attempt.secret, salt=b"", purpose=b"delivery"))
        return _VERSION + nonce + cipher.encrypt(nonce, record.salt, _delivery_bound(record.lookup, seq))

    def unwrap_salt(self, lookup: bytes, seq: int, attempt: Attempt, wrapped: bytes) -> bytes:
        """Return the salt that `wrap_salt` wrapped.

        Raises:
            Unreadable: It was wrapped for another attempt or another record, or was damaged.
        """
        nonce, body = wrapped[1 : 1 + _NONCE_BYTES], wrapped[1 + _NONCE_BYTES :]
        if wrapped[:1] == _VERSION and len(wrapped) == DELIVERY_BYTES:
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
    return b"delivery" + _VERSION + struct.pack(">q", seq) + lookup


def _renewed_kind(number: int) -> bytes:
    return b"label" + _RENEWED + number.to_bytes(GENERATION_BYTES)


def _bound(key_id: bytes, lookup: bytes, terms: Terms) -> bytes:
    """Return what a sealed value is bound to: format, master key, identity and terms."""
    return (
        _VERSION
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


def joined(heads: Sequence[bytes]) -> bytes:
    """Return what a chain under renewed keys says about the chains before it: 64 bytes.

    Whoever has the older keys can make other chains with them, and none of them ends in the same heads.

    Args:
        heads: Of every chain before it, in their order; at least one.
    """
    return heads[-1] + hashlib.sha256(pack(*heads)).digest()


class AuditRow(NamedTuple):
    """An audit row as it is stored.

    Attributes:
        number: Its place in its chain, from 0.
        at: Unix seconds.
        action: What was done.
        caller: The caller's kind.
        fingerprint: 8 bytes, or None.
        times: How often.
        detail: Org, key and address, sealed.
        mac: 32 bytes: the chain up to and with this row.
    """

    number: int
    at: int
    action: str
    caller: str
    fingerprint: bytes | None
    times: int
    detail: bytes
    mac: bytes


class AuditChain:
    """Seals and chains the audit rows of one writer, from its start to its end.

    Each chain has keys of its own, derived with a random salt, so a nonce needs to be unique within the chain only: it
    is a counter in memory that also counts what was rolled back, and so never repeats.
    """

    def __init__(self, audit_key: bytes, salt: bytes, *, previous: bytes | None = None) -> None:
        self.salt = salt
        self.previous = previous
        self._hash = KeyedHash(derive(audit_key, salt=salt, purpose=b"audit chain"))
        self._cipher = AESGCM(derive(audit_key, salt=salt, purpose=b"audit detail"))
        self._sealed = 0
        self.start = self._hash(b"start" + (previous or b""))

    def extend(self, head: bytes, number: int, events: Iterable[Event]) -> list[AuditRow]:
        """Make the rows for events that follow a chain whose last MAC is `head` and whose length is `number`."""
        rows = []
        for event in events:
            row = self._row(head, number, event)
            rows.append(row)
            head, number = row.mac, number + 1
        return rows

    def verify(self, head: bytes, row: AuditRow) -> bool:
        """Tell whether a row is what the chain, whose MAC before it is `head`, says it was."""
        return hmac.compare_digest(self._mac(head, row[:-1]), row.mac)

    def open_detail(self, row: AuditRow) -> tuple[str, str, str]:
        """Return org, key and address; an empty string where there was none.

        Raises:
            Unreadable: The row does not belong to this chain.
        """
        nonce, body = row.detail[:_NONCE_BYTES], row.detail[_NONCE_BYTES:]
        try:
            org, key, address = unpack(self._cipher.decrypt(nonce, body, self.salt))
        except InvalidTag:
            raise Unreadable(row.fingerprint.hex() if row.fingerprint else None) from None
        return org.decode(), key.decode(), address.decode()

    def _row(self, head: bytes, number: int, event: Event) -> AuditRow:
        action, at, caller, fingerprint, org, key, times = event
        nonce = self._sealed.to_bytes(_NONCE_BYTES)
        self._sealed += 1
        detail = _packed_address(caller.address)
        if org is not None:
            detail = pack(org.encode(), (key or "").encode(), caller.address.encode())
        told = (
            number,
            at,
            str(action),  # exactly a `str`: others go through the adapters of `sqlite3`
            caller.kind,
            None if fingerprint is None else bytes.fromhex(fingerprint),
            times,
            nonce + self._cipher.encrypt(nonce, detail, self.salt),
        )
        return AuditRow(*told, self._mac(head, told))

    def _mac(self, head: bytes, told: tuple[int, int, str, str, bytes | None, int, bytes]) -> bytes:
        """Return the MAC of a row, which is given without it."""
        number, at, action, caller, fingerprint, times, detail = told
        numbers = struct.pack(">qqq", number, at, times)
        return self._hash(head + numbers + _packed_kind(action, caller) + pack(fingerprint or b"", detail))
