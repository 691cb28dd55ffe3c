"""Moves records from older master keys to the first one, in small units, while everything else goes on.

It is safe at every instant: the new key is in its file and noted in the database before a record uses it; a record is
resealed and replaced in one unit, so a claim, which is another unit, finds it whole under one key or the other; and an
older key is forgotten only after nothing was found under it. Whatever ends it in between, the next attempt goes on.
"""

from __future__ import annotations

import logging

from sirrd.errors import Unavailable, Unreadable
from sirrd.events import Action, Event
from sirrd.keyring.forms import GENERATION_BYTES, key_id_of
from sirrd.keyring.masters import MasterKeys
from sirrd.keyring.ring import Keyring
from sirrd.model import Caller
from sirrd.store.sqlite import statements
from sirrd.store.sqlite.attempts import Attempts
from sirrd.store.sqlite.inner import renew_keys, reseal_keys
from sirrd.store.sqlite.places import Places
from sirrd.store.sqlite.queries import Queries
from sirrd.store.sqlite.statements import Row
from sirrd.store.sqlite.trail import ChainedTrail
from sirrd.store.sqlite.units import Transaction
from sirrd.store.sqlite.writer import Writer

logger = logging.getLogger(__name__)


class SqliteRotation:
    """The `Rotation` of the embedded store.

    Attributes:
        key_changes: See `Rotation`. A change counts before it is committed, so that no older look passes for newer.
    """

    def __init__(
        self,
        *,
        writer: Writer,
        queries: Queries,
        keyring: Keyring,
        trail: ChainedTrail,
        attempts: Attempts,
        places: Places,
    ) -> None:
        self._writer = writer
        self._queries = queries
        self._keyring = keyring
        self._trail = trail
        self._attempts = attempts
        self._places = places
        self.key_changes = 0

    async def adopt(self, masters: MasterKeys) -> bool:
        """See `Rotation.adopt`."""
        if masters.first.id == self._keyring.first_id:
            return False

        def unit(transaction: Transaction) -> None:
            for (check_value,) in transaction.execute("SELECT check_value FROM master_key").fetchall():
                masters.verify(check_value)
            reseal_keys(transaction.execute, masters)
            transaction.execute(
                "INSERT INTO master_key (key_id, check_value) VALUES (?, ?) ON CONFLICT DO NOTHING",
                (masters.first.id, masters.check_value()),
            )

        self.key_changes += 1
        await self._writer.submit(unit)
        # No batch comes between the commit and this line: whoever waits for a batch is told before the next one begins.
        self._keyring.use(masters)
        return True

    async def renew(self, *, by: Caller) -> bool:
        """See `Rotation.renew`."""
        # A command asks again and again while secrets move, and must not undo the end of that.
        ((made_under,),) = await self._queries.fetch(statements.MADE_UNDER, {})
        if made_under == self._keyring.first_id:
            return False
        self.key_changes += 1
        return await self._writer.between(lambda connection: renew_keys(connection, self._keyring, self._trail, by=by))

    async def remaining(self) -> int:
        """See `Rotation.remaining`."""
        ((count,),) = await self._queries.fetch(statements.REMAINING, self._newest())
        return int(count)

    def _newest(self) -> dict[str, bytes]:
        """Return what a record says of its keys once it has moved."""
        number = self._keyring.names.number
        return {"key": self._keyring.first_id, "generation": number.to_bytes(GENERATION_BYTES)}

    async def has_older_keys(self) -> bool:
        """See `Rotation.has_older_keys`."""
        ((older,),) = await self._queries.fetch(statements.OLDER_KEYS, {"key": self._keyring.first_id})
        ((moving,),) = await self._queries.fetch(statements.MOVING, {})
        return bool(older or moving)

    async def move(self, *, after: int, by: Caller) -> int | None:
        """See `Rotation.move`."""
        numbers: list[int] = []
        size = 0
        for number, length in await self._queries.fetch(statements.NEXT_OLDER, {"after": after, **self._newest()}):
            if numbers and size + length > statements.ROTATION_BATCH_BYTES:
                break
            numbers.append(number)
            size += length
        if not numbers:
            return None

        def unit(transaction: Transaction) -> None:
            moved = sum(self._move(transaction, number) for number in numbers)
            if moved:
                transaction.events.append(Event(Action.ROTATED, transaction.now, by, None, times=moved))

        await self._writer.submit(unit, long=True, own=True)
        return numbers[-1]

    def _move(self, transaction: Transaction, number: int) -> int:
        """Reseal one record, if it is still there and still under an older key; return how many were moved."""
        for found in transaction.execute(statements.BY_NUMBER, (number,)).fetchall():
            row = Row(*found)
            is_named = row.generation == self._keyring.names.number
            if is_named and {key_id_of(row.label), key_id_of(row.sealed)} == {self._keyring.first_id}:
                return 0
            try:
                if not is_named:
                    identity, plaintext = self._keyring.open_label(row.record), self._keyring.open_value(row.record)
                    self._places.move_to_newest_keys(transaction, row, identity, plaintext)
                    return 1
                new = self._keyring.rewrap(row.record)
            except Unreadable as error:
                logger.error("UNREADABLE: the record of %s does not open and cannot be moved", error.fingerprint)
                return 0
            transaction.change(statements.REWRAP, (new.label, new.sealed, row.seq, row.sealed))
            return 1
        return 0

    async def forget_older_keys(self) -> None:
        """See `Rotation.forget_older_keys`."""
        first, changes = self._keyring.first_id, self.key_changes
        if await self.remaining():
            raise Unavailable

        def end_batch(transaction: Transaction) -> int:
            return self._attempts.end_batch_under_older_keys(transaction, first)

        # What has burned under an older key can be moved by nobody, so it ends, some at a time.
        while await self._writer.submit(end_batch, long=True, own=True):
            pass

        def unit(transaction: Transaction) -> bool:
            ((inner,),) = transaction.execute("SELECT sealed FROM inner_keys").fetchall()
            # What was counted above says nothing any more if another key came first meanwhile.
            older_inner = transaction.execute("SELECT sealed FROM older_inner_keys").fetchall()
            under = {key_id_of(inner), *(key_id_of(sealed) for (sealed,) in older_inner)}
            if under != {first} or self.key_changes != changes:
                return False
            transaction.execute(statements.MOVED, ())
            if self._attempts.end_batch_under_older_keys(transaction, first):
                return False
            ((older,),) = transaction.execute(statements.OLDER_KEYS, {"key": first}).fetchall()
            transaction.change(statements.FORGET_OLDER_KEYS, (first,), rows=older)
            return True

        if not await self._writer.submit(unit, own=True):
            raise Unavailable
        if self.key_changes == changes:
            self._keyring.moved()
