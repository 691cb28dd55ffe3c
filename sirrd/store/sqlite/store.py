"""The embedded store: one SQLite database in the data folder.

Writes go through the `Writer`, each as one unit of SQL in one durable transaction. Queries go through connections that
cannot write, look-ups of one secret on the event loop and lists through aiosqlite, in short reads, so that no reader
stands in the way of a checkpoint.

The claim runs the statements of docs/architecture.md in their order, inside one unit of a transaction that holds the
only lock for writing: what it reads cannot change before it claims, and the claim repeats the whole condition.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import math
import os
import sqlite3
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final

from sirrd.clock import Clock
from sirrd.errors import (
    BadFolder,
    Gone,
    KeyExists,
    Locked,
    NotAmendable,
    Sealed,
    SecretError,
    StorageError,
    Unauthorised,
    Unavailable,
    Unreadable,
)
from sirrd.events import Action, Event
from sirrd.keyring.forms import generation_of
from sirrd.keyring.masters import MasterKeys
from sirrd.keyring.ring import Keyring, SealedRecord
from sirrd.memory import Memory
from sirrd.model import Amendment, Attempt, Caller, Identity, Metadata, Opened, Plaintext, Target, Terms, Unset
from sirrd.store import Page, Unlock, refuse
from sirrd.store.sqlite import statements
from sirrd.store.sqlite.attempts import FOREVER, Attempts, Known
from sirrd.store.sqlite.connections import (
    VACUUM_PAGES,
    bound_wal,
    check_keys,
    checkpoint,
    connect_writer,
    free_pages,
    persist_wal,
    vacuum_some,
)
from sirrd.store.sqlite.inner import open_or_make_keys
from sirrd.store.sqlite.places import Places
from sirrd.store.sqlite.portable import SqliteUnits
from sirrd.store.sqlite.queries import Queries
from sirrd.store.sqlite.rotation import SqliteRotation
from sirrd.store.sqlite.slots import Slots
from sirrd.store.sqlite.statements import Row
from sirrd.store.sqlite.timeline import resume
from sirrd.store.sqlite.trail import ChainedTrail
from sirrd.store.sqlite.units import LONG_VALUE_BYTES, NeedsThread, Transaction, miscounted
from sirrd.store.sqlite.writer import Writer

logger = logging.getLogger(__name__)

DEFAULT_REDELIVERY_SECONDS: Final = 60
_SWEEP_SECONDS: Final = 10.0
_SPARE_PAGES: Final = 256
_LEAST_FREE_BYTES: Final = statements.PRUNE_BATCH_BYTES  # what the largest unit of work of the daemon's own may need
_MEASURE_SECONDS: Final = 1.0
_MEASURE_BYTES: Final = 1024 * 1024
_VACUUM_STEPS: Final = 64
_QUIET_SECONDS: Final = 1.0
_PRUNE_BATCH_BESIDE_OTHERS: Final = 10
_RESTS: Final = 9  # beside others, statements of a prune run for a tenth of the time
_LONGEST_REST_SECONDS: Final = 0.1
_CHECKPOINT_TRIES: Final = 10
_CHECKPOINT_PAUSE_SECONDS: Final = 0.1


class SqliteStore:
    """The `Store` over one SQLite file."""

    def __init__(
        self,
        path: Path,
        *,
        keyring: Keyring,
        writer: Writer,
        writing: sqlite3.Connection,
        queries: Queries,
        trail: ChainedTrail,
        min_free_bytes: int,
        redelivery_seconds: int,
    ) -> None:
        self._path = path
        self._keyring = keyring
        self._writer = writer
        self._writing = writing
        self._queries = queries
        self._timeline = trail.timeline
        self._loop = asyncio.get_running_loop()
        self._marking: asyncio.Future[None] | None = None
        self._timeline.on_jump = self._note_jump
        self._min_free_bytes = min_free_bytes
        self._measured_at = 0.0
        self._free_bytes = 0
        self._promised_bytes = 0
        self._slots = Slots()
        self._attempts = Attempts(keyring, redelivery_seconds=redelivery_seconds)
        self._places = Places(keyring, self._attempts)
        self.units = SqliteUnits(writer=writer, queries=queries, timeline=trail.timeline)
        self.rotation = SqliteRotation(
            writer=writer, queries=queries, keyring=keyring, trail=trail, attempts=self._attempts, places=self._places
        )

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        masters: MasterKeys,
        clock: Clock,
        min_free_bytes: int = 0,
        redelivery_seconds: int = DEFAULT_REDELIVERY_SECONDS,
        memory: Memory | None = None,
    ) -> SqliteStore:
        """Open a database, or make it.

        Args:
            path: The file; its folder must be there and be held by this process.
            masters: The master keys.
            clock: Reads the system's clocks.
            min_free_bytes: Below that much free space nothing new is stored.
            redelivery_seconds: For how long an attempt is answered again; 0 for not at all.
            memory: Bounds what waits to be written, or None for bounds of its own.

        Raises:
            WrongKey: The keys do not belong to this database; nothing in it was touched.
            BadFolder: The file is not a database of ours, or cannot be opened.
        """
        try:
            check_keys(path, masters)
            async with contextlib.AsyncExitStack() as unless_opened:
                # What a crash left in the WAL may be in the kernel's memory alone, and would not be synced again.
                is_sound = persist_wal(path)
                writing = connect_writer(path)
                unless_opened.callback(writing.close)
                bound_wal(writing, min_free_bytes)
                is_sound = checkpoint(writing) and is_sound
                keyring = open_or_make_keys(writing, masters)
                timeline = resume(writing, clock)
                queries = await Queries.open(path, keyring=keyring, timeline=timeline)
                unless_opened.push_async_callback(queries.close)
                trail = ChainedTrail(writing, keyring.audit_chain(), timeline, generation=keyring.names.number)
                writer = Writer(writing, trail=trail, clock=timeline, memory=memory)
                writer.health.in_doubt = not is_sound
                unless_opened.pop_all()
        except (sqlite3.Error, OSError) as error:
            reason = getattr(error, "sqlite_errorname", None) or getattr(error, "strerror", None) or "it is no database"
            raise BadFolder(
                f"the database cannot be opened: {reason}", hint="see the folder's permissions and disk"
            ) from None
        return cls(
            path,
            keyring=keyring,
            writer=writer,
            writing=writing,
            queries=queries,
            trail=trail,
            min_free_bytes=min_free_bytes,
            redelivery_seconds=redelivery_seconds,
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

        def unit(transaction: Transaction) -> Metadata:
            # In here, since inner keys may be renewed while this waits.
            names = keyring.names
            lookup, bare, org = names.places(identity)
            fingerprint = names.fingerprint(lookup)
            agreed = terms(transaction.now)
            if org is not None:
                self._make_way(transaction, identity, lookup, fingerprint)
            record = keyring.seal(lookup, identity, plaintext, agreed)
            slot = self._slots.take(transaction, record.salt)
            # A bool would go through the adapters of `sqlite3`, which takes longer than the insert.
            at, until, reads, burns, lock = agreed
            terms_of_row = (at, until, reads, int(burns), lock)
            transaction.change(statements.INSERT, (lookup, bare, org, slot, *terms_of_row, record.label, record.sealed))
            transaction.events.append(
                Event(Action.CREATED, transaction.now, by, fingerprint, identity.org, identity.org and identity.name)
            )
            return Metadata(identity.name, identity.org, fingerprint, self._timeline.show(agreed), 0)

        size = len(plaintext)
        return await self._writer.submit(unit, long=size > LONG_VALUE_BYTES, size=size)

    def _make_way(self, transaction: Transaction, identity: Identity, lookup: bytes, fingerprint: str) -> None:
        """Free an org key that expired but was not pruned yet, or has burned; refuse one that is live."""
        places = [lookup, *(names.lookup(identity) for names in self._keyring.moving)]
        for arguments in [_arguments(transaction, place) for place in places]:
            for slot, seq in transaction.execute(statements.REMOVE_EXPIRED, arguments).fetchall():
                self._slots.erase(transaction, [slot])
                self._attempts.forget(transaction, [seq])
                transaction.events.append(Event(Action.EXPIRED, transaction.now, Caller("daemon"), fingerprint))
            for (is_live,) in transaction.execute(statements.HOLDER, arguments).fetchall():
                raise KeyExists(fingerprint) if is_live else NeedsThread
        self._attempts.remove_spent(transaction, identity)

    def claim(
        self, target: Target, *, by: Caller, unlock: Unlock = refuse, attempt: Attempt | None = None
    ) -> Awaitable[Opened]:
        """See `Store.claim`."""

        def unit(transaction: Transaction) -> Opened:
            if attempt is not None and (known := self._attempts.find(transaction, target, attempt)) is not None:
                return self._repeat(transaction, target, known, attempt, by)
            lookup, fingerprint = self._resolve(transaction, target)
            rows = transaction.execute(statements.CLAIM, _arguments(transaction, lookup)).fetchall()
            if not rows:
                raise Gone(fingerprint)
            row = Row(*rows[0])
            burns = _next_read_burns(row, fingerprint)
            if row.lock is not None:
                unlock(row.lock, fingerprint, transaction.now)
            if not row.sealed and not transaction.on_thread:
                # Too long to be opened here.
                raise NeedsThread
            record = row.record
            plaintext = self._keyring.open_value(record)
            identity = self._identify(target, record, fingerprint)
            # Only from here on anything is written, under the whole condition once more.
            if self._keyring.moving:
                row = self._places.move_to_newest_keys(transaction, row, identity, plaintext)
            action = self._spend(transaction, row, burns=burns, attempt=attempt)
            _note(transaction, action, fingerprint, identity, by)
            return Opened(plaintext, fingerprint, target.name)

        return self._writer.submit(unit, gives=True)

    def _spend(self, transaction: Transaction, row: Row, *, burns: bool, attempt: Attempt | None) -> Action:
        """Spend one read, and note whose it was; what burns stays for the attempts that may be answered again."""
        is_kept = burns and self._attempts.must_keep(transaction, row, attempt)
        if is_kept:
            transaction.change(statements.KEEP_SPENT, (row.seq,))
        transaction.change(
            statements.BURN if burns else statements.COUNT,
            {"seq": row.seq, "lookup": row.lookup, "now": transaction.now},
        )
        if attempt is not None and (is_kept or not burns):
            self._attempts.note(transaction, row, attempt)
        if not burns:
            return Action.SEALED if row.read_count + 1 == row.max_reads else Action.READ
        self._slots.erase(transaction, [row.slot])
        if row.max_reads != 1 and not is_kept:
            self._attempts.forget(transaction, [row.seq])
        return Action.BURNED

    def _repeat(self, transaction: Transaction, target: Target, known: Known, attempt: Attempt, by: Caller) -> Opened:
        """Answer a known attempt again; only the first time it is a row of its own in the audit trail."""
        record = self._attempts.read_before(transaction, known, attempt)
        fingerprint = known.names.fingerprint(record.lookup)
        plaintext = self._keyring.open_value(record)
        identity = self._identify(target, record, fingerprint)
        repeats = self._attempts.count_repeat(transaction, known)
        if repeats == 1:
            _note(transaction, Action.REDELIVERED, fingerprint, identity, by)
        return Opened(plaintext, fingerprint, target.name, repeats)

    async def received(self, target: Target, attempt: Attempt) -> None:
        """See `Store.received`."""

        def unit(transaction: Transaction) -> None:
            if (known := self._attempts.find(transaction, target, attempt)) is not None:
                self._attempts.received(transaction, known)

        await self._writer.submit(unit)

    def _remove(
        self, transaction: Transaction, target: Target, arguments: dict[str, Any], fingerprint: str, by: Caller
    ) -> str:
        """Delete a live secret, erase its salt, and return its fingerprint."""
        rows = transaction.execute(statements.REMOVE, arguments).fetchall()
        if not rows:
            raise self._refusal(transaction, arguments, fingerprint)
        if len(rows) != 1:
            raise miscounted(len(rows), 1)
        row = Row(*rows[0])
        identity = self._identify(target, row.record, fingerprint)
        self._slots.erase(transaction, [row.slot])
        self._attempts.forget(transaction, [row.seq])
        _note(transaction, Action.DELETED, fingerprint, identity, by)
        return fingerprint

    def _refusal(
        self, transaction: Transaction, arguments: dict[str, Any], fingerprint: str
    ) -> SecretError | NeedsThread:
        """Return why a statement found nothing: it is not there, or too long for the event loop."""
        if transaction.execute(statements.HOLDER, arguments).fetchall() == [(1,)]:
            # On the thread no length is too long, so a live row cannot have been missed.
            return Unreadable(fingerprint) if transaction.on_thread else NeedsThread()
        return Gone(fingerprint)

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
            lookup, fingerprint = self._resolve(transaction, target)
            arguments = _arguments(transaction, lookup)
            rows = transaction.execute(statements.FIND, arguments).fetchall()
            if not rows:
                raise self._refusal(transaction, arguments, fingerprint)
            row = Row(*rows[0])
            if row.delete:
                raise NotAmendable(fingerprint)
            if row.lock is not None and amendment.leaves_lock_behind:
                raise Locked(fingerprint)
            identity = self._identify(target, row.record, fingerprint)
            plaintext = keyring.open_value(row.record)
            if not isinstance(amendment.plaintext, Unset):
                plaintext = amendment.plaintext
            agreed = terms(row.terms, transaction.now)
            if keyring.moving:
                row = self._places.move_to_newest_keys(transaction, row, identity, plaintext)
            # A fresh salt in the same slot: what the old terms were bound to can never be opened again.
            new = keyring.seal(row.lookup, identity, plaintext, agreed)
            transaction.change(statements.RESALT, (new.salt, row.slot))
            self._attempts.end(transaction, row.seq)
            changed = (agreed.expires_at, agreed.max_reads, agreed.lock, new.label, new.sealed)
            transaction.change(statements.AMEND, (*changed, row.seq))
            _note(transaction, Action.AMENDED, fingerprint, identity, by)
            return Metadata(identity.name, identity.org, fingerprint, self._timeline.show(agreed), 0)

        new_value = amendment.plaintext
        size = 0 if isinstance(new_value, Unset) else len(new_value)
        return await self._writer.submit(unit, long=size > LONG_VALUE_BYTES, size=size)

    async def remove(self, target: Target, *, by: Caller) -> str:
        """See `Store.remove`."""

        def unit(transaction: Transaction) -> str | Gone:
            try:
                lookup, fingerprint = self._resolve(transaction, target)
                return self._remove(transaction, target, _arguments(transaction, lookup), fingerprint, by)
            except Gone as gone:
                # What is raised undoes what the unit has written, so this is raised after the commit.
                self._attempts.remove_spent(transaction, target)
                return gone

        return _raised(await self._writer.submit(unit))

    async def destroy(self, target: Target, *, by: Caller, unlock: Unlock) -> str:
        """See `Store.destroy`."""

        def unit(transaction: Transaction) -> str | Gone:
            lookup, fingerprint = self._resolve(transaction, target)
            arguments = _arguments(transaction, lookup)
            # Looked at first, since a refusal after a write would cost everyone in the batch.
            rows = transaction.execute(statements.FIND, arguments).fetchall()
            if not rows:
                refusal = self._refusal(transaction, arguments, fingerprint)
                if isinstance(refusal, Gone) and self._has_spent(transaction, arguments, fingerprint, unlock):
                    self._attempts.remove_spent(transaction, target)
                    return refusal
                raise refusal
            row = Row(*rows[0])
            if row.lock is None:
                raise Unauthorised
            unlock(row.lock, fingerprint, transaction.now)
            return self._remove(transaction, target, arguments, fingerprint, by)

        return _raised(await self._writer.submit(unit))

    def _has_spent(self, transaction: Transaction, arguments: dict[str, Any], fingerprint: str, unlock: Unlock) -> bool:
        """Tell whether a locked secret has burned whose proof was shown; nothing of that is told to whoever asks."""
        for (lock,) in transaction.execute(statements.SPENT_LOCK, arguments).fetchall():
            with contextlib.suppress(SecretError):
                if lock is not None:
                    unlock(lock, fingerprint, transaction.now)
                    return True
        return False

    async def prune(self, *, org: str | None, by: Caller, before: int | None = None, gently: bool = True) -> int:
        """See `Store.prune`."""
        rests = gently and time.monotonic() - self._writer.last_short_at < _QUIET_SECONDS
        # For one org each batch goes through what has expired in all: the fewer there are, the better.
        most = _PRUNE_BATCH_BESIDE_OTHERS if rests and org is None else statements.PRUNE_BATCH

        def unit(transaction: Transaction) -> tuple[int, float]:
            began = time.monotonic()
            # In here, since inner keys may be renewed while this waits.
            places = {} if org is None else statements.named(self._keyring.org_lookups(org))
            # The plus keeps SQLite from going through all secrets of the org rather than through those that expired.
            of_org = f"AND +org IN ({statements.among(places)})" if places else ""
            arguments = {"now": transaction.now if before is None else before, "most": most, **places}
            rows = transaction.execute(statements.PRUNE.format(of_org=of_org), arguments).fetchall()
            if not rows and transaction.execute(statements.EXPIRED.format(of_org=of_org), arguments).fetchall():
                raise miscounted(0, 1)
            self._end_rows(transaction, rows, Action.EXPIRED, by)
            return len(rows), time.monotonic() - began

        pruned, took = await self._writer.submit(unit, long=True, own=by.kind == "daemon")
        if rests and pruned:
            await asyncio.sleep(min(took * _RESTS, _LONGEST_REST_SECONDS))
        return pruned

    async def burn_limited(self, *, after: int, by: Caller) -> tuple[int, int]:
        """Delete one batch of secrets that have a limit of reads; return how many, and after which seq to go on."""

        def unit(transaction: Transaction) -> tuple[int, int]:
            rows = transaction.execute(statements.LIMITED, {"after": after}).fetchall()
            if not rows and transaction.execute(statements.ANY_LIMITED, ()).fetchall():
                raise miscounted(0, 1)
            self._end_rows(transaction, rows, Action.DELETED, by)
            return len(rows), max((seq for _, _, seq, _ in rows), default=after)

        return await self._writer.submit(unit, long=True)

    async def end_attempts(self) -> None:
        """End all that attempts have left: after a restore nobody gets anything again."""
        await self._writer.submit(lambda transaction: transaction.execute(statements.END_ALL, ()), long=True)
        await self._sweep(before=FOREVER)

    async def _sweep(self, *, before: int | None = None, seconds: float = math.inf) -> None:
        """End what attempts have left and is over by now, or by a time of the store; for so long at most."""
        count, ends_at = 1, time.monotonic() + seconds
        while count and time.monotonic() < ends_at:
            # What becomes due meanwhile waits for the next tick: with readers that never pause this would not end.
            count, before = await self._writer.submit(
                functools.partial(self._attempts.sweep, before=before), long=True, own=True
            )

    async def record(self, events: Sequence[Event]) -> None:
        """See `Store.record`."""
        if events:
            await self._writer.submit(lambda transaction: transaction.events.extend(events), long=True, own=True)

    def _end_rows(self, transaction: Transaction, rows: Sequence[Sequence[Any]], action: Action, by: Caller) -> None:
        """Erase what is left of secrets whose rows were deleted, and note it: rows of lookup, slot, seq, label."""
        self._slots.erase(transaction, [slot for _, slot, _, _ in rows])
        self._attempts.forget(transaction, [seq for _, _, seq, _ in rows])
        transaction.events += [
            Event(action, transaction.now, by, self._keyring.names_of(generation_of(label)).fingerprint(lookup))
            for lookup, _, _, label in rows
        ]

    def _resolve(self, transaction: Transaction, target: Target) -> tuple[bytes, str]:
        """Return the lookup of a target, and its fingerprint; a bare key is resolved inside the unit that uses it."""
        return self._places.resolve(transaction, target)

    # Queries.

    def peek(self, target: Target) -> Coroutine[Any, Any, Metadata]:
        """See `Store.peek`."""
        return self._queries.peek(target, may_share=self._writer.rests)

    async def page(self, *, org: str | None, before: int | None, limit: int) -> Page:
        """See `Store.page`."""
        return await self._queries.page(org=org, before=before, limit=limit)

    # Keeping house.

    def now(self) -> int:
        """See `Store.now`."""
        return self._timeline.now()

    def has_room(self, needed: int = 0) -> bool:
        """See `Store.has_room`; measured each second, and again for each MiB that was asked about since."""
        self._promised_bytes += needed
        now = time.monotonic()
        if now - self._measured_at >= _MEASURE_SECONDS or self._promised_bytes > _MEASURE_BYTES:
            self._free_bytes = self._measure()
            self._measured_at, self._promised_bytes = now, needed
        return self._free_bytes - self._promised_bytes >= self._min_free_bytes

    def _measure(self) -> int:
        """Return how many bytes are free."""
        try:
            space = os.statvfs(self._path.parent)
        except OSError:
            raise Unavailable from None
        return space.f_bavail * space.f_frsize

    async def check(self) -> None:
        """See `Store.check`."""
        await self._queries.fetch("SELECT 1 FROM inner_keys", {})
        if (free := self._measure()) < _LEAST_FREE_BYTES:
            # A small write may still go into the slack of the WAL while larger ones fail: it would prove nothing.
            logger.error("the disk is full: %d bytes are free", free)
            raise Unavailable
        if self._writer.health.failing:
            # The failure may be over; only a checkpoint and a write can tell.
            await self._writer.checkpoint()
            await self._writer.submit(_probe, long=True, own=True)

    async def tidy(self) -> dict[str, Any]:
        """See `Store.tidy`: end what attempts have left, return some free pages, and in any case empty the WAL."""
        await self._keep_mark()
        try:
            await self._sweep(seconds=_SWEEP_SECONDS)
            free = await self._writer.between(free_pages)
            for _ in range(0, min(free - _SPARE_PAGES, _VACUUM_STEPS * VACUUM_PAGES), VACUUM_PAGES):
                await self._writer.between(vacuum_some)
        finally:
            is_empty = await self._truncate()
        return {"wal": "truncated" if is_empty else "held by a reader", **await self._chain_head()}

    async def _keep_mark(self) -> None:
        """Keep where the store's time is now, for the next start."""
        # Whatever hinders it, the writer has said so, and the next tick tries again.
        with contextlib.suppress(StorageError):
            await self._writer.submit(self._mark, long=True, own=True)

    def _mark(self, transaction: Transaction) -> None:
        transaction.change(statements.KEEP_MARK, self._timeline.mark())

    def _note_jump(self) -> None:
        """Keep a mark soon; a jump is found on either thread."""
        self._loop.call_soon_threadsafe(self._keep_mark_soon)

    def _keep_mark_soon(self) -> None:
        self._marking = asyncio.ensure_future(self._keep_mark())

    async def _truncate(self) -> bool:
        """Write the WAL back and truncate it; a reader in the way is waited for, but not for long at a time."""
        for _ in range(_CHECKPOINT_TRIES):
            if await self._writer.checkpoint():
                return True
            await asyncio.sleep(_CHECKPOINT_PAUSE_SECONDS)
        return False

    async def _chain_head(self) -> dict[str, Any]:
        rows = await self._queries.fetch("SELECT id, length, head FROM audit_chain ORDER BY id DESC LIMIT 1", {})
        return {"audit_chain": rows[0][0], "audit_length": rows[0][1], "audit_head": rows[0][2].hex()}

    async def close(self) -> None:
        """See `Store.close`."""
        try:
            await self._queries.close()
            await self._keep_mark()
        finally:
            await self._writer.close()
            await self._empty_wal_for_good()
            self._writing.close()

    async def _empty_wal_for_good(self) -> None:
        """Truncate the WAL after the last batch; nothing else uses the connection any more."""
        for _ in range(_CHECKPOINT_TRIES):
            try:
                if checkpoint(self._writing):
                    return
            except sqlite3.Error as error:
                logger.error("the last checkpoint failed: %s", error.sqlite_errorname)
                return
            await asyncio.sleep(_CHECKPOINT_PAUSE_SECONDS)
        logger.warning("the WAL could not be emptied: another process reads the database")


