"""Where salts live: slots that are appended or overwritten in place, never deleted and never moved (I8).

A record can be opened as long as its salt is in its slot. Zeros over a salt, in the same unit of work in which its
secret goes, are the end of the secret, whatever SQLite leaves of its row.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sirrd.errors import Unavailable
from sirrd.keyring import ERASED_SALT
from sirrd.store import statements
from sirrd.store.writer import Transaction

_MOST_REMEMBERED: Final = 256


class Slots:
    """Gives slots to salts, and takes them back.

    Some slots that may be free are remembered, and whether there may be more, so that most creates need not look for
    one. All of it is a hint: where it is wrong, because a unit was undone, a slot is not taken, or one is appended that
    could have been reused.
    """

    def __init__(self) -> None:
        self._free: list[int] = []
        self._may_be_more = True

    def take(self, transaction: Transaction, salt: bytes) -> int:
        """Put a salt into a free slot, or into a new one, and return the slot.

        Raises:
            Unavailable: SQLite did not say which slot is new.
        """
        if self._may_be_more and not self._free:
            rows = transaction.execute(statements.FREE, (_MOST_REMEMBERED,)).fetchall()
            self._free, self._may_be_more = [slot for (slot,) in rows], bool(rows)
        while self._free:
            slot = self._free.pop()
            if transaction.execute(statements.REUSE, (salt, slot)).rowcount == 1:
                return slot
        new = transaction.execute(statements.APPEND, (salt,)).lastrowid
        if new is None:
            raise Unavailable
        return new

    def erase(self, transaction: Transaction, slots: Iterable[int]) -> None:
        """Write zeros over the salts of secrets that go, and free their slots."""
        for slot in slots:
            transaction.execute(statements.ERASE, (ERASED_SALT, slot))
            if len(self._free) < _MOST_REMEMBERED:
                self._free.append(slot)
            else:
                self._may_be_more = True
