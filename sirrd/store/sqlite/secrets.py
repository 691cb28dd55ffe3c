"""The units of work over one secret: stored, claimed, answered again, amended, removed.

The claim runs the statements of docs/architecture.md in their order, inside one unit of a transaction that holds the
only lock for writing: what it reads cannot change before it claims, and the claim repeats the whole condition.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from sirrd.errors import (
    Gone,
    KeyExists,
    Locked,
    NotAmendable,
    Sealed,
    SecretError,
    Unauthorised,
    Unreadable,
)
from sirrd.events import Action, Event
from sirrd.keyring.ring import Keyring, SealedRecord
from sirrd.model import Amendment, Attempt, Caller, Identity, Metadata, Opened, Plaintext, Target, Terms, Unset
from sirrd.store import Unlock, refuse
from sirrd.store.sqlite import statements
from sirrd.store.sqlite.attempts import Attempts, Known
from sirrd.store.sqlite.places import Places
from sirrd.store.sqlite.slots import Slots
from sirrd.store.sqlite.statements import Row
from sirrd.store.sqlite.timeline import Timeline
from sirrd.store.sqlite.units import LONG_VALUE_BYTES, NeedsThread, Transaction, miscounted
from sirrd.store.sqlite.writer import Writer


class Secrets:
    """See `store.Store`, whose methods these are.

    Args:
        writer: Commits the units.
        keyring: Seals and opens.
        timeline: Shows the times that terms are kept in.
        slots: Where the salts are.
        attempts: What readers may be answered again.
        places: Where secrets are found.
    """

    def __init__(
        self,
        *,
        writer: Writer,
        keyring: Keyring,
        timeline: Timeline,
        slots: Slots,
        attempts: Attempts,
        places: Places,
    ) -> None:
        self._writer = writer
        self._keyring = keyring
        self._timeline = timeline
        self._slots = slots
        self._attempts = attempts
        self._places = places

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

    def _resolve(self, transaction: Transaction, target: Target) -> tuple[bytes, str]:
        """Return the lookup of a target, and its fingerprint; a bare key is resolved inside the unit that uses it."""
        return self._places.resolve(transaction, target)


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


def _note(transaction: Transaction, action: Action, fingerprint: str, identity: Identity, by: Caller) -> None:
    """Write down a transition; the id of a dead drop is not kept."""
    key = None if identity.org is None else identity.name
    transaction.events.append(Event(action, transaction.now, by, fingerprint, identity.org, key))
