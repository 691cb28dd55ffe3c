"""The statements of the embedded store, and the row that most of them return.

The claim is `CLAIM`, then `COUNT` or `BURN`, which repeat the whole condition: an update that cannot be the last read
of a burning secret, or a delete that can only be that. docs/architecture.md shows them and says why. Every statement
that finds a secret asks for its life (I9) and leaves values longer than `:longest` alone.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from sirrd.keyring import ERASED_SALT, KEY_ID_BYTES, SealedRecord
from sirrd.model import Terms

PRUNE_BATCH: Final = 100
PRUNE_BATCH_BYTES: Final = 4 * 1024 * 1024
ROTATION_BATCH: Final = 64
ROTATION_BATCH_BYTES: Final = 1024 * 1024
_SALT: Final = "(SELECT salt FROM slot WHERE slot.id = secret.slot)"
_COLUMNS: Final = (
    f'seq, lookup, slot, {_SALT}, created_at, expires_at, max_reads, "delete", lock, read_count, label, sealed'
)
_LIVE: Final = "(expires_at IS NULL OR expires_at > :now)"
_SHORT: Final = "length(sealed) <= :longest"
CLAIM: Final = f"""
    SELECT seq, lookup, slot, {_SALT}, created_at, expires_at, max_reads, "delete", lock, read_count, label,
           CASE WHEN {_SHORT} THEN sealed ELSE x'' END
    FROM secret WHERE lookup = :lookup AND {_LIVE}"""
COUNT: Final = f"""
    UPDATE secret SET read_count = read_count + 1
    WHERE seq = :seq AND lookup = :lookup AND {_LIVE}
      AND (max_reads IS NULL OR read_count + 1 < max_reads OR (NOT "delete" AND read_count < max_reads))"""
BURN: Final = f"""
    DELETE FROM secret
    WHERE seq = :seq AND lookup = :lookup AND {_LIVE} AND "delete" AND read_count + 1 = max_reads"""
FIND: Final = f"SELECT {_COLUMNS} FROM secret WHERE lookup = :lookup AND {_LIVE} AND {_SHORT}"
REMOVE: Final = f"DELETE FROM secret WHERE lookup = :lookup AND {_LIVE} AND {_SHORT} RETURNING {_COLUMNS}"
REMOVE_EXPIRED: Final = f"DELETE FROM secret WHERE lookup = :lookup AND NOT {_LIVE} AND {_SHORT} RETURNING slot"
HOLDER: Final = f"SELECT {_LIVE} FROM secret WHERE lookup = :lookup"
BARE: Final = f"SELECT lookup FROM secret WHERE bare = :bare AND {_LIVE} LIMIT 2"
ERASE: Final = "UPDATE slot SET salt = ?, free = 1 WHERE id = ?"
SLOT: Final = "SELECT 1 FROM slot WHERE id = ?"
FREE: Final = "SELECT id FROM slot WHERE free = 1 LIMIT ?"
REUSE: Final = "UPDATE slot SET salt = ?, free = 0 WHERE id = ? AND free = 1"
APPEND: Final = "INSERT INTO slot (free, salt) VALUES (0, ?)"
RESALT: Final = "UPDATE slot SET salt = ? WHERE id = ?"
INSERT: Final = """
    INSERT INTO secret
        (lookup, bare, org, slot, created_at, expires_at, max_reads, "delete", lock, read_count, label, sealed)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?)"""
AMEND: Final = """
    UPDATE secret SET expires_at = ?, max_reads = ?, lock = ?, read_count = 0, label = ?, sealed = ? WHERE seq = ?"""
_METADATA: Final = """
    SELECT secret.seq, lookup, slot.salt, created_at, expires_at, max_reads, "delete", lock, read_count, label
    FROM secret LEFT JOIN slot ON slot.id = secret.slot"""
PEEK: Final = f"{_METADATA} WHERE lookup = :lookup AND {_LIVE}"
PAGE: Final = f"""{_METADATA}
    WHERE secret.seq < :before AND {_LIVE} {{of_org}} ORDER BY secret.seq DESC LIMIT :limit"""
# Run twice, it leaves everything as it was and yet writes: SQLite writes nothing where a value is set to what it is.
PROBE: Final = "UPDATE audit_chain SET length = ~length WHERE id = (SELECT max(id) FROM audit_chain)"
PRUNE: Final = f"""
    WITH expired AS (
        SELECT seq, length(sealed) AS size FROM secret
        WHERE expires_at IS NOT NULL AND expires_at <= :now {{of_org}} ORDER BY expires_at LIMIT :most
    ), batch AS (
        SELECT seq, sum(size) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING) - size AS before FROM expired
    )
    DELETE FROM secret WHERE seq IN (SELECT seq FROM batch WHERE before < {PRUNE_BATCH_BYTES})
    RETURNING lookup, slot"""
EXPIRED: Final = """
    SELECT 1 FROM secret WHERE expires_at IS NOT NULL AND expires_at <= :now {of_org} ORDER BY expires_at LIMIT 1"""
_OLDER: Final = f"substr(label, 2, {KEY_ID_BYTES}) != :key"
REMAINING: Final = f"SELECT count(*) FROM secret WHERE {_OLDER}"
NEXT_OLDER: Final = f"""
    SELECT seq, length(sealed) FROM secret WHERE seq > :after AND {_OLDER} ORDER BY seq LIMIT {ROTATION_BATCH}"""
BY_NUMBER: Final = f"SELECT {_COLUMNS} FROM secret WHERE seq = ?"
REWRAP: Final = "UPDATE secret SET label = ?, sealed = ? WHERE seq = ? AND sealed = ?"
OLDER_KEYS: Final = "SELECT count(*) FROM master_key WHERE key_id != :key"
ANY_LIMITED: Final = "SELECT 1 FROM secret WHERE max_reads IS NOT NULL LIMIT 1"
FORGET_OLDER_KEYS: Final = "DELETE FROM master_key WHERE key_id != ?"
LIMITED: Final = f"""
    WITH limited AS (
        SELECT seq, length(sealed) AS size FROM secret
        WHERE seq > :after AND max_reads IS NOT NULL ORDER BY seq LIMIT {PRUNE_BATCH}
    ), batch AS (
        SELECT seq, sum(size) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING) - size AS before FROM limited
    )
    DELETE FROM secret WHERE seq IN (SELECT seq FROM batch WHERE before < {PRUNE_BATCH_BYTES})
    RETURNING lookup, slot, seq"""
AUDIT: Final = """
    INSERT INTO audit (chain, number, at, action, caller, fingerprint, count, detail, mac)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""

CHAIN: Final = "UPDATE audit_chain SET head = ?, length = ? WHERE id = ?"


class Row(NamedTuple):
    """A row of the table `secret`, as `_COLUMNS` names them."""

    seq: int
    lookup: bytes
    slot: int
    salt: bytes | None
    created_at: int
    expires_at: int | None
    max_reads: int | None
    delete: int
    lock: bytes | None
    read_count: int
    label: bytes
    sealed: bytes

    def __repr__(self) -> str:
        return f"<Row {self.seq}>"

    @property
    def terms(self) -> Terms:
        """The terms of the secret."""
        return Terms(self.created_at, self.expires_at, self.max_reads, bool(self.delete), self.lock)

    @property
    def record(self) -> SealedRecord:
        """What the keyring can open; a row whose slot is missing has no salt, and so does not open."""
        return SealedRecord(self.lookup, self.salt or ERASED_SALT, self.sealed, self.label, self.terms)