def _raised(found: str | Gone) -> str:
    """Return a fingerprint, or raise what a unit has returned instead.

    Raises:
        Gone: The secret is not there; what it had left is not either.
    """
    if isinstance(found, Gone):
        raise found
    return found


def _next_read_burns(row: Row, fingerprint: str) -> bool:
    """Tell whether the next read of a secret burns it.

    Raises:
        Sealed: There is none; its owner kept it.
        Unreadable: Its count is one that no sequence of reads can have left.
    """
    if row.max_reads is None or row.read_count + 1 < row.max_reads:
        return False
    if row.delete and row.read_count + 1 > row.max_reads:
        raise Unreadable(fingerprint)
    if not row.delete and row.read_count >= row.max_reads:
        raise Sealed(fingerprint)
    return bool(row.delete)


def _arguments(transaction: Transaction, lookup: bytes) -> dict[str, Any]:
    """Return what every statement over one secret needs; a long value is left to the thread."""
    return {"lookup": lookup, "now": transaction.now, "longest": transaction.longest}


def _probe(transaction: Transaction) -> None:
    """Write, and change nothing."""
    for _ in range(2):
        transaction.change(statements.PROBE, ())


def _note(transaction: Transaction, action: Action, fingerprint: str, identity: Identity, by: Caller) -> None:
    """Write down a transition; the id of a dead drop is not kept."""
    key = None if identity.org is None else identity.name
    transaction.events.append(Event(action, transaction.now, by, fingerprint, identity.org, key))
