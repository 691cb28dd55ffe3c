"""The statements of the embedded store, and the row that most of them return.

The claim is `CLAIM`, then `COUNT` or `BURN`, which repeat the whole condition: an update that cannot be the last read
of a burning secret, or a delete that can only be that. docs/architecture.md shows them and says why. Every statement
that finds a secret asks for its life (I9) and leaves values longer than `:longest` alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from sirrd.keyring.forms import ERASED_SALT, GENERATION_BYTES, KEY_ID_BYTES, generation_of
from sirrd.keyring.ring import SealedRecord
from sirrd.model import Terms

PRUNE_BATCH: Final = 100
PRUNE_BATCH_BYTES: Final = 4 * 1024 * 1024
SWEEP_BATCH: Final = 250
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
REMOVE_EXPIRED: Final = f"DELETE FROM secret WHERE lookup = :lookup AND NOT {_LIVE} AND {_SHORT} RETURNING slot, seq"
HOLDER: Final = f"SELECT {_LIVE} FROM secret WHERE lookup = :lookup"
BARE: Final = f"SELECT lookup FROM secret WHERE bare = :bare AND {_LIVE} LIMIT 2"
HOLDS: Final = "SELECT 1 FROM secret WHERE lookup = ?"
ERASE: Final = "UPDATE slot SET salt = ?, free = 1 WHERE id = ?"
SLOT: Final = "SELECT 1 FROM slot WHERE id = ?"
FREE: Final = "SELECT id FROM slot WHERE free = 1 LIMIT ?"
REUSE: Final = "UPDATE slot SET salt = ?, free = 0 WHERE id = ? AND free = 1"
APPEND: Final = "INSERT INTO slot (free, salt) VALUES (0, ?)"
RESALT: Final = "UPDATE slot SET salt = ? WHERE id = ?"
# A number above that of every secret there is, those included that have burned and can still be delivered again.
INSERT: Final = """
    INSERT INTO secret
        (seq, lookup, bare, org, slot, created_at, expires_at, max_reads, "delete", lock, read_count, label, sealed)
    VALUES (
        1 + max(ifnull((SELECT max(seq) FROM secret), 0), ifnull((SELECT max(seq) FROM spent), 0)),
        ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?)"""
AMEND: Final = """
    UPDATE secret SET expires_at = ?, max_reads = ?, lock = ?, read_count = 0, label = ?, sealed = ? WHERE seq = ?"""
_METADATA: Final = """
    SELECT secret.seq, lookup, slot.salt, created_at, expires_at, max_reads, "delete", lock, read_count, label
    FROM secret LEFT JOIN slot ON slot.id = secret.slot"""
PEEK: Final = f"{_METADATA} WHERE lookup = :lookup AND {_LIVE}"
PAGE: Final = f"""{_METADATA}
    WHERE secret.seq < :before AND {_LIVE} {{of_org}} ORDER BY secret.seq DESC LIMIT :limit"""
# While secrets move to other inner keys: one statement, so that none is missed between two.
PEEK_ANY: Final = f"{_METADATA} WHERE lookup IN ({{places}}) AND {_LIVE}"
PEEK_BARE_ANY: Final = f"{_METADATA} WHERE bare IN ({{places}}) AND {_LIVE} LIMIT 2"
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
    RETURNING lookup, slot, seq, label"""
EXPIRED: Final = """
    SELECT 1 FROM secret WHERE expires_at IS NOT NULL AND expires_at <= :now {of_org} ORDER BY expires_at LIMIT 1"""
CENSUS: Final = f"""
    SELECT max(seq), count(*), sum(NOT is_live), sum(is_live AND is_sealed)
    FROM (
        SELECT seq, {_LIVE} AS is_live, max_reads IS NOT NULL AND NOT "delete" AND read_count >= max_reads AS is_sealed
        FROM secret WHERE seq > :after ORDER BY seq LIMIT :most)"""
SPENT_ROWS: Final = "SELECT count(*) FROM spent"
_KEY_OF_LABEL: Final = f"substr(label, 2, {KEY_ID_BYTES})"
_KEY_OF_VALUE: Final = f"substr(sealed, 2, {KEY_ID_BYTES})"
_NUMBER: Final = f"substr(label, {2 + KEY_ID_BYTES}, {GENERATION_BYTES})"
_GENERATION: Final = f"CASE WHEN substr(label, 1, 1) = x'02' THEN {_NUMBER} ELSE zeroblob({GENERATION_BYTES}) END"
_OLDER: Final = f"({_KEY_OF_LABEL} != :key OR {_KEY_OF_VALUE} != :key OR {_GENERATION} != :generation)"
KEYS_OF_SECRETS: Final = f"""
    SELECT DISTINCT {_KEY_OF_LABEL} FROM secret UNION SELECT DISTINCT {_KEY_OF_VALUE} FROM secret"""
