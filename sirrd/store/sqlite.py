"""The embedded store: one SQLite database in the data folder.

Writes go through the `Writer`, each as one unit of SQL in one durable transaction. Queries go through connections that
cannot write, look-ups of one secret on the event loop and lists through aiosqlite, in short reads, so that no reader
stands in the way of a checkpoint.

The statements of the claim, and their order, are those of docs/architecture.md: an update that cannot be the last read
of a burning secret, then a delete that can only be that. No claim ever reads first and decides later.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import aiosqlite

from sirrd.clock import Clock
from sirrd.errors import AmbiguousKey, BadFolder, Gone, KeyExists, NotAmendable, Sealed, Unavailable, Unreadable
from sirrd.events import Action, Event
from sirrd.keyring import ERASED_SALT, AuditChain, InnerKeys, Keyring, MasterKeys, SealedRecord
from sirrd.model import Amendment, BareKey, Caller, Identity, Metadata, Opened, Plaintext, Target, Terms, Unset
from sirrd.store import Page
from sirrd.store.migrate import check_version, migrate
from sirrd.store.writer import NeedsThread, Transaction, Writer

logger = logging.getLogger(__name__)

PRUNE_BATCH: Final = 1000
PRUNE_BATCH_BYTES: Final = 4 * 1024 * 1024
_VACUUM_PAGES: Final = 1000
_SPARE_PAGES: Final = 256
_LONG_VALUE_BYTES: Final = 64 * 1024
_ANY_LENGTH: Final = 2**62
_VACUUM_STEPS: Final = 64
_CHECKPOINT_PATIENCE_MS: Final = 50
_CHECKPOINT_TRIES: Final = 10
_PRAGMAS: Final = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA secure_delete=ON",
    "PRAGMA temp_store=MEMORY",
    "PRAGMA foreign_keys=ON",
    "PRAGMA cache_size=-32000",
    "PRAGMA wal_autocheckpoint=4000",
)
_READER_PRAGMAS: Final = ("PRAGMA query_only=ON", "PRAGMA temp_store=MEMORY")
_EXPECTED: Final = {"journal_mode": "wal", "synchronous": 2, "secure_delete": 1, "temp_store": 2, "auto_vacuum": 2}

_SALT: Final = "(SELECT salt FROM slot WHERE slot.id = secret.slot)"
_COLUMNS: Final = f'seq, lookup, slot, {_SALT}, created_at, expires_at, max_reads, "delete", read_count, label, sealed'
_LIVE: Final = "(expires_at IS NULL OR expires_at > :now)"
_SHORT: Final = "length(sealed) <= :longest"
_COUNT: Final = f"""
    UPDATE secret SET read_count = read_count + 1
    WHERE lookup = :lookup AND {_LIVE} AND {_SHORT}
      AND (max_reads IS NULL OR read_count + 1 < max_reads OR (NOT "delete" AND read_count < max_reads))
    RETURNING {_COLUMNS}"""
_BURN: Final = f"""
    DELETE FROM secret
    WHERE lookup = :lookup AND {_LIVE} AND {_SHORT} AND "delete" AND read_count + 1 = max_reads
    RETURNING {_COLUMNS}"""
_FIND: Final = f"SELECT {_COLUMNS} FROM secret WHERE lookup = :lookup AND {_LIVE} AND {_SHORT}"
_REMOVE: Final = f"DELETE FROM secret WHERE lookup = :lookup AND {_LIVE} AND {_SHORT} RETURNING {_COLUMNS}"
_STATUS: Final = f"""
    SELECT NOT "delete" AND max_reads IS NOT NULL AND read_count >= max_reads
    FROM secret WHERE lookup = :lookup AND {_LIVE}"""
_REMOVE_EXPIRED: Final = (
    "DELETE FROM secret WHERE lookup = :lookup AND expires_at IS NOT NULL AND expires_at <= :now RETURNING slot"
)
_BARE: Final = f"SELECT lookup FROM secret WHERE bare = :bare AND {_LIVE} LIMIT 2"
_ERASE: Final = "UPDATE slot SET salt = ?, free = 1 WHERE id = ?"
_REUSE: Final = (
    "UPDATE slot SET salt = ?, free = 0 WHERE id = (SELECT id FROM slot WHERE free = 1 LIMIT 1) RETURNING id"
)
_APPEND: Final = "INSERT INTO slot (free, salt) VALUES (0, ?)"
_RESALT: Final = "UPDATE slot SET salt = ? WHERE id = ?"
_INSERT: Final = """
    INSERT INTO secret (lookup, bare, org, slot, created_at, expires_at, max_reads, "delete", read_count, label, sealed)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?)"""
_AMEND: Final = """
    UPDATE secret SET expires_at = ?, max_reads = ?, read_count = 0, label = ?, sealed = ? WHERE seq = ?"""
_METADATA: Final = """
    SELECT secret.seq, lookup, slot.salt, created_at, expires_at, max_reads, "delete", read_count, label
    FROM secret LEFT JOIN slot ON slot.id = secret.slot"""
_PEEK: Final = f"{_METADATA} WHERE lookup = :lookup AND {_LIVE}"
_PAGE: Final = f"""{_METADATA}
    WHERE secret.seq < :before AND {_LIVE} {{of_org}} ORDER BY secret.seq DESC LIMIT :limit"""
_PROBE: Final = "UPDATE audit_chain SET head = head"
_PRUNE: Final = f"""
    WITH expired AS (
        SELECT seq, length(sealed) AS size FROM secret
        WHERE expires_at IS NOT NULL AND expires_at <= :now {{of_org}} LIMIT {PRUNE_BATCH}
    ), batch AS (
        SELECT seq, sum(size) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING) - size AS before FROM expired
    )
    DELETE FROM secret WHERE seq IN (SELECT seq FROM batch WHERE before < {PRUNE_BATCH_BYTES})
    RETURNING lookup, slot"""
_AUDIT: Final = """
    INSERT INTO audit (chain, number, at, action, caller, fingerprint, count, detail, mac)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""


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
    read_count: int
    label: bytes
    sealed: bytes

    def __repr__(self) -> str:
        return f"<Row {self.seq}>"

    @property
    def terms(self) -> Terms:
        """The terms of the secret."""
        return Terms(self.created_at, self.expires_at, self.max_reads, bool(self.delete))

    @property
    def record(self) -> SealedRecord:
        """What the keyring can open; a row whose slot is missing has no salt, and so does not open."""
        return SealedRecord(self.lookup, self.salt or ERASED_SALT, self.sealed, self.label, self.terms)


