"""The audit chain: rows sealed and bound to all that stood before them."""

from __future__ import annotations

import functools
import hashlib
import hmac
import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sirrd.errors import Unreadable
from sirrd.events import Event
from sirrd.kdf import KeyedHash
from sirrd.keyring.forms import NONCE_BYTES, derive, pack, unpack


@functools.lru_cache(maxsize=64)
def _packed_kind(action: str, caller: str) -> bytes:
    return pack(action.encode(), caller.encode())


@functools.lru_cache(maxsize=1024)
def _packed_address(address: str) -> bytes:
    """Return the details of an audit row that is not about an org secret: the many that come from one client."""
    return pack(b"", b"", address.encode())


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
        nonce, body = row.detail[:NONCE_BYTES], row.detail[NONCE_BYTES:]
        try:
            org, key, address = unpack(self._cipher.decrypt(nonce, body, self.salt))
        except InvalidTag:
            raise Unreadable(row.fingerprint.hex() if row.fingerprint else None) from None
        return org.decode(), key.decode(), address.decode()

    def _row(self, head: bytes, number: int, event: Event) -> AuditRow:
        action, at, caller, fingerprint, org, key, times = event
        nonce = self._sealed.to_bytes(NONCE_BYTES)
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