KEYS_IN_USE: Final = f"{KEYS_OF_SECRETS} UNION SELECT DISTINCT {_KEY_OF_VALUE} FROM older_inner_keys"
REMAINING: Final = f"SELECT count(*) FROM secret WHERE {_OLDER}"
NEXT_OLDER: Final = f"""
    SELECT seq, length(sealed) FROM secret WHERE seq > :after AND {_OLDER} ORDER BY seq LIMIT {ROTATION_BATCH}"""
BY_NUMBER: Final = f"SELECT {_COLUMNS} FROM secret WHERE seq = ?"
REWRAP: Final = "UPDATE secret SET label = ?, sealed = ? WHERE seq = ? AND sealed = ?"
MOVE: Final = """
    UPDATE secret SET lookup = ?, bare = ?, org = ?, label = ?, sealed = ?
    WHERE seq = ? AND lookup = ? AND sealed = ?"""
MADE_UNDER: Final = "SELECT made_under FROM inner_keys"
OLDER_KEYS: Final = "SELECT count(*) FROM master_key WHERE key_id != :key"
MOVING: Final = "SELECT count(*) FROM older_inner_keys WHERE moving"
MOVED: Final = "UPDATE older_inner_keys SET moving = 0 WHERE moving"
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
    RETURNING lookup, slot, seq, label"""
# Attempts. What they have read is in `secret` or, once it has burned, in `spent`, under the same number.
_CANDIDATES: Final = f"""
    SELECT seq FROM secret WHERE {{name}} AND {_LIVE} {{noted}}
    UNION ALL SELECT seq FROM spent WHERE {{name}} AND {_LIVE}"""
CANDIDATES: Final = _CANDIDATES.format(name="lookup = :lookup", noted="")
# Any number of orgs may hold a key, and few of those secrets were read by an attempt.
CANDIDATES_OF_BARE_KEY: Final = _CANDIDATES.format(
    name="bare = :bare", noted="AND EXISTS (SELECT 1 FROM attempt WHERE attempt.secret = secret.seq)"
)
KNOWN: Final = """
    SELECT attempt.id, secret, ends_at, repeats, wrapped
    FROM attempt LEFT JOIN delivery ON delivery.id = attempt.delivery WHERE hash = ?"""
READ_BEFORE: Final = f"""
    SELECT seq, lookup, slot, {_SALT}, created_at, expires_at, max_reads, "delete", lock, read_count, label,
           CASE WHEN {_SHORT} THEN sealed ELSE x'' END
    FROM secret WHERE seq = :seq AND {_LIVE}
    UNION ALL
    SELECT seq, lookup, 0, NULL, created_at, expires_at, max_reads, 1, lock, max_reads, label,
           CASE WHEN {_SHORT} THEN sealed ELSE x'' END
    FROM spent WHERE seq = :seq AND {_LIVE}"""
KEEP_SPENT: Final = """
    INSERT INTO spent (seq, lookup, bare, created_at, expires_at, max_reads, lock, label, sealed)
    SELECT seq, lookup, bare, created_at, expires_at, max_reads, lock, label, sealed FROM secret WHERE seq = ?"""
OPEN: Final = "SELECT 1 FROM attempt WHERE secret = ? AND delivery IS NOT NULL AND ends_at > ? LIMIT 1"
NOTE_ATTEMPT: Final = """
    INSERT INTO attempt (secret, hash, at, ends_at, repeats, delivery) VALUES (?, ?, ?, ?, 0, ?)"""
COUNT_REPEAT: Final = "UPDATE attempt SET repeats = repeats + 1 WHERE id = ? AND repeats = ?"
LEFT_BY_ATTEMPT: Final = "SELECT id, secret, delivery FROM attempt WHERE id = ?"
LEFT_OF: Final = "SELECT delivery FROM attempt WHERE secret = ? AND delivery IS NOT NULL"
IS_MUCH: Final = """
    SELECT 1 WHERE (SELECT count(*) FROM (SELECT 1 FROM attempt WHERE secret = :secret LIMIT :many + 1)) > :many
    UNION ALL SELECT 1 FROM spent WHERE seq = :secret AND length(sealed) > :longest"""
OLDEST: Final = "SELECT id, delivery FROM attempt WHERE secret = ? ORDER BY id DESC LIMIT -1 OFFSET ?"
DUE: Final = f"""
    SELECT id, secret, delivery, length(sealed) FROM attempt LEFT JOIN spent ON seq = secret
    WHERE delivery IS NOT NULL AND ends_at <= :now ORDER BY ends_at LIMIT {SWEEP_BATCH}"""
END_ATTEMPT: Final = "UPDATE attempt SET delivery = NULL, ends_at = 0 WHERE id = ?"
# Those that a renewal has ended have their delivery still.
END_OF: Final = """
    UPDATE attempt SET delivery = NULL, ends_at = 0 WHERE secret = ? AND (ends_at != 0 OR delivery IS NOT NULL)"""
END_ALL: Final = "UPDATE attempt SET ends_at = 0 WHERE ends_at != 0"
REMOVE_SPENT: Final = """
    DELETE FROM spent WHERE seq = ?1
    AND NOT EXISTS (SELECT 1 FROM attempt WHERE secret = ?1 AND delivery IS NOT NULL)"""
FORGET_ATTEMPT: Final = "DELETE FROM attempt WHERE id = ?"
FORGET_ATTEMPTS: Final = "DELETE FROM attempt WHERE secret = ?"
FORGET_OLD: Final = f"""
    DELETE FROM attempt
    WHERE id IN (SELECT id FROM attempt WHERE at <= ? AND delivery IS NULL ORDER BY at LIMIT {SWEEP_BATCH})"""
SPENT: Final = "SELECT seq FROM spent WHERE lookup = ?"
SPENT_OF_BARE_KEY: Final = "SELECT seq FROM spent WHERE bare = ?"
SPENT_LOCK: Final = f"SELECT lock FROM spent WHERE lookup = :lookup AND {_LIVE}"
SPENT_UNDER_OLDER: Final = f"SELECT seq FROM spent WHERE substr(label, 2, {KEY_ID_BYTES}) != ? LIMIT {SWEEP_BATCH}"
FREE_DELIVERY: Final = "SELECT id FROM delivery WHERE free = 1 LIMIT ?"
REUSE_DELIVERY: Final = "UPDATE delivery SET wrapped = ?, free = 0 WHERE id = ? AND free = 1"
APPEND_DELIVERY: Final = "INSERT INTO delivery (free, wrapped) VALUES (0, ?)"
DELIVERY: Final = "SELECT 1 FROM delivery WHERE id = ?"
ERASE_DELIVERY: Final = "UPDATE delivery SET wrapped = ?, free = 1 WHERE id = ?"
MARK: Final = "SELECT store, shown, elapsed, boot FROM clock"
KEEP_MARK: Final = "INSERT OR REPLACE INTO clock (id, store, shown, elapsed, boot) VALUES (1, ?, ?, ?, ?)"
NEWEST: Final = """
    SELECT max(coalesce((SELECT created_at FROM secret ORDER BY seq DESC LIMIT 1), 0),
               coalesce((SELECT max(at) FROM attempt), 0))"""
LATEST: Final = """
    SELECT max(coalesce((SELECT max(created_at) FROM secret), 0), coalesce((SELECT max(at) FROM audit), 0),
               coalesce((SELECT max(started_at) FROM audit_chain), 0))"""
AUDIT: Final = """
    INSERT INTO audit (chain, number, at, action, caller, fingerprint, count, detail, mac)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""