class SqliteStore:
    """The `Store` over one SQLite file."""

    def __init__(
        self,
        path: Path,
        *,
        keyring: Keyring,
        writer: Writer,
        writing: sqlite3.Connection,
        reading: aiosqlite.Connection,
        looking_up: sqlite3.Connection,
        clock: Clock,
        min_free_bytes: int,
    ) -> None:
        self._path = path
        self._keyring = keyring
        self._writer = writer
        self._writing = writing
        self._reading = reading
        self._looking_up = looking_up
        self._clock = clock
        self._min_free_bytes = min_free_bytes
        self._room = (0.0, True)

    @classmethod
    async def open(cls, path: Path, *, masters: MasterKeys, clock: Clock, min_free_bytes: int = 0) -> SqliteStore:
        """Open a database, or make it.

        Args:
            path: The file; its folder must be there and be held by this process.
            masters: The master keys.
            clock: Tells the time.
            min_free_bytes: Below that much free space nothing new is stored.

        Raises:
            WrongKey: The keys do not belong to this database; nothing in it was touched.
            BadFolder: The file is not a database of ours, or cannot be opened.
        """
        try:
            _check_keys(path, masters)
            async with contextlib.AsyncExitStack() as unless_opened:
                writing = _connect(path)
                unless_opened.callback(writing.close)
                keyring = Keyring(masters, _settle_keys(writing, masters))
                reading = await _connect_reader(path)
                unless_opened.push_async_callback(reading.close)
                looking_up = sqlite3.connect(_read_only(path), uri=True, isolation_level=None, timeout=0)
                unless_opened.callback(looking_up.close)
                for pragma in _READER_PRAGMAS:
                    looking_up.execute(pragma)
                writer = Writer(writing, trail=_Trail(writing, keyring.audit_chain(), clock), clock=clock)
                unless_opened.pop_all()
        except sqlite3.Error as error:
            raise BadFolder(
                f"the database cannot be opened: {error.sqlite_errorname}", hint="see the folder's permissions and disk"
            ) from None
        return cls(
            path,
            keyring=keyring,
            writer=writer,
            writing=writing,
            reading=reading,
            looking_up=looking_up,
            clock=clock,
            min_free_bytes=min_free_bytes,
        )

    def fingerprint(self, identity: Identity) -> str:
        """See `Store.fingerprint`."""
        return self._keyring.fingerprint(self._keyring.lookup(identity))

    # Units of work.

    async def put(
        self, identity: Identity, plaintext: Plaintext, terms: Callable[[int], Terms], *, by: Caller
    ) -> Metadata:
        """See `Store.put`."""
        keyring = self._keyring
        lookup = keyring.lookup(identity)
        fingerprint = keyring.fingerprint(lookup)
        bare = org = None
        if identity.org is not None:
            bare, org = keyring.bare_lookup(BareKey(identity.name)), keyring.org_lookup(identity.org)

        def unit(transaction: Transaction) -> Metadata:
            execute = transaction.execute
            agreed = terms(transaction.now)
            if org is not None:
                self._make_way(transaction, lookup, fingerprint)
            record = keyring.seal(lookup, identity, plaintext, agreed)
            slot = _take_slot(transaction, record.salt)
            execute(_INSERT, (lookup, bare, org, slot, *agreed, record.label, record.sealed))
            transaction.events.append(
                Event(Action.CREATED, transaction.now, by, fingerprint, identity.org, identity.org and identity.name)
            )
            return Metadata(identity.name, identity.org, fingerprint, agreed, 0)

        return await self._writer.submit(unit, long=len(plaintext) > _LONG_VALUE_BYTES)

    def _make_way(self, transaction: Transaction, lookup: bytes, fingerprint: str) -> None:
        """Free an org key that expired but was not pruned yet; refuse one that is live."""
        found = _found(transaction, lookup)
        for (slot,) in transaction.execute(_REMOVE_EXPIRED, found).fetchall():
            transaction.execute(_ERASE, (ERASED_SALT, slot))
            transaction.events.append(Event(Action.EXPIRED, transaction.now, Caller("daemon"), fingerprint))
        if transaction.execute(_STATUS, found).fetchall():
            raise KeyExists(fingerprint)

    async def claim(self, target: Target, *, by: Caller) -> Opened:
        """See `Store.claim`."""

        def unit(transaction: Transaction) -> Opened:
            found = _found(transaction, self._resolve(transaction, target))
            rows = transaction.execute(_COUNT, found).fetchall()
            burns = not rows
            if burns:
                rows = transaction.execute(_BURN, found).fetchall()
            if not rows:
                raise self._why_not(transaction, found)
            row = Row(*rows[0])
            plaintext = self._keyring.open_value(row.record)
            fingerprint = self._keyring.fingerprint(row.lookup)
            identity = self._identify(target, row.record, fingerprint)
            if burns:
                transaction.execute(_ERASE, (ERASED_SALT, row.slot))
            action = Action.BURNED if burns else Action.SEALED if row.read_count == row.max_reads else Action.READ
            _note(transaction, action, fingerprint, identity, by)
            return Opened(plaintext, fingerprint, target.name)

        return await self._writer.submit(unit)

    def _why_not(self, transaction: Transaction, found: dict[str, Any]) -> Gone | Sealed | NeedsThread:
        """Return why a claim found nothing to read: what is there and not sealed is too long for the event loop."""
        for (is_sealed,) in transaction.execute(_STATUS, found).fetchall():
            return Sealed(self._keyring.fingerprint(found["lookup"])) if is_sealed else NeedsThread()
        return Gone(self._keyring.fingerprint(found["lookup"]))

    def _absent(self, transaction: Transaction, found: dict[str, Any]) -> Gone | NeedsThread:
        """Return why a statement that does not ask for reads found nothing."""
        there = transaction.execute(_STATUS, found).fetchall()
        return NeedsThread() if there else Gone(self._keyring.fingerprint(found["lookup"]))

    def _identify(self, target: Target, record: SealedRecord, fingerprint: str) -> Identity:
        """Return what a record is called. A bare key is not bound into the record, so its label must say the same.

        Raises:
            Unreadable: The label does not open, or is another's.
        """
        if isinstance(target, Identity):
            return target
        identity = self._keyring.open_label(record)
        if identity.org is None or identity.name != target.name:
            raise Unreadable(fingerprint)
        return identity

    async def amend(
        self, target: Target, amendment: Amendment, terms: Callable[[Terms, int], Terms], *, by: Caller
    ) -> Metadata:
        """See `Store.amend`."""
        keyring = self._keyring

        def unit(transaction: Transaction) -> Metadata:
            found = _found(transaction, self._resolve(transaction, target))
            fingerprint = keyring.fingerprint(found["lookup"])
            rows = transaction.execute(_FIND, found).fetchall()
            if not rows:
                raise self._absent(transaction, found)
            row = Row(*rows[0])
            if row.delete:
                raise NotAmendable(fingerprint)
            identity = self._identify(target, row.record, fingerprint)
            plaintext = keyring.open_value(row.record)
            if not isinstance(amendment.plaintext, Unset):
                plaintext = amendment.plaintext
            agreed = terms(row.terms, transaction.now)
            # A fresh salt in the same slot: what the old terms were bound to can never be opened again.
            new = keyring.seal(row.lookup, identity, plaintext, agreed)
            transaction.execute(_RESALT, (new.salt, row.slot))
            transaction.execute(_AMEND, (agreed.expires_at, agreed.max_reads, new.label, new.sealed, row.seq))
            _note(transaction, Action.AMENDED, fingerprint, identity, by)
            return Metadata(identity.name, identity.org, fingerprint, agreed, 0)

        new_value = amendment.plaintext
        is_long = not isinstance(new_value, Unset) and len(new_value) > _LONG_VALUE_BYTES
        return await self._writer.submit(unit, long=is_long)

    async def remove(self, target: Target, *, by: Caller) -> str:
        """See `Store.remove`."""

        def unit(transaction: Transaction) -> str:
            found = _found(transaction, self._resolve(transaction, target))
            fingerprint = self._keyring.fingerprint(found["lookup"])
            rows = transaction.execute(_REMOVE, found).fetchall()
            if not rows:
                raise self._absent(transaction, found)
            row = Row(*rows[0])
            identity = self._identify(target, row.record, fingerprint)
            transaction.execute(_ERASE, (ERASED_SALT, row.slot))
            _note(transaction, Action.DELETED, fingerprint, identity, by)
            return fingerprint

        return await self._writer.submit(unit)

    async def prune(self, *, org: str | None, by: Caller) -> int:
        """See `Store.prune`."""
        # The plus keeps SQLite from going through all secrets of the org rather than through those that expired.
        statement = _PRUNE.format(of_org="" if org is None else "AND +org = :org")
        arguments = {} if org is None else {"org": self._keyring.org_lookup(org)}

        def unit(transaction: Transaction) -> int:
            rows = transaction.execute(statement, {"now": transaction.now, **arguments}).fetchall()
            transaction.connection.executemany(_ERASE, [(ERASED_SALT, slot) for _, slot in rows])
            transaction.events += [
                Event(Action.EXPIRED, transaction.now, by, self._keyring.fingerprint(lookup)) for lookup, _ in rows
            ]
            return len(rows)

        return await self._writer.submit(unit, long=True, own=by.kind == "daemon")

    async def record(self, events: Sequence[Event]) -> None:
        """See `Store.record`."""
        if events:
            await self._writer.submit(lambda transaction: transaction.events.extend(events), long=True, own=True)

    def _resolve(self, transaction: Transaction, target: Target) -> bytes:
        """Return the lookup of a target; a bare key is resolved inside the unit that uses it."""
        if isinstance(target, Identity):
            return self._keyring.lookup(target)
        found = {"bare": self._keyring.bare_lookup(target), "now": transaction.now}
        return _only(transaction.execute(_BARE, found).fetchall())

    # Queries.

    async def peek(self, target: Target) -> Metadata:
        """See `Store.peek`."""
        now = self._clock.now()
        if isinstance(target, Identity):
            lookup = self._keyring.lookup(target)
        else:
            rows = await self._look_up(_BARE, {"bare": self._keyring.bare_lookup(target), "now": now})
            lookup = _only(rows)
        for row in await self._look_up(_PEEK, {"lookup": lookup, "now": now}):
            metadata = self._describe(row)
            if isinstance(target, BareKey) and (metadata.org is None or metadata.name != target.name):
                raise Unreadable(metadata.fingerprint)
            return metadata
        raise Gone(self._keyring.fingerprint(lookup))

    async def page(self, *, org: str | None, before: int | None, limit: int) -> Page:
        """See `Store.page`."""
        arguments: dict[str, Any] = {
            "before": 2**63 - 1 if before is None else before,
            "now": self._clock.now(),
            "limit": limit + 1,
        }
        if org is not None:
            arguments["org"] = self._keyring.org_lookup(org)
        rows = await self._fetch(_PAGE.format(of_org="" if org is None else "AND org = :org"), arguments)
        more = len(rows) > limit
        rows = rows[:limit]
        metadata = [described for row in rows if (described := self._describe_if_readable(row, org)) is not None]
        return Page(metadata, rows[-1][0] if more else None)

    def _describe_if_readable(self, row: Sequence[Any], org: str | None) -> Metadata | None:
        """Return what a list, of one org or of all, says of a row; what is not what it says is left out, loudly."""
        with contextlib.suppress(Unreadable):
            metadata = self._describe(row)
            if org is None or metadata.org == org:
                return metadata
        fingerprint = self._keyring.fingerprint(row[1])
        logger.error("UNREADABLE: the record of %s does not open and is left out of a list", fingerprint)
        return None

    def _describe(self, row: Sequence[Any]) -> Metadata:
        """Return the metadata in a row of `_METADATA`; opening the label proves that the terms are those it had."""
        _, lookup, salt, created_at, expires_at, max_reads, delete, read_count, label = row
        terms = Terms(created_at, expires_at, max_reads, bool(delete))
        identity = self._keyring.open_label(SealedRecord(lookup, salt or ERASED_SALT, b"", label, terms))
        return Metadata(identity.name, identity.org, self._keyring.fingerprint(lookup), terms, read_count)

    async def _look_up(self, sql: str, arguments: dict[str, Any]) -> list[Any]:
        """Run a query that touches a few cached pages, here and now: a hop to a thread costs ten times the query."""
        try:
            return self._looking_up.execute(sql, arguments).fetchall()
        except sqlite3.Error:
            return await self._fetch(sql, arguments)

    async def _fetch(self, sql: str, arguments: dict[str, Any]) -> list[Any]:
        """Run a query on the thread of aiosqlite, where it may take its time.

        Raises:
            Unavailable: It failed.
        """
        try:
            return list(await self._reading.execute_fetchall(sql, arguments))
        except (sqlite3.Error, ValueError) as error:
            # aiosqlite raises ValueError where its connection was closed.
            logger.error("a query failed: %s", getattr(error, "sqlite_errorname", "connection closed"))
            raise Unavailable from None

    # Keeping house.

    def has_room(self) -> bool:
        """See `Store.has_room`; measured at most once a second."""
        measured_at, room = self._room
        if (now := time.monotonic()) - measured_at >= 1:
            try:
                space = os.statvfs(self._path.parent)
            except OSError:
                raise Unavailable from None
            room = space.f_bavail * space.f_frsize >= self._min_free_bytes
            self._room = (now, room)
        return room

    async def check(self) -> None:
        """See `Store.check`."""
        await self._fetch("SELECT 1 FROM inner_keys", {})
        if self._writer.failing:
            # The failure may be over; only a write can tell.
            await self._writer.submit(lambda transaction: transaction.execute(_PROBE), long=True, own=True)

    async def tidy(self) -> dict[str, Any]:
        """See `Store.tidy`: return some free pages to the file system, and in any case empty the WAL."""
        try:
            free = await self._writer.between(_free_pages)
            for _ in range(0, min(free - _SPARE_PAGES, _VACUUM_STEPS * _VACUUM_PAGES), _VACUUM_PAGES):
                await self._writer.between(_vacuum_some)
        finally:
            is_empty = await self._truncate()
        return {"wal": "truncated" if is_empty else "held by a reader", **await self._chain_head()}

    async def _truncate(self) -> bool:
        """Write the WAL back and truncate it; a reader in the way is waited for, but not for long at a time."""
        for _ in range(_CHECKPOINT_TRIES):
            if await self._writer.between(_checkpoint):
                return True
            await asyncio.sleep(0.1)
        return False

    async def _chain_head(self) -> dict[str, Any]:
        rows = await self._fetch("SELECT id, length, head FROM audit_chain ORDER BY id DESC LIMIT 1", {})
        return {"audit_chain": rows[0][0], "audit_length": rows[0][1], "audit_head": rows[0][2].hex()}

    async def close(self) -> None:
        """See `Store.close`."""
        try:
            self._looking_up.close()
            await self._reading.close()
            await self._truncate()
        finally:
            await self._writer.close()
            self._writing.close()


