"""Where salts live: slots that are appended or overwritten in place, never deleted and never moved (I8).

A record can be opened as long as its salt is in its slot. Zeros over a salt, in the same unit of work in which its
secret goes, are the end of the secret, whatever SQLite leaves of its row.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final, NamedTuple

from sirrd.errors import Unavailable
from sirrd.keyring.forms import ERASED_SALT
from sirrd.store.sqlite import statements
from sirrd.store.sqlite.units import Transaction, miscounted

logger = logging.getLogger(__name__)

_MOST_REMEMBERED: Final = 256


class SlotTable(NamedTuple):
    """The statements over a table of slots."""

    free: str
    reuse: str
    append: str
    erase: str
    find: str


SALTS: Final = SlotTable(statements.FREE, statements.REUSE, statements.APPEND, statements.ERASE, statements.SLOT)
DELIVERIES: Final = SlotTable(
    statements.FREE_DELIVERY,
    statements.REUSE_DELIVERY,
    statements.APPEND_DELIVERY,
    statements.ERASE_DELIVERY,
    statements.DELIVERY,
)


class Slots:
    """Gives slots to salts, or to what else must be erased in place, and takes them back.

    Some slots that may be free are remembered, and whether there may be more, so that most creates need not look for
    one. All of it is a hint: where it is wrong, because a unit was undone, a slot is not taken, or one is appended that
    could have been reused.

    Args:
        table: Where they stand.
        erased: What a free slot holds.
    """

    def __init__(self, table: SlotTable = SALTS, *, erased: bytes = ERASED_SALT) -> None:
        self._table = table
        self._erased = erased
        self._free: list[int] = []
        self._may_be_more = True

    def take(self, transaction: Transaction, salt: bytes) -> int:
        """Put a salt into a free slot, or into a new one, and return the slot.

        Raises:
            Unavailable: SQLite did not say which slot is new.
        """
        if self._may_be_more and not self._free:
            rows = transaction.execute(self._table.free, (_MOST_REMEMBERED,)).fetchall()
            self._free, self._may_be_more = [slot for (slot,) in rows], bool(rows)
        while self._free:
            slot = self._free.pop()
            if transaction.execute(self._table.reuse, (salt, slot)).rowcount == 1:
                return slot
        new = transaction.execute(self._table.append, (salt,)).lastrowid
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
            erased = transaction.execute(self._table.erase, (self._erased, slot)).rowcount
            if erased != 1:
                if transaction.execute(self._table.find, (slot,)).fetchall():
                    raise miscounted(erased, 1)
                logger.error("DAMAGED: the slot of a secret that goes is missing")
                continue
            if len(self._free) < _MOST_REMEMBERED:
                self._free.append(slot)
            else:
                self._may_be_more = True
