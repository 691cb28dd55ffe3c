"""What the files of a daemon that was stopped say: whether they are sound, and what the audit trail holds."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

from sirrd.entropy import SystemEntropy
from sirrd.keyring.chain import AuditRow, joined
from sirrd.keyring.forms import ERASED_DELIVERY, ERASED_SALT, generation_of, key_id_of
from sirrd.keyring.masters import MasterKeys, parse_master_keys
from sirrd.keyring.ring import Keyring
from sirrd.model import Identity
from sirrd.store.sqlite.inner import read_keys

_ROWS: Final = "SELECT number, at, action, caller, fingerprint, count, detail, mac FROM audit"
TRANSITIONS: Final = frozenset({"created", "read", "burned", "sealed", "amended", "deleted", "expired"})


def file_faults(database: sqlite3.Connection) -> Iterator[str]:
    """Yield what is wrong with the file of a daemon that was stopped: it must be sound, no salt left."""
    for (found,) in database.execute("PRAGMA integrity_check"):
        if found != "ok":
            yield found
    used = Counter(slot for (slot,) in database.execute("SELECT slot FROM secret"))
    for slot, free, salt in database.execute("SELECT id, free, salt FROM slot"):
        if used[slot] > 1:
            yield f"slot {slot} has {used[slot]} secrets"
        if bool(free) == bool(used[slot]):
            yield f"slot {slot} has {used[slot]} secrets and is marked {'free' if free else 'used'}"
        if (salt == ERASED_SALT) == bool(used[slot]):
            yield f"slot {slot} has {used[slot]} secrets and {'a' if salt != ERASED_SALT else 'no'} salt"


def attempt_faults(database: sqlite3.Connection) -> Iterator[str]:
    """Yield what is wrong with what attempts have left: deliveries without one, or rows that nobody can ask for."""
    used = Counter(delivery for (delivery,) in database.execute("SELECT delivery FROM attempt WHERE delivery NOT NULL"))
    for number, free, wrapped in database.execute("SELECT id, free, wrapped FROM delivery"):
        if used[number] != (0 if free else 1) or (wrapped == ERASED_DELIVERY) != bool(free):
            yield f"delivery {number} has {used[number]} attempts and is marked {'free' if free else 'used'}"
    lost = "SELECT count(*) FROM spent WHERE seq NOT IN (SELECT secret FROM attempt WHERE delivery NOT NULL)"
    if (count := database.execute(lost).fetchone()[0]) != 0:
        yield f"{count} secrets have burned that nobody can ask for again, and are there"
    strays = "SELECT count(*) FROM attempt WHERE secret NOT IN (SELECT seq FROM secret UNION SELECT seq FROM spent)"
    if (count := database.execute(strays).fetchone()[0]) != 0:
        yield f"{count} attempts are known at secrets that are gone"


def renewal_faults(database: sqlite3.Connection) -> Iterator[str]:
    """Yield what is wrong where a renewal has come to its end: nothing may be found by older keys any more."""
    (number, inner) = database.execute("SELECT generation, sealed FROM inner_keys").fetchone()
    if not number:
        yield "the inner keys were never renewed"
    older = database.execute("SELECT generation, moving FROM older_inner_keys ORDER BY generation").fetchall()
    if older != [(each, 0) for each in range(number)]:
        yield f"the older generations are {older}"
    under = Counter(
        (generation_of(label), key_id_of(label), key_id_of(sealed))
        for label, sealed in database.execute("SELECT label, sealed FROM secret")
    )
    if under.keys() - {(number, key_id_of(inner), key_id_of(inner))}:
        yield f"secrets are under older keys: {under}"


def keyring_of(database: sqlite3.Connection, master_key: str) -> Keyring:
    """Return what opens a database of these tests."""
    masters = MasterKeys(parse_master_keys(master_key), SystemEntropy())
    return read_keys(database, masters)


def audit_of(
    database: sqlite3.Connection, keyring: Keyring, identities: Mapping[str, Identity]
) -> dict[str, dict[str, int]]:
    """Count the audit rows of each secret and action; who cannot be named stands under the fingerprint."""
    names = {called: name for name, identity in identities.items() for called in keyring.fingerprints(identity)}
    counts: dict[str, dict[str, int]] = {}
    for row in map(AuditRow._make, database.execute(_ROWS)):
        if row.fingerprint is not None and row.action in TRANSITIONS:
            fingerprint = row.fingerprint.hex()
            of_secret = counts.setdefault(names.get(fingerprint, fingerprint), {})
            of_secret[row.action] = of_secret.get(row.action, 0) + row.times
    return counts


def chain_faults(database: sqlite3.Connection, keyring: Keyring) -> Iterator[str]:
    """Yield what is wrong with the chains of the audit trail."""
    chained = 0
    heads: list[bytes] = []
    columns = "id, salt, head, length, generation, previous"
    for id_, salt, head, length, generation, named in database.execute(
        f"SELECT {columns} FROM audit_chain ORDER BY id"
    ):
        if named is not None and named != joined(heads):
            yield f"the chains before audit chain {id_} are not those that it names"
        heads.append(head)
        chain = keyring.resume_audit_chain(salt, generation=generation, previous=named)
        previous, number = chain.start, 0
        for row in map(AuditRow._make, database.execute(f"{_ROWS} WHERE chain = ? ORDER BY number", (id_,))):
            if row.number != number or not chain.verify(previous, row):
                yield f"row {row.number} of audit chain {id_} does not follow"
            previous, number = row.mac, number + 1
        if (previous, number) != (head, length):
            yield f"audit chain {id_} does not end as it says"
        chained += number
    if chained != database.execute("SELECT count(*) FROM audit").fetchone()[0]:
        yield "there are audit rows without a chain"
