"""Where salts live: slots that are appended or overwritten in place, never deleted and never moved (I8).

A record can be opened as long as its salt is in its slot. Zeros over a salt, in the same unit of work in which its
secret goes, are the end of the secret, whatever SQLite leaves of its row.
"""

from __future__ import annotations

from collections.abc import Iterable

from sirrd.errors import Unavailable
from sirrd.keyring import ERASED_SALT
from sirrd.store import statements
from sirrd.store.writer import Transaction


class Slots:
    """Gives slots to salts, and takes them back.

    Whether a slot may be free is remembered, so that a run of creates does not ask each time. It is a hint: where it is
    wrong, because a unit was undone, a slot is appended that could have been reused, or one look is for nothing.
    """

    def __init__(self) -> None:
        self._may_be_free = True

    def take(self, transaction: Transaction, salt: bytes) -> int:
        """Put a salt into a free slot, or into a new one, and return the slot.

        Raises:
            Unavailable: SQLite did not say which slot is new.
        """
        if self._may_be_free:
            for (slot,) in transaction.execute(statements.REUSE, (salt,)).fetchall():
                return int(slot)
            self._may_be_free = False
        new = transaction.execute(statements.APPEND, (salt,)).lastrowid
        if new is None:
            raise Unavailable
        return new

    def erase(self, transaction: Transaction, slots: Iterable[int]) -> None:
        """Write zeros over the salts of secrets that go, and free their slots."""
        transaction.connection.executemany(statements.ERASE, [(ERASED_SALT, slot) for slot in slots])
        self._may_be_free = True
