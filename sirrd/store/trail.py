"""The audit trail as the writer sees it: the rows of each batch, appended to the chain of this start."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from sirrd.events import Event
from sirrd.keyring import AuditChain
from sirrd.store import statements
from sirrd.store.timeline import Timeline
from sirrd.store.writer import miscounted


class ChainedTrail:
    """Appends the audit rows of each batch to this start's chain."""

    def __init__(self, connection: sqlite3.Connection, chain: AuditChain, timeline: Timeline) -> None:
        self._chain = chain
        self._timeline = timeline
        self._head, self._length = chain.start, 0
        with connection:
            cursor = connection.execute(
                "INSERT INTO audit_chain (salt, started_at, head, length) VALUES (?, ?, ?, 0)",
                (chain.salt, timeline.now() + timeline.offset, chain.start),
            )
        self._id = cursor.lastrowid

    def append(self, connection: sqlite3.Connection, events: list[Event]) -> Callable[[], None]:
        """See `Trail.append`.

        Raises:
            Unavailable: A row is not there after it was written; the batch is undone.
        """
        if offset := self._timeline.offset:
            events = [each._replace(at=each.at + offset) for each in events]
        rows = self._chain.extend(self._head, self._length, events)
        if not rows:
            return lambda: None
        head, length = rows[-1].mac, self._length + len(rows)
        written = connection.executemany(statements.AUDIT, [(self._id, *row) for row in rows]).rowcount
        updated = connection.execute(statements.CHAIN, (head, length, self._id)).rowcount
        if (written, updated) != (len(rows), 1):
            raise miscounted(written, len(rows))

        def committed() -> None:
            self._head, self._length = head, length

        return committed