class _Trail:
    """Appends the audit rows of each batch to this start's chain."""

    def __init__(self, connection: sqlite3.Connection, chain: AuditChain, clock: Clock) -> None:
        self._chain = chain
        self._head, self._length = chain.start, 0
        with connection:
            cursor = connection.execute(
                "INSERT INTO audit_chain (salt, started_at, head, length) VALUES (?, ?, ?, 0)",
                (chain.salt, clock.now(), chain.start),
            )
        self._id = cursor.lastrowid

    def append(self, connection: sqlite3.Connection, events: list[Event]) -> Callable[[], None]:
        """See `Trail.append`."""
        rows = self._chain.extend(self._head, self._length, events)
        if not rows:
            return lambda: None
        head, length = rows[-1].mac, self._length + len(rows)
        connection.executemany(_AUDIT, [(self._id, *row) for row in rows])
        connection.execute("UPDATE audit_chain SET head = ?, length = ? WHERE id = ?", (head, length, self._id))

        def committed() -> None:
            self._head, self._length = head, length

        return committed


def _connect(path: Path) -> sqlite3.Connection:
    """Open the writing connection, migrate, and make sure that every pragma took."""
    # SQLite would make the file as the umask says, and the files beside it like this one.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        for pragma in _PRAGMAS:
            connection.execute(pragma)
        migrate(connection)
        _check_pragmas(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _read_only(path: Path) -> str:
    return f"{path.as_uri()}?mode=ro"


async def _connect_reader(path: Path) -> aiosqlite.Connection:
    """Open the connection for queries. Its thread keeps the process alive, so it must end with it."""
    reading = await aiosqlite.connect(_read_only(path), uri=True, isolation_level=None)
    try:
        for pragma in _READER_PRAGMAS:
            await reading.execute_fetchall(pragma)
    except BaseException:
        await reading.close()
        raise
    return reading


def _check_pragmas(connection: sqlite3.Connection) -> None:
    """Read back what must not be otherwise: SQLite ignores what it does not understand."""
    for pragma, expected in _EXPECTED.items():
        (found,) = connection.execute(f"PRAGMA {pragma}").fetchone()
        if found != expected:
            raise BadFolder(f"SQLite does not support {pragma} as it must be set here")


def _check_keys(path: Path, masters: MasterKeys) -> None:
    """Check, without writing, that the master keys are those of the database, if there is one."""
    if not path.exists() or not path.stat().st_size:
        return
    connection = sqlite3.connect(_read_only(path), uri=True)
    try:
        if check_version(connection):
            for (check_value,) in connection.execute("SELECT check_value FROM master_key"):
                masters.verify(check_value)
    finally:
        connection.close()


def _settle_keys(connection: sqlite3.Connection, masters: MasterKeys) -> InnerKeys:
    """Return the inner keys, making those of a new database; note the first master key before a row uses it."""
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        row = connection.execute("SELECT sealed FROM inner_keys").fetchone()
        if row is None:
            inner = InnerKeys.make(masters.entropy)
            connection.execute("INSERT INTO inner_keys (id, sealed) VALUES (1, ?)", (masters.seal_inner(inner),))
        else:
            inner = masters.open_inner(row[0])
        connection.execute(
            "INSERT INTO master_key (key_id, check_value) VALUES (?, ?) ON CONFLICT DO NOTHING",
            (masters.first.id, masters.check_value()),
        )
    return inner


def _found(transaction: Transaction, lookup: bytes) -> dict[str, Any]:
    """Return what every statement over one secret needs; a long value is left to the thread."""
    longest = _ANY_LENGTH if transaction.on_thread else _LONG_VALUE_BYTES
    return {"lookup": lookup, "now": transaction.now, "longest": longest}


def _note(transaction: Transaction, action: Action, fingerprint: str, identity: Identity, by: Caller) -> None:
    """Write down a transition; the id of a dead drop is not kept."""
    key = None if identity.org is None else identity.name
    transaction.events.append(Event(action, transaction.now, by, fingerprint, identity.org, key))


def _take_slot(transaction: Transaction, salt: bytes) -> int:
    """Put a salt into a free slot, or into a new one, and return the slot."""
    for (slot,) in transaction.execute(_REUSE, (salt,)).fetchall():
        return int(slot)
    slot = transaction.execute(_APPEND, (salt,)).lastrowid
    if slot is None:
        raise Unavailable
    return slot


def _only(rows: Sequence[Sequence[bytes]]) -> bytes:
    """Return the one lookup that a bare key was resolved to."""
    if not rows:
        raise Gone
    if len(rows) > 1:
        raise AmbiguousKey
    return rows[0][0]


def _free_pages(connection: sqlite3.Connection) -> int:
    """Return how many pages of the file hold nothing."""
    return int(connection.execute("PRAGMA freelist_count").fetchone()[0])


def _vacuum_some(connection: sqlite3.Connection) -> None:
    """Return some free pages to the file system."""
    # The pragma frees one page a step, and `execute` takes one step of a statement that returns nothing.
    connection.executescript(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})")


def _checkpoint(connection: sqlite3.Connection) -> bool:
    """Truncate the WAL; tell whether that worked."""
    connection.execute(f"PRAGMA busy_timeout={_CHECKPOINT_PATIENCE_MS}")
    try:
        (blocked, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        connection.execute("PRAGMA busy_timeout=0")
    return not blocked
