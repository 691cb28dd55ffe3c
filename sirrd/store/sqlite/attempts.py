"""Attempts: a reader whose answer was lost asks again and gets it, and nothing is spent twice.

A reader may name its read by 32 random bytes, the attempt. The unit that claims the read notes a keyed hash of them, so
the same attempt is known when it comes again, and answered from what it has read. A secret that burns leaves a
*delivery*: its salt, wrapped under a key that only the attempt gives. Its row moves to the table `spent`, where nothing
but a repeat looks, until its last delivery has ended. The attempt itself is stored nowhere, so whoever holds all files
and all keys can open nothing of it (I8).

What must never happen here: a known attempt spends, or a delivery outlives the record, its expiry or its window by more
than a tick.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from sirrd.errors import AttemptOver, Gone, TooManyRepeats
from sirrd.keyring.forms import ERASED_DELIVERY
from sirrd.keyring.inner import Names
from sirrd.keyring.ring import Keyring, SealedRecord
from sirrd.model import Attempt, BareKey, Target
from sirrd.store.sqlite import statements
from sirrd.store.sqlite.slots import DELIVERIES, Slots
from sirrd.store.sqlite.statements import Row
from sirrd.store.sqlite.units import NeedsThread, Transaction

MOST_REPEATS: Final = 20
REMEMBERED_SECONDS: Final = 86_400
MOST_REMEMBERED: Final = 4096
FOREVER: Final = 2**62
_NO_SECRET: Final = 0
_MANY: Final = 100


class Known(NamedTuple):
    """An attempt that has read something.

    Attributes:
        id: Of its row.
        secret: The sequence number of what it has read, which is live or spent.
        ends_at: Until when it is answered again, in Unix seconds.
        repeats: How often it was.
        wrapped: Its delivery, or None.
        names: Those by which its secret was found.
    """

    id: int
    secret: int
    ends_at: int
    repeats: int
    wrapped: bytes | None
    names: Names

    def __repr__(self) -> str:
        return f"<Known {self.id}>"


class Attempts:
    """Notes attempts, answers them again, and ends what they leave. Every method is part of a unit.

    Args:
        keyring: Hashes attempts, and wraps salts.
        redelivery_seconds: For how long an attempt is answered again; 0 for not at all.
    """

    def __init__(self, keyring: Keyring, *, redelivery_seconds: int) -> None:
        self._keyring = keyring
        self._seconds = redelivery_seconds
        self._slots = Slots(DELIVERIES, erased=ERASED_DELIVERY)

    # A read.

    def find(self, transaction: Transaction, target: Target, attempt: Attempt) -> Known | None:
        """Return what is known of an attempt at a secret, or None; either takes the same steps."""
        keyring, now = self._keyring, transaction.now
        candidates = [
            (secret, names)
            for names in keyring.every_names()
            for (secret,) in self._candidates(transaction, target, names)
        ]
        if len(candidates) > _MANY and not transaction.on_thread:
            raise NeedsThread
        # Older keys have named attempts that are still remembered.
        every = (keyring.names, *(names for names in keyring.older if now < (names.ended_at or 0) + REMEMBERED_SECONDS))
        for secret, found_by in candidates or [(_NO_SECRET, keyring.names)]:
            for names in every:
                hashed = names.attempt_hash(secret, attempt)
                for id_, read, ends_at, repeats, wrapped in transaction.execute(statements.KNOWN, (hashed,)).fetchall():
                    return Known(id_, read, ends_at, repeats, wrapped, found_by)
        return None

    def _candidates(self, transaction: Transaction, target: Target, names: Names) -> list[Any]:
        """Return what an attempt may have read that is named so: rows of a sequence number."""
        if isinstance(target, BareKey):
            arguments = {"bare": names.bare_lookup(target), "now": transaction.now}
            return transaction.execute(statements.CANDIDATES_OF_BARE_KEY, arguments).fetchall()
        arguments = {"lookup": names.lookup(target), "now": transaction.now}
        return transaction.execute(statements.CANDIDATES, arguments).fetchall()

    def read_before(self, transaction: Transaction, known: Known, attempt: Attempt) -> SealedRecord:
        """Return what an attempt has read, to be opened again.

        Raises:
            AttemptOver: Its window is over; it never reads anything any more.
            TooManyRepeats: It was answered often enough.
            Gone: What it has read is not there any more.
            Unreadable: The delivery does not open.
        """
        arguments = {"seq": known.secret, "now": transaction.now, "longest": transaction.longest}
        rows = transaction.execute(statements.READ_BEFORE, arguments).fetchall()
        if not rows:
            raise Gone
        row = Row(*rows[0])
        fingerprint = known.names.fingerprint(row.lookup)
        if transaction.now >= known.ends_at:
            raise AttemptOver(fingerprint)
        if known.repeats >= MOST_REPEATS:
            raise TooManyRepeats(fingerprint, known.ends_at - transaction.now)
        if not row.sealed and not transaction.on_thread:
            raise NeedsThread
        return row.record if row.salt is not None else self._delivered(row, known, attempt, fingerprint)

    def count_repeat(self, transaction: Transaction, known: Known) -> int:
        """Count that an attempt was answered again, and return how often it was."""
        transaction.change(statements.COUNT_REPEAT, (known.id, known.repeats))
        return known.repeats + 1

    def _delivered(self, row: Row, known: Known, attempt: Attempt, fingerprint: str) -> SealedRecord:
        """Return the record of a spent secret, with the salt that the delivery holds."""
        if known.wrapped is None:
            raise AttemptOver(fingerprint)
        salt = self._keyring.unwrap_salt(row.lookup, row.seq, attempt, known.wrapped)
        return row.record._replace(salt=salt)

    def must_keep(self, transaction: Transaction, row: Row, attempt: Attempt | None) -> bool:
        """Tell whether a secret that burns now has to stay for a while, for this attempt or an earlier one."""
        if attempt is not None and self._seconds:
            return True
        if row.max_reads == 1:
            # No earlier read, so no earlier attempt: the usual case, which costs nothing.
            return False
        return bool(transaction.execute(statements.OPEN, (row.seq, transaction.now)).fetchall())

    def note(self, transaction: Transaction, row: Row, attempt: Attempt) -> None:
        """Note that an attempt has read a secret; if that burns, now or later, the attempt leaves a delivery."""
        if row.max_reads is None:
            return
        now, delivery = transaction.now, None
        ends_at = now + self._seconds
        if row.expires_at is not None:
            ends_at = min(ends_at, row.expires_at)
        if row.delete and self._seconds:
            wrapped = self._keyring.wrap_salt(row.record, row.seq, attempt)
            delivery = self._slots.take(transaction, wrapped)
        noted = (row.seq, self._keyring.attempt_hash(row.seq, attempt), now, ends_at, delivery)
        transaction.change(statements.NOTE_ATTEMPT, noted)
        if row.max_reads > MOST_REMEMBERED:
            self._forget_oldest(transaction, row.seq)

    def _forget_oldest(self, transaction: Transaction, secret: int) -> None:
        """Forget all but the newest attempts at a secret that may be read very often: each read makes one."""
        oldest = transaction.execute(statements.OLDEST, (secret, MOST_REMEMBERED)).fetchall()
        self._slots.erase(transaction, [delivery for _, delivery in oldest if delivery is not None])
        for attempt, _ in oldest:
            transaction.change(statements.FORGET_ATTEMPT, (attempt,))

    # The end.

    def received(self, transaction: Transaction, known: Known) -> None:
        """End what an attempt has left: its reader has the value."""
        self._refuse_much(transaction, known.secret)
        self._end(transaction, transaction.execute(statements.LEFT_BY_ATTEMPT, (known.id,)).fetchall())

    def end(self, transaction: Transaction, secret: int) -> None:
        """End what attempts have left of a secret that stays; they are remembered, and never read it again."""
        self._refuse_much(transaction, secret)
        self._erase_left(transaction, secret)
        transaction.execute(statements.END_OF, (secret,))
        self._forget_oldest(transaction, secret)

    def forget(self, transaction: Transaction, secrets: Sequence[int]) -> None:
        """End and forget all attempts at secrets that go, and what is left of those that have burned."""
        for secret in secrets:
            self._refuse_much(transaction, secret)
            self._erase_left(transaction, secret)
            transaction.execute(statements.FORGET_ATTEMPTS, (secret,))
            transaction.execute(statements.REMOVE_SPENT, (secret,))

    def remove_spent(self, transaction: Transaction, target: Target) -> None:
        """End what secrets of a name have left that have burned."""
        for names in self._keyring.every_names():
            if isinstance(target, BareKey):
                rows = transaction.execute(statements.SPENT_OF_BARE_KEY, (names.bare_lookup(target),)).fetchall()
            else:
                rows = transaction.execute(statements.SPENT, (names.lookup(target),)).fetchall()
            self.forget(transaction, [secret for (secret,) in rows])

    def sweep(self, transaction: Transaction, *, before: int | None = None) -> tuple[int, int]:
        """End a batch of what is over.

        Args:
            transaction: Of the unit.
            before: What ends at or before that time of the store is over, or None for now.

        Returns:
            How much it was, where 0 means that nothing is left; and the time to go on with, so that what becomes due
            meanwhile waits for the next sweep.
        """
        now = transaction.now if before is None else before
        due = transaction.execute(statements.DUE, {"now": now}).fetchall()
        batch, size = [], 0
        for *left, bytes_ in due:
            batch.append(left)
            size += bytes_ or 0
            if size >= statements.PRUNE_BATCH_BYTES:
                break
        self._end(transaction, batch)
        old = transaction.execute(statements.FORGET_OLD, (min(now, transaction.now) - REMEMBERED_SECONDS,)).rowcount
        return len(batch) + old, now

    def end_batch_under_older_keys(self, transaction: Transaction, key_id: bytes) -> int:
        """End a batch of what is sealed under another master key than that: only its reader could move it.

        Returns:
            How much it was; 0 means that nothing is left.
        """
        rows = transaction.execute(statements.SPENT_UNDER_OLDER, (key_id,)).fetchall()
        self.forget(transaction, [secret for (secret,) in rows])
        return len(rows)

    def _refuse_much(self, transaction: Transaction, secret: int) -> None:
        """Leave what would take long to the thread.

        Raises:
            NeedsThread: There are many attempts, or a long value has burned.
        """
        if transaction.on_thread:
            return
        asked = {"secret": secret, "longest": transaction.longest, "many": _MANY}
        if transaction.execute(statements.IS_MUCH, asked).fetchall():
            raise NeedsThread

    def _erase_left(self, transaction: Transaction, secret: int) -> None:
        left = transaction.execute(statements.LEFT_OF, (secret,)).fetchall()
        self._slots.erase(transaction, [delivery for (delivery,) in left])

    def _end(self, transaction: Transaction, left: Sequence[Sequence[Any]]) -> None:
        """Erase deliveries, given as rows of id, secret and delivery, and remove what burned and has none left."""
        self._slots.erase(transaction, [delivery for _, _, delivery in left if delivery is not None])
        for attempt, _, _ in left:
            transaction.change(statements.END_ATTEMPT, (attempt,))
        for secret in {secret for _, secret, _ in left}:
            if transaction.execute(statements.REMOVE_SPENT, (secret,)).rowcount:
                transaction.execute(statements.FORGET_ATTEMPTS, (secret,))