CHAIN: Final = "UPDATE audit_chain SET head = ?, length = ? WHERE id = ?"


def named(places: Sequence[bytes]) -> dict[str, bytes]:
    """Return arguments for as many places in a blind index as there are; usually one."""
    return {f"place{number}": place for number, place in enumerate(places)}


def among(places: Mapping[str, bytes]) -> str:
    """Return what stands in a statement for such arguments."""
    return ", ".join(f":{name}" for name in places)


def page(places: Mapping[str, bytes] | None) -> str:
    """Return the statement for a page of all secrets, or of those of an org, which stand in those places.

    Each place has an index in the order of the list, so however large an org is, a page is all that is sorted.
    """
    if places is None:
        return PAGE.format(of_org="")
    pages = [PAGE.format(of_org=f"AND org = :{name}") for name in places]
    if len(pages) == 1:
        return pages[0]
    return " UNION ALL ".join(f"SELECT * FROM ({each})" for each in pages) + " ORDER BY 1 DESC LIMIT :limit"


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
    def generation(self) -> int:
        """Of the inner keys that the secret is found by."""
        return generation_of(self.label)

    @property
    def terms(self) -> Terms:
        """The terms of the secret."""
        return Terms(self.created_at, self.expires_at, self.max_reads, bool(self.delete), self.lock)

    @property
    def record(self) -> SealedRecord:
        """What the keyring can open; a row whose slot is missing has no salt, and so does not open."""
        return SealedRecord(self.lookup, self.salt or ERASED_SALT, self.sealed, self.label, self.terms)


def described(row: Sequence[Any]) -> SealedRecord:
    """Return the record in a row of `PEEK` or `PAGE`, without its value."""
    _, lookup, salt, created_at, expires_at, max_reads, delete, lock, _, label = row
    terms = Terms(created_at, expires_at, max_reads, bool(delete), lock)
    return SealedRecord(lookup, salt or ERASED_SALT, b"", label, terms)
