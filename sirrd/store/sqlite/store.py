"""The embedded store: one SQLite database in the data folder.

Writes go through the `Writer`, each as one unit of SQL in one durable transaction. Queries go through connections that
cannot write, look-ups of one secret on the event loop and lists through aiosqlite, in short reads, so that no reader
stands in the way of a checkpoint.

`secrets` has the work on one secret, the claim above all, and `upkeep` the keeping of house.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sqlite3
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final

from sirrd.clock import Clock
from sirrd.errors import (
    BadFolder,
)
from sirrd.events import Action, Event
from sirrd.keyring.forms import generation_of
from sirrd.keyring.masters import MasterKeys
from sirrd.keyring.ring import Keyring
from sirrd.measures import Measures
from sirrd.memory import Memory
from sirrd.model import Caller, Identity, Metadata, Target
from sirrd.store import Page
from sirrd.store.sqlite import statements
from sirrd.store.sqlite.attempts import Attempts
from sirrd.store.sqlite.connections import (
    bound_wal,
    check_keys,
    checkpoint,
    connect_writer,
    persist_wal,
)
from sirrd.store.sqlite.inner import open_or_make_keys
from sirrd.store.sqlite.places import Places
from sirrd.store.sqlite.portable import SqliteUnits
from sirrd.store.sqlite.queries import Queries
from sirrd.store.sqlite.rotation import SqliteRotation
from sirrd.store.sqlite.secrets import Secrets
from sirrd.store.sqlite.slots import Slots
from sirrd.store.sqlite.timeline import resume
from sirrd.store.sqlite.trail import ChainedTrail
from sirrd.store.sqlite.units import Transaction, miscounted
from sirrd.store.sqlite.upkeep import Upkeep
from sirrd.store.sqlite.writer import Writer

DEFAULT_REDELIVERY_SECONDS: Final = 60
_QUIET_SECONDS: Final = 1.0
_PRUNE_BATCH_BESIDE_OTHERS: Final = 10
_RESTS: Final = 9  # beside others, statements of a prune run for a tenth of the time
_LONGEST_REST_SECONDS: Final = 0.1


class SqliteStore:
    """The `Store` over one SQLite file."""

    def __init__(
        self,
        *,
        keyring: Keyring,
        writer: Writer,
        writing: sqlite3.Connection,
        queries: Queries,
        trail: ChainedTrail,
        redelivery_seconds: int,
        upkeep: Callable[..., Upkeep],
    ) -> None:
        self._keyring = keyring
        self._writer = writer
        self._queries = queries
        self._slots = Slots()
        self._attempts = Attempts(keyring, redelivery_seconds=redelivery_seconds)
        places = Places(keyring, self._attempts)
        secrets = Secrets(
            writer=writer,
            keyring=keyring,
            timeline=trail.timeline,
            slots=self._slots,
            attempts=self._attempts,
            places=places,
        )
        self.put, self.claim, self.received = secrets.put, secrets.claim, secrets.received
        self.amend, self.remove, self.destroy = secrets.amend, secrets.remove, secrets.destroy
        self._upkeep = kept = upkeep(
            writer=writer,
            writing=writing,
            queries=queries,
            timeline=trail.timeline,
            attempts=self._attempts,
        )
        self.has_room, self.check, self.tidy, self.close = kept.has_room, kept.check, kept.tidy, kept.close
        self.end_attempts = kept.end_attempts
        self.now = trail.timeline.now
        self.units = SqliteUnits(writer=writer, queries=queries, timeline=trail.timeline)
        self.rotation = SqliteRotation(
            writer=writer, queries=queries, keyring=keyring, trail=trail, attempts=self._attempts, places=places
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
        measures: Measures | None = None,
    ) -> SqliteStore:
        """Open a database, or make it.

        Args:
            path: The file; its folder must be there and be held by this process.
            masters: The master keys.
            clock: Reads the system's clocks.
            min_free_bytes: Below that much free space nothing new is stored.
            redelivery_seconds: For how long an attempt is answered again; 0 for not at all.
            memory: Bounds what waits to be written, or None for bounds of its own.
            measures: What is to be counted, or None for nothing.

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
                make_writer, upkeep = (Writer, Upkeep) if measures is None else _measured(measures)
                writer = make_writer(writing, trail=trail, clock=timeline, memory=memory)
                writer.health.in_doubt = not is_sound
                unless_opened.pop_all()
        except (sqlite3.Error, OSError) as error:
            reason = getattr(error, "sqlite_errorname", None) or getattr(error, "strerror", None) or "it is no database"
            raise BadFolder(
                f"the database cannot be opened: {reason}", hint="see the folder's permissions and disk"
            ) from None
        return cls(
            keyring=keyring,
            writer=writer,
            writing=writing,
            queries=queries,
            trail=trail,
            redelivery_seconds=redelivery_seconds,
            upkeep=functools.partial(upkeep, path, min_free_bytes=min_free_bytes),
        )

    def fingerprint(self, identity: Identity) -> str:
        """See `Store.fingerprint`."""
        return self._keyring.fingerprint(self._keyring.lookup(identity))

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

    # Queries.

    def peek(self, target: Target) -> Coroutine[Any, Any, Metadata]:
        """See `Store.peek`."""
        return self._queries.peek(target, may_share=self._writer.rests)

    async def page(self, *, org: str | None, before: int | None, limit: int) -> Page:
        """See `Store.page`."""
        return await self._queries.page(org=org, before=before, limit=limit)


def _measured(measures: Measures) -> tuple[Callable[..., Writer], type[Upkeep]]:
    """Return what makes the parts that count."""
    # Loaded only here: most daemons count nothing.
    from sirrd.store.sqlite.measured import MeasuredUpkeep, MeasuredWriter  # noqa: PLC0415

    return functools.partial(MeasuredWriter, measures=measures), MeasuredUpkeep
