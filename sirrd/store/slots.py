"""Where salts live: slots that are appended or overwritten in place, never deleted and never moved (I8).

A record can be opened as long as its salt is in its slot. Zeros over a salt, in the same unit of work in which its
secret goes, are the end of the secret, whatever SQLite leaves of its row.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from sirrd.errors import Unavailable
from sirrd.keyring import ERASED_SALT
from sirrd.store import statements
from sirrd.store.writer import Transaction, miscounted

logger = logging.getLogger(__name__)

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
        """Write zeros over the salts of secrets that go, and free their slots.

        A slot that is missing has no salt that could be left: what it was for may go, loudly, or a damaged record would
        keep all others that expired from being pruned.

        Raises:
            Unavailable: A slot that is there was not written.
        """
        for slot in slots:
            erased = transaction.execute(statements.ERASE, (ERASED_SALT, slot)).rowcount
            if erased != 1:
                if transaction.execute(statements.SLOT, (slot,)).fetchall():
                    raise miscounted(erased, 1)
                logger.error("DAMAGED: the slot of a secret that goes is missing")
                continue
            if len(self._free) < _MOST_REMEMBERED:
                self._free.append(slot)
            else:
                self._may_be_more = True
